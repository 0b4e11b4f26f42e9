// SPDX-License-Identifier: Apache-2.0
//
// A scripted shell around core::Agent: virtual time, runtimes and images in memory, a controller that says what the
// test makes it say. Effects are done at once unless the test holds them back.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "kernel/core/agent.hpp"

namespace gantry::core {

inline constexpr const char* kCluster = "1a2b3c4d-0000-4000-8000-000000000000";

struct AgentShell {
    struct Box {
        bool running = false, created = true;
        int exit_code = 0;
        std::string detail;
        bool paused = false;
    };

    AgentShell() {
        facts.node = "SNode1";
        facts.node_id = "node-id-1";
        facts.boot_id = "boot-1";
        facts.version = "test";
        facts.session = 1;
        facts.runtimes = {{"oci", "linux", {"amd64"}, true}};
        facts.probes = {"tcp", "vsoa"};
        facts.cpu_milli = 4000;
        facts.memory_bytes = 1 << 30;
        boxes["oci"];
        images["oci"] = {"sha256:img"};
    }

    // --- running the agent ---
    void start() {
        agent.emplace(facts, timing);
        step(AgentStart{disk, state_lost});
        tell_guard();
    }
    // What the guard holds, which outlives gantryd and not the machine.
    void tell_guard() {
        if (std::ranges::none_of(facts.runtimes, [](const auto& runtime) { return runtime.guarded; })) return;
        GuardState state{guard_up, {}};
        for (const auto& [name, until] : guard) state.held.push_back({name, until});
        step(state);
    }
    void guard_kills(const std::string& name) {
        expired.insert(name);
        for (auto& [runtime, all] : boxes)
            if (const auto at = all.find(name); at != all.end()) at->second = {false, false, 137, {}};
        if (agent) step(ContainerExited{"oci", name, 137});
    }
    // gantryd is restarted; containers run on.
    void restart() {
        ++facts.session;
        answers.clear();
        held.clear();
        served.reset();
        peer = 0;
        start();
    }
    // The machine was rebooted.
    void reboot() {
        for (auto& [runtime, all] : boxes)
            for (auto& [name, box] : all) box = {false, false, -1, "the machine was rebooted"};
        facts.boot_id += "'";
        guard.clear();
        expired.clear();
        restart();
    }

    AgentEffects step(const AgentInput& input) {
        auto effects = one(input);
        while (!answers.empty()) {
            auto next = std::move(answers.front());
            answers.pop_front();
            one(next);
        }
        return effects;
    }

    AgentEffects one(const AgentInput& input) {
        auto effects = agent->step(input, now);
        for (std::size_t i = 0; i < effects.size(); ++i) {
            if (std::holds_alternative<Save>(effects[i])) CHECK(i == 0);
            log.push_back(effects[i]);
            act(effects[i]);
        }
        return effects;
    }

    void run_for(Duration duration) {
        const Instant end = now + duration;
        for (int turns = 0; agent->next_deadline() <= end; ++turns) {
            REQUIRE(turns < 100'000);
            now = std::max(now, agent->next_deadline());
            step(AgentTick{});
            REQUIRE(agent->next_deadline() > now);
        }
        now = end;
    }

    // Ticks until the condition holds; false if it does not within `limit`.
    bool until(const std::function<bool()>& condition, Duration limit = seconds(60)) {
        const Instant end = now + limit;
        while (!condition()) {
            if (agent->next_deadline() > end) return false;
            now = std::max(now, agent->next_deadline());
            step(AgentTick{});
        }
        return true;
    }

    // --- effects ---
    void act(const AgentEffect& effect) {
        if (const auto* e = std::get_if<Save>(&effect)) {
            disk = e->document;
            CHECK(Agent::check_saved(*disk));
        }
        if (const auto* e = std::get_if<Send>(&effect)) sent_message(*e);
        if (const auto* e = std::get_if<ServeNames>(&effect)) {
            CHECK((!served || e->table_no > served->table_no));
            served = *e;
        }
        if (hold && hold(effect)) {
            held.push_back(effect);
            return;
        }
        if (const auto* e = std::get_if<ListContainers>(&effect)) answers.push_back(listing(e->runtime));
        if (const auto* e = std::get_if<ListImages>(&effect))
            answers.push_back(ImagesListed{e->runtime, {images[e->runtime].begin(), images[e->runtime].end()}});
        if (const auto* e = std::get_if<FetchImage>(&effect)) {
            if (fetch_error)
                answers.push_back(ImageReady{e->digest, std::unexpected(*fetch_error)});
            else
                images[e->runtime].insert(e->digest), answers.push_back(ImageReady{e->digest, {}});
        }
        if (const auto* e = std::get_if<KeepImages>(&effect))
            for (auto& [runtime, has] : images)
                std::erase_if(has, [&](const auto& digest) { return !std::ranges::count(e->digests, digest); });
        if (const auto* e = std::get_if<Create>(&effect)) operate(e->id, "create", e->runtime, e->wanted.name);
        if (const auto* e = std::get_if<Start>(&effect)) operate(e->id, "start", e->runtime, e->name);
        if (const auto* e = std::get_if<Stop>(&effect)) operate(e->id, "stop", e->runtime, e->name);
        if (const auto* e = std::get_if<Remove>(&effect)) operate(e->id, "remove", e->runtime, e->name);
        if (const auto* e = std::get_if<Create>(&effect)) made[e->wanted.name] = e->wanted;
        if (const auto* e = std::get_if<TryPort>(&effect)) answers.push_back(PortTried{e->id, !busy.contains(e->port)});
        if (const auto* e = std::get_if<Arm>(&effect)) answers.push_back(Armed{e->id, arm(*e)});
        if (const auto* e = std::get_if<Disarm>(&effect)) {
            guard.erase(e->name);
            expired.erase(e->name);
        }
        if (const auto* e = std::get_if<Check>(&effect)) {
            if (probe) {
                auto answer = probe(*e);
                answer.id = e->id;
                answers.push_back(answer);
            } else {
                answers.push_back(Probed{e->id, true, false, {}});
            }
        }
    }

    // As gantry-guard answers.
    Status arm(const Arm& e) {
        if (arm_error) return std::unexpected(*arm_error);
        auto& until = guard[e.name];
        const bool over = expired.contains(e.name) || (until != Instant{} && now >= until) || now >= e.until;
        if (over) return fail(Code::kFailed, "its deadline has passed");
        until = std::max(until, e.until);
        return {};
    }

    ContainersListed listing(const std::string& runtime) {
        if (list_error) return {runtime, std::unexpected(*list_error)};
        std::vector<Seen> seen;
        for (const auto& [name, box] : boxes[runtime])
            seen.push_back({runtime, name, box.running, box.created, box.exit_code, box.detail, box.paused});
        return {runtime, std::move(seen)};
    }

    void operate(std::uint64_t id, const std::string& what, const std::string& runtime, const std::string& name) {
        auto& all = boxes[runtime];
        if (const auto at = failures.find(what); at != failures.end()) {
            answers.push_back(OperationDone{id, std::unexpected(at->second)});
            return;
        }
        if (what == "create") {
            CHECK_FALSE(names_used.contains(name));
            names_used.insert(name);
            all[name] = {};
        } else if (what == "start") {
            if (expired.contains(name) || !all.contains(name) || !all[name].created) {
                answers.push_back(OperationDone{id, fail(Code::kFailed, "it does not start")});
                return;
            }
            all[name] = {true, false, 0, {}};
        } else if (what == "stop") {
            if (all.contains(name)) all[name] = {false, false, 143, {}};
        } else {
            CHECK((!all.contains(name) || !all[name].running));
            all.erase(name);
        }
        answers.push_back(OperationDone{id, {}});
    }

    // A container ends by itself.
    void crash(const std::string& name, int code = 1) {
        for (auto& [runtime, all] : boxes) {
            if (!all.contains(name)) continue;
            all[name] = {false, false, code, {}};
            step(ContainerExited{runtime, name, code});
        }
    }

    // --- the controller ---
    void sent_message(const Send& e) {
        if (only_last_report) {
            if (const auto* m = std::get_if<Report>(&e.message)) report = *m;
            return;
        }
        const auto back = decode_agent(encode(e.message));
        INFO((back ? "" : back.error().text()));
        CHECK(back);
        const auto& id = std::visit([](const auto& m) -> const Identity& { return m.id; }, e.message);
        CHECK(id.session == facts.session);
        CHECK(id.boot_id == facts.boot_id);
        auto& last = last_seq[facts.session];
        CHECK(id.seq > last);
        last = id.seq;
        sent.push_back(e);
        if (const auto* m = std::get_if<Report>(&e.message)) report = *m;
        if (const auto* m = std::get_if<PullSpecs>(&e.message)) {
            Specs specs;
            for (const auto& digest : m->digests)
                if (known_specs.contains(digest)) specs.specs[digest] = known_specs[digest];
            if (!specs.specs.empty()) answers.push_back(FromController{e.peer, specs});
        }
    }

    void connect(PeerId to = 1, const char* cluster = kCluster) {
        peer = to;
        step(Connected{to});
        step(FromController{to, Welcome{cluster, 1, 200, "10.0.0.1"}});
    }
    void disconnect() { step(Disconnected{std::exchange(peer, 0)}); }

    static CopySpec spec(const std::string& service) {
        CopySpec out{service, 1, "sha256:img", service + ":1.0", {}, {}};
        out.spec.name = service;
        out.spec.image = service + ":1.0";
        return out;
    }

    // An entry for the list, whose spec the controller gives when asked.
    ListEntry entry(const CopyId& copy, const CopySpec& of, bool is_static = false) {
        const auto digest = spec_digest(of);
        known_specs[digest] = of;
        return {copy, of.service, digest, is_static};
    }
    void give(ListNo no, std::vector<ListEntry> entries, std::vector<std::string> prepull = {}) {
        step(FromController{peer, NodeList{kCluster, no, std::move(entries), std::move(prepull)}});
    }

    // --- questions ---
    std::vector<std::string> running() const {
        std::vector<std::string> out;
        for (const auto& [runtime, all] : boxes)
            for (const auto& [name, box] : all)
                if (box.running) out.push_back(name);
        return out;
    }
    const CopyReport* reported(const CopyId& copy) const {
        const auto at = std::ranges::find(report.copies, copy, &CopyReport::copy);
        return at == report.copies.end() ? nullptr : &*at;
    }
    CopyState state(const CopyId& copy) const {
        const auto* found = reported(copy);
        REQUIRE(found);
        return found->state;
    }
    template <class T>
    std::size_t count() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(log, [](const auto& e) { return std::holds_alternative<T>(e); }));
    }
    template <class T>
    std::size_t count_sent() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(sent, [](const auto& e) { return std::holds_alternative<T>(e.message); }));
    }
    template <class T>
    const T* last_sent() const {
        for (auto at = sent.rbegin(); at != sent.rend(); ++at)
            if (const auto* m = std::get_if<T>(&at->message)) return m;
        return nullptr;
    }
    template <class T>
    const T* last() const {
        for (auto at = log.rbegin(); at != log.rend(); ++at)
            if (const auto* e = std::get_if<T>(&*at)) return e;
        return nullptr;
    }
    bool told(const std::string& kind) const {
        return std::ranges::any_of(log, [&](const auto& e) {
            const auto* event = std::get_if<AgentEvent>(&e);
            return event && event->kind == kind;
        });
    }
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        if (served)
            for (const auto& e : served->entries)
                out.push_back(e.name + "=" + e.address + ":" + std::to_string(e.port));
        return out;
    }

    AgentFacts facts;
    Timing timing;
    std::optional<Agent> agent;
    Instant now = {1'000'000'000};
    std::map<std::string, std::map<std::string, Box>> boxes;
    std::map<std::string, std::set<std::string>> images;
    std::optional<std::string> disk;
    bool state_lost = false;
    std::optional<Error> list_error, fetch_error;
    std::map<std::string, Error> failures;
    std::map<std::string, Instant> guard;  // by container
    std::set<std::string> expired;
    bool guard_up = true;
    std::optional<Error> arm_error;
    std::function<Probed(const Check&)> probe;
    std::function<bool(const AgentEffect&)> hold;  // true: the effect is not done
    std::vector<AgentEffect> held;
    std::deque<AgentInput> answers;
    std::set<std::string> names_used;
    std::map<std::string, ContainerWanted> made;  // by container
    std::set<std::uint16_t> busy;                 // ports on which other programs listen
    PeerId peer = 0;
    std::map<std::string, CopySpec> known_specs;
    std::map<std::uint64_t, std::uint64_t> last_seq;
    std::vector<AgentEffect> log;
    std::vector<Send> sent;
    Report report;
    bool only_last_report = false;  // of what is sent nothing else is looked at or kept
    std::optional<ServeNames> served;
};

inline const CopyId kA{{12, 0}, 1}, kB{{13, 0}, 4};
inline const Error kBroken{Code::kFailed, "engine broken", {}, false, {}};
inline const Error kNobodyKnows{Code::kUnknown, "took too long", {}, false, {}};

// Helpers of the tests beside this file.

inline AgentShell connected() {
    AgentShell s;
    s.start();
    s.connect();
    return s;
}

inline std::string value_of(const Labels& labels, const std::string& name) {
    for (const auto& [key, value] : labels)
        if (key == name) return value;
    return "(none)";
}

template <class T>
std::function<bool(const AgentEffect&)> holding() {
    return [](const AgentEffect& e) { return std::holds_alternative<T>(e); };
}

}  // namespace gantry::core
