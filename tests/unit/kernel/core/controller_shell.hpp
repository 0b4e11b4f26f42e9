// SPDX-License-Identifier: Apache-2.0
//
// A scripted shell around core::Controller: virtual time, a store in memory, the policy answered within the turn, and
// nodes that say exactly what a test makes them say. After every turn the stored form is compared with the live one.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "kernel/core/controller.hpp"

namespace gantry::core {

inline constexpr const char* kClusterId = "1a2b3c4d-0000-4000-8000-000000000000";

// Fewest copies, then most free memory: the default policy, by its definition.
inline std::vector<Keys> least_loaded(const Rank& rank) {
    std::vector<Keys> keys;
    for (const auto& c : rank.candidates)
        keys.push_back({std::int64_t{c.copies_running} + c.copies_pending, -c.memory_free_bytes, 0, 0});
    return keys;
}

inline std::map<std::string, std::string> as_map(const std::vector<Entry>& entries) {
    std::map<std::string, std::string> out;
    for (const auto& entry : entries) out[entry.key] = entry.value;
    return out;
}

inline json::value manifest(const std::string& name, std::vector<std::string> nodes, int instances = 1) {
    json::array pool(nodes.begin(), nodes.end());
    return json::object{{"service", {{"name", name}, {"image", "app:1"}, {"instances", instances}}},
                        {"placement", {{"nodes", std::move(pool)}}}};
}

struct ControllerShell {
    struct Peer {  // one node, as far as messages go
        std::string name, address;
        PeerId peer = 0;
        Identity id;
        ListNo applied;
        NodeList list;
        Names names;
        std::map<CopyId, CopyReport> copies;  // what it reports
        std::vector<std::string> images;
        Load load{std::int64_t{512} << 20, 0};
        std::vector<std::string> refused;
        std::vector<Ask> asks;
        std::vector<Forward> forwards;
        bool incomplete = false;
        HeartbeatAck ack;  // the last one
        std::uint64_t beat = 0;
        Told told;  // nothing, unless a test tells runs
    };

    explicit ControllerShell(Timing t = {}, std::vector<std::string> p = {"least-loaded"})
        : timing(t), policies(std::move(p)) {
        start();
        api(ApiSetImage{0, "app:1", "sha256:app1", "linux", "amd64", 1000});
        api(ApiSetImage{0, "app:2", "sha256:app2", "linux", "amd64", 1000});
    }

    // The controller starts, or starts again, on what is stored.
    void start() {
        core.emplace(timing, policies);
        std::vector<Entry> entries;
        for (const auto& [key, value] : store) entries.push_back({key, value});
        auto effects = core->load(entries, kClusterId, now);
        REQUIRE(effects.has_value());
        for (auto& [name, node] : nodes) node.peer = 0;
        done(std::move(*effects));
    }

    void step(const Input& input) {
        Effects all = core->step(input, now);
        while (!all.ranks.empty()) {
            const auto ranks = std::exchange(all.ranks, {});
            for (const auto& rank : ranks) {
                ++questions;
                if (hold_ranks) {
                    held.push_back(rank);
                    continue;
                }
                Effects more = rank_error.empty() ? core->step(Ranked{rank.id, score(rank)}, now)
                                                  : core->step(RankFailed{rank.id, rank_error}, now);
                for (auto& write : more.writes) all.writes.push_back(std::move(write));
                for (auto& act : more.acts) all.acts.push_back(std::move(act));
                for (auto& next : more.ranks) all.ranks.push_back(std::move(next));
            }
        }
        done(std::move(all));
    }

    void done(Effects effects) {
        for (const auto& write : effects.writes) {
            if (write.value)
                store[write.key] = *write.value;
            else
                store.erase(write.key);
        }
        CHECK(store == as_map(core->stored()));
        for (auto& act : effects.acts) {
            if (auto* send = std::get_if<SendTo>(&act)) deliver(send->peer, send->message);
            if (auto* reply = std::get_if<Reply>(&act)) last_reply = std::move(reply->result);
            if (auto* event = std::get_if<Event>(&act)) events.push_back(std::move(*event));
            if (auto* announce = std::get_if<Announce>(&act)) names = announce->names;
            if (auto* close = std::get_if<ClosePeer>(&act)) closed[close->peer] = close->reason;
        }
    }

    void deliver(PeerId peer, const ControllerMessage& message) {
        for (auto& [name, node] : nodes) {
            if (node.peer != peer) continue;
            if (const auto* list = std::get_if<NodeList>(&message)) node.list = *list;
            if (const auto* ack = std::get_if<HeartbeatAck>(&message)) node.ack = *ack;
            if (const auto* table = std::get_if<Names>(&message)) node.names = *table;
            if (const auto* no = std::get_if<Refused>(&message)) node.refused.push_back(no->reason);
            if (const auto* ask = std::get_if<Ask>(&message)) node.asks.push_back(*ask);
            if (const auto* forward = std::get_if<Forward>(&message)) node.forwards.push_back(*forward);
        }
    }

    // --- time ---
    void tick() { step(Tick{}); }
    // Lets time pass in steps of half a heartbeat; `beating` nodes send heartbeats.
    void wait(Duration duration, const std::vector<std::string>& beating) {
        const Instant until = now + duration;
        while (now < until) {
            now = std::min(until, now + milliseconds(100));
            for (const auto& name : beating) heartbeat(name);
            if (core->next_deadline() <= now) tick();
        }
    }
    void wait_all(Duration duration) {
        std::vector<std::string> all;
        for (const auto& [name, node] : nodes)
            if (node.peer != 0) all.push_back(name);
        wait(duration, all);
    }

    // --- nodes ---
    Peer& node(const std::string& name) { return nodes[name]; }
    Hello hello_of(const std::string& name) {
        Hello hello;
        hello.node = name;
        hello.labels = labels[name];
        hello.runtimes = {{"oci", "linux", {"amd64"}, true}};
        hello.cpu_milli = 4'000;
        hello.memory_bytes = std::int64_t{1} << 30;
        hello.ask_port = ask_port;
        return hello;
    }
    Peer& connect(const std::string& name, const std::function<void(Hello&)>& edit = {}) {
        Peer& peer = nodes[name];
        if (peer.name.empty()) {
            peer.name = name;
            peer.id = {"id-" + name, "boot-1-" + name, 1, 0};
            peer.address = "10.0.0." + std::to_string(nodes.size());
        }
        peer.peer = ++last_peer;
        Hello hello = hello_of(name);
        ++peer.id.seq;
        hello.id = peer.id;
        if (edit) edit(hello);
        peer.id = hello.id;
        step(PeerMessage{peer.peer, peer.address, hello});
        return peer;
    }
    void say(const std::string& name, AgentMessage message) {
        Peer& peer = nodes.at(name);
        ++peer.id.seq;
        std::visit([&](auto& m) { m.id = peer.id; }, message);
        step(PeerMessage{peer.peer, "", std::move(message)});
    }
    void heartbeat(const std::string& name) {
        auto& peer = node(name);
        if (peer.told.since != 0) peer.told.said = now;
        if (peer.peer != 0) say(name, Heartbeat{{}, peer.applied, peer.load, ++peer.beat, peer.told});
    }
    void report(const std::string& name) {
        Peer& peer = node(name);
        Report report;
        report.applied = peer.applied;
        report.load = peer.load;
        report.images = peer.images;
        report.incomplete = peer.incomplete;
        for (const auto& [id, copy] : peer.copies) report.copies.push_back(copy);
        say(name, report);
    }
    void join(const std::string& name, const std::function<void(Hello&)>& edit = {}) {
        connect(name, edit);
        report(name);
        obey(name, CopyState::kReady);
    }
    // Applies its list: what is in it gets `state`, what is not is gone; then it reports.
    void obey(const std::string& name, CopyState state) {
        Peer& peer = node(name);
        for (int i = 0; i < 10 && peer.applied != peer.list.no; ++i) {
            peer.applied = peer.list.no;
            std::map<CopyId, CopyReport> has;
            for (const auto& entry : peer.list.copies) {
                auto old = peer.copies.find(entry.copy);
                has[entry.copy] = old == peer.copies.end() ? CopyReport{} : old->second;
                has[entry.copy].copy = entry.copy;
                has[entry.copy].state = state;
            }
            peer.copies = std::move(has);
            report(name);
        }
    }
    void set(const std::string& name, const CopyId& copy, CopyState state, std::uint32_t crashes = 0) {
        auto& entry = node(name).copies[copy];
        entry.copy = copy;
        entry.state = state;
        entry.crashes = crashes;
        entry.exit_code = crashes ? 1 : 0;
    }
    void reset(const std::string& name) { drop(name, Down::kReset); }
    void drop(const std::string& name, Down cause) {
        const PeerId peer = std::exchange(node(name).peer, 0);
        step(PeerDown{peer, cause});
    }
    void reboot(const std::string& name) {
        Peer& peer = node(name);
        peer.id.boot_id += "'";
        ++peer.id.session;
        peer.id.seq = 0;
        peer.applied = {};
        peer.copies.clear();
    }

    // --- API ---
    template <class Request>
    Result<json::value> api(Request request) {
        request.request = ++last_request;
        last_reply.reset();
        step(request);
        REQUIRE(last_reply.has_value());
        return *last_reply;
    }
    Result<json::value> deploy(json::value document, bool dry = false) {
        return api(ApiDeploy{0, std::move(document), dry});
    }

    // --- looking ---
    json::object instance(const std::string& text) const {
        for (const auto& entry : core->instances())
            if (entry.at("instance").as_string() == text) return entry.as_object();
        return {};
    }
    std::string where(const std::string& text) const {
        const auto found = instance(text);
        if (found.empty()) return "(none)";
        return std::string(found.at("node").as_string());
    }
    CopyId copy(const std::string& text) const {
        const auto found = instance(text);
        const auto service = core->service(std::string(found.at("service").as_string()));
        CopyId id;
        id.instance = {number_of(std::string(found.at("service").as_string())),
                       static_cast<std::uint32_t>(found.at("index").to_number<std::uint64_t>())};
        id.epoch = found.at("epoch").to_number<std::uint64_t>();
        return id;
    }
    std::uint64_t number_of(const std::string& service) const {
        const auto value = parse_json(store.at("service/" + service));
        return value->at("no").to_number<std::uint64_t>();
    }
    json::object node_document(const std::string& name) const {
        for (const auto& entry : core->nodes(now))
            if (entry.at("name").as_string() == name) return entry.as_object();
        return {};
    }
    std::string liveness(const std::string& name) const {
        const auto found = node_document(name);
        return found.empty() ? "(none)" : std::string(found.at("liveness").as_string());
    }
    std::size_t count(const std::string& kind) const {
        return static_cast<std::size_t>(
            std::count_if(events.begin(), events.end(), [&](const Event& event) { return event.kind == kind; }));
    }
    std::string last(const std::string& kind) const {
        for (auto at = events.rbegin(); at != events.rend(); ++at)
            if (at->kind == kind) return at->text;
        return "";
    }
    std::string reason(const std::string& text, const std::string& on_node) const {
        const auto found = instance(text);
        if (!found.empty())
            for (const auto& entry : found.at("pending").as_array())
                if (entry.at("node").as_string() == on_node) return std::string(entry.at("reason").as_string());
        return "";
    }

    Timing timing;
    std::vector<std::string> policies;
    Instant now{seconds(1'000).count()};
    std::optional<Controller> core;
    std::map<std::string, std::string> store;
    std::map<std::string, Peer> nodes;
    std::map<std::string, Labels> labels;
    std::map<PeerId, std::string> closed;
    std::vector<Event> events;
    Names names;
    std::optional<Result<json::value>> last_reply;
    std::function<std::vector<Keys>(const Rank&)> score = least_loaded;
    std::string rank_error;
    bool hold_ranks = false;
    std::uint16_t ask_port = 0;  // of every node
    std::vector<Rank> held;
    std::size_t questions = 0;
    PeerId last_peer = 0;
    RequestId last_request = 0;
};

}  // namespace gantry::core
