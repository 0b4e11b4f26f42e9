// SPDX-License-Identifier: Apache-2.0
//
// The world's mechanics: the controller's shell and the links.
#include "tests/unit/kernel/core/controller_world.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace gantry::core {

std::vector<Keys> fewest_copies(const Rank& rank) {
    std::vector<Keys> keys;
    for (const auto& c : rank.candidates)
        keys.push_back({std::int64_t{c.copies_running} + c.copies_pending, -c.memory_free_bytes, 0, 0});
    return keys;
}

namespace {

std::map<std::string, std::string> mapped(const std::vector<Entry>& entries) {
    std::map<std::string, std::string> out;
    for (const auto& entry : entries) out[entry.key] = entry.value;
    return out;
}

std::string first_difference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
    for (const auto& [key, value] : a) {
        const auto at = b.find(key);
        if (at == b.end()) return key + " only on the left: " + value;
        if (at->second != value) return key + ": " + value + " / " + at->second;
    }
    for (const auto& [key, value] : b)
        if (!a.contains(key)) return key + " only on the right: " + value;
    return "";
}

}  // namespace

World::World(std::uint64_t seed, int nodes) : random_(seed), seed_(seed) {
    timing_.hold = seconds(10);
    for (int i = 1; i <= nodes; ++i) {
        SimNode& node = nodes_["n" + std::to_string(i)];
        node.name = "n" + std::to_string(i);
        node.id = {"id-" + node.name, "boot-1", 1, 0};
        node.labels = {{"side", i % 2 ? "left" : "right"}};
        node.has_process = i % 2 == 1;
        if (i == 4) node.architecture = "arm64";
        node.up = true;
        node.connect_at = now_ + random_.time(0, 500);
    }
    start_controller();
}

void World::broken(const std::string& invariant, const std::string& how) {
    if (breach.empty()) breach = "invariant: " + invariant + ": " + how;
}

// --- the controller -------------------------------------------------------------------------------------------------

void World::start_controller() {
    ++controller_starts;
    core_.emplace(timing_, std::vector<std::string>{"least-loaded"});
    std::vector<Entry> entries;
    for (const auto& [key, value] : durable_) entries.push_back({key, value});
    auto effects = core_->load(entries, "cluster-1", now_);
    if (!effects) return broken("a stored state can be loaded", effects.error().text());
    gate_ = CommitGate();
    gate_.add(std::move(*effects));
    pump();
    if (durable_.empty())
        for (const auto* name : {"app:1", "app:2"})
            turn(ApiSetImage{++last_request_, name, std::string("sha256:") + name, "linux", "amd64", 1});
}

void World::kill_controller() {
    if (!core_) return;
    // A commit under way is durable or not, as the disk likes.
    if (flight_ && random_.chance(50)) apply(flight_->commit);
    flight_.reset();
    core_.reset();
    gate_ = CommitGate();
    slow_ranks_.clear();
    deploys_.clear();
    named_.clear();
    for (auto& [peer, name] : links_)
        if (nodes_.at(name).peer == peer) nodes_.at(name).heard = now_ - seconds(10);
    links_.clear();
    controller_back_ = now_ + (faulty_ ? random_.time(50, 8'000) : milliseconds(50));
}

void World::turn(const Input& input) {
    if (!core_) return;
    Effects all = core_->step(input, now_);
    while (!all.ranks.empty()) {
        const auto ranks = std::exchange(all.ranks, {});
        for (const auto& rank : ranks) {
            if (random_.chance(20)) check_question(rank);
            if (faulty_ && random_.chance(3)) {
                // A policy out of the process, or one that never answers.
                Rank later = rank;
                for (auto& candidate : later.candidates) candidate.labels = nullptr;
                slow_ranks_.emplace_back(now_ + random_.time(1, 3'000), std::move(later));
                continue;
            }
            const bool fails = faulty_ && random_.chance(2);
            Effects more = fails ? core_->step(RankFailed{rank.id, "it fell over"}, now_)
                                 : core_->step(Ranked{rank.id, fewest_copies(rank)}, now_);
            std::move(more.writes.begin(), more.writes.end(), std::back_inserter(all.writes));
            std::move(more.acts.begin(), more.acts.end(), std::back_inserter(all.acts));
            std::move(more.ranks.begin(), more.ranks.end(), std::back_inserter(all.ranks));
        }
    }
    const bool placed = std::any_of(all.acts.begin(), all.acts.end(), [](const Effect& effect) {
        const auto* event = std::get_if<Event>(&effect);
        return event && event->kind == "placed";
    });
    gate_.add(std::move(all));
    if (placed) check_placed();
    pump();
}

// What a policy is told of a node counts every copy that was assigned to it, running or not.
void World::check_question(const Rank& rank) {
    std::map<std::string, std::uint64_t> assigned;
    for (const auto& node : core_->nodes(now_))
        assigned[std::string(node.at("name").as_string())] = node.at("copies").to_number<std::uint64_t>();
    for (const auto& candidate : rank.candidates)
        if (candidate.copies_running + candidate.copies_pending < assigned[std::string(candidate.node)])
            broken("pending left out of the count", std::string(candidate.node));
}

void World::pump() {
    for (const auto& effect : gate_.release()) act(effect);
    if (flight_) return;
    if (auto commit = gate_.begin()) flight_ = Flight{std::move(*commit), now_ + random_.time(0, faulty_ ? 150 : 25)};
}

void World::apply(const CommitGate::Commit& commit) {
    ++commits;
    for (const auto& write : commit.writes) {
        if (write.value)
            durable_[write.key] = *write.value;
        else
            durable_.erase(write.key);
    }
}

void World::finish_commit() {
    if (!flight_ || flight_->at > now_ || !core_) return;
    const CommitGate::Commit commit = std::move(flight_->commit);
    flight_.reset();
    if (faulty_ && random_.chance(1)) {
        if (random_.chance(50)) apply(commit);  // unknown: it happened all the same
        gate_.failed();
        kill_controller();
        controller_back_ = now_ + milliseconds(50);
        return;
    }
    apply(commit);
    gate_.committed();
    pump();
    if (core_ && gate_.idle()) check_stored();
}

void World::check_stored() {
    const auto live = mapped(core_->stored());
    if (live != durable_) return broken("the stored state equals the live one", first_difference(durable_, live));
    if (random_.chance(5)) check_reload();
    if (random_.chance(20)) check_bookkeeping();
}

// One current copy and at most one next, and each node counts those that it has.
void World::check_bookkeeping() {
    std::map<std::string, std::size_t> copies;
    for (const auto& [key, text] : durable_) {
        if (!key.starts_with("instance/")) continue;
        const auto stored = *parse_json(text);
        for (const auto* slot : {"current", "next"})
            if (const auto* copy = stored.at(slot).if_object()) ++copies[std::string(copy->at("node").as_string())];
        if (const auto* next = stored.at("next").if_object(); next && next->at("epoch") == stored.at("epoch"))
            broken("one current copy and at most one next", key + ": " + text);
    }
    for (const auto& node : core_->nodes(now_))
        if (const std::string name(node.at("name").as_string());
            node.at("copies").to_number<std::size_t>() != copies[name])
            broken("one current copy and at most one next", name + " counts other copies than are stored");
}

void World::check_reload() {
    Controller other(timing_, {"least-loaded"});
    std::vector<Entry> entries;
    for (const auto& [key, value] : durable_) entries.push_back({key, value});
    const auto effects = other.load(entries, "x", now_);
    if (!effects) return broken("a stored state can be loaded", effects.error().text());
    auto again = mapped(other.stored());
    auto expected = durable_;
    for (const auto& write : effects->writes) expected[write.key] = *write.value;
    again.erase("meta");
    expected.erase("meta");
    if (again != expected) broken("a stored state reloaded equals the live one", first_difference(expected, again));
}

void World::act(const Effect& effect) {
    if (const auto* to = std::get_if<SendTo>(&effect)) {
        if (const auto* list = std::get_if<NodeList>(&to->message)) published(to->peer, *list);
        if (SimNode* node = node_of(to->peer)) send({to->peer, to->message, false}, *node);
    } else if (const auto* close = std::get_if<ClosePeer>(&effect)) {
        if (SimNode* node = node_of(close->peer)) send({close->peer, std::monostate(), false}, *node);
        links_.erase(close->peer);
    } else if (const auto* announce = std::get_if<Announce>(&effect)) {
        announced(announce->names);
        for (const auto& [peer, name] : links_) send({peer, announce->names, false}, nodes_.at(name));
    } else if (const auto* event = std::get_if<Event>(&effect)) {
        if (std::getenv("GANTRY_TELL"))
            std::printf("%8.3f s  %s: %s\n", static_cast<double>(now_.ns) / 1e9, event->kind.c_str(),
                        event->text.c_str());
        if (event->kind == "ready") {
            const std::string copy = std::string(event->fields.at("instance").as_string()) + "#" +
                                     std::to_string(event->fields.at("epoch").to_number<std::uint64_t>()) + " on " +
                                     std::string(event->fields.at("node").as_string());
            if (!ready_copies_.contains(copy))
                broken("a stale report accepted as current", copy + " is said to be ready, which it never was");
        }
        placements += event->kind == "placed";
        losses += event->kind == "lost";
        gaps += event->kind == "gap-planned";
        // What a node that was forgotten brings along is met by surprise: nobody knows any more what it takes.
        if (event->kind == "node-removed")
            for (const auto& [copy, node] : published_on_)
                if (node == event->fields.at("node").as_string())
                    taken_.erase(instance_of_[copy] + "#" + std::to_string(copy.epoch));
        if (event->kind == "moving" && event->text.find(" moves from ") != std::string::npos)
            planned_.insert({std::string(event->fields.at("instance").as_string()),
                             event->fields.at("epoch").to_number<std::uint64_t>()});
        if (event->kind == "lost")
            lost_.insert({std::string(event->fields.at("instance").as_string()),
                          event->fields.at("epoch").to_number<std::uint64_t>()});
        moves += event->kind == "moving";
    } else if (const auto* reply = std::get_if<Reply>(&effect)) {
        const auto at = deploys_.find(reply->request);
        if (at == deploys_.end() || !reply->result) return;
        const auto& [service, unused] = at->second;
        const auto revision = reply->result->at("revision").to_number<std::uint64_t>();
        const auto stored = durable_.find("service/" + service);
        const bool there = stored != durable_.end() &&
                           stored->second.find("\"revision\":" + std::to_string(revision)) != std::string::npos;
        if (!there) broken("acting before the commit", "an answered deploy of " + service + " is not stored");
    }
}

// No list is published before what it rests on is durable; a copy is never on two nodes; nothing goes backwards.
void World::published(PeerId peer, const NodeList& list) {
    const SimNode* node = node_of(peer);
    if (!node) return;
    const auto stored = durable_.find("node/" + node->name);
    const auto meta = durable_.find("meta");
    const auto number = [](const std::string& text, const char* key) {
        return parse_json(text)->at(key).to_number<std::uint64_t>();
    };
    if (meta == durable_.end() || number(meta->second, "term") < list.no.term || stored == durable_.end() ||
        number(stored->second, "list_no") < list.no.no)
        return broken("acting before the commit", "list " + std::to_string(list.no.term) + "/" +
                                                      std::to_string(list.no.no) + " of " + node->name +
                                                      " was sent and is not stored");
    for (const auto& entry : list.copies) {
        const auto [at, fresh] = published_on_.try_emplace(entry.copy, node->name);
        if (!fresh && at->second != node->name)
            broken("one current copy of an instance",
                   entry.copy.text() + " was listed on " + at->second + " and on " + node->name);
    }
    check_stopped(*node, list);
    auto& last = last_list_[node->name];
    if (list.no < last) broken("lists only grow", node->name);
    last = list.no;
}

// What leaves a list is stopped: no name means it any more, and it is not replaced by what was never ready.
void World::check_stopped(const SimNode& node, const NodeList& list) {
    std::set<CopyId> copies;
    for (const auto& entry : list.copies) {
        copies.insert(entry.copy);
        of_instance_[entry.copy.instance].insert(entry.copy);
        instance_of_[entry.copy] = entry.service + "." + std::to_string(entry.copy.instance.index);
    }
    for (const auto& entry : named_)
        if (entry.node == node.name && !copies.contains(entry.copy))
            broken("names never point at a stopped copy",
                   entry.name + " means " + entry.copy.text() + " on " + node.name);
    for (const auto& copy : listed_[node.name]) {
        const auto sim = node.copies.find(copy);
        if (copies.contains(copy) || sim == node.copies.end() || sim->second.state != CopyState::kReady) continue;
        const CopyId newest = *of_instance_.at(copy.instance).rbegin();
        const auto where = published_on_.find(newest);
        if (newest == copy || was_ready_.contains({newest, where->second})) continue;
        const std::string& instance = instance_of_.at(copy);
        if (!planned_.contains({instance, newest.epoch}) || lost_.contains({instance, copy.epoch})) continue;
        const auto now = core_->instances();  // one that was taken away meanwhile is stopped, next copy and all
        const bool there = std::any_of(now.begin(), now.end(), [&](const json::value& entry) {
            return entry.at("instance").as_string() == instance && entry.at("epoch") == newest.epoch;
        });
        if (there) broken("next is ready before current stops", copy.text() + " is stopped for " + newest.text());
    }
    listed_[node.name] = std::move(copies);
}

// A name is answered by a copy that its node has reported ready.
void World::announced(const Names& names) {
    named_ = names.entries;
    for (const auto& entry : names.entries)
        if (!was_ready_.contains({entry.copy, entry.node}))
            broken("a stale report accepted as current", entry.name + " is said to be " + entry.copy.text() + " on " +
                                                             entry.node + ", which never was ready");
}

// --- the links ------------------------------------------------------------------------------------------------------

World::SimNode* World::node_of(PeerId peer) {
    const auto at = links_.find(peer);
    return at == links_.end() ? nullptr : &nodes_.at(at->second);
}

void World::send(Packet packet, SimNode& node) {
    if (now_ < node.cut_until) return;
    if (faulty_ && random_.chance(3)) return;
    const Duration delay = faulty_ && random_.chance(5) ? random_.time(1, 400) : milliseconds(1);
    if (faulty_ && random_.chance(2)) packets_.emplace(now_ + delay + random_.time(1, 300), packet);
    packets_.emplace(now_ + delay, std::move(packet));
}

void World::say(SimNode& node, AgentMessage message) {
    ++node.id.seq;
    std::visit([&](auto& m) { m.id = node.id; }, message);
    send({node.peer, std::move(message), true}, node);
}

void World::deliver(const Packet& packet) {
    if (packet.to_controller) {
        if (!core_ || !links_.contains(packet.peer)) return;
        if (const auto* message = std::get_if<AgentMessage>(&packet.what)) {
            turn(PeerMessage{packet.peer, "10.0.0." + links_.at(packet.peer).substr(1), *message});
        } else {
            links_.erase(packet.peer);
            turn(PeerDown{packet.peer, random_.chance(70)   ? Down::kReset
                                       : random_.chance(50) ? Down::kTimeout
                                                            : Down::kClosed});
        }
        return;
    }
    for (auto& [name, node] : nodes_) {
        if (node.peer != packet.peer || !node.up) continue;
        if (const auto* message = std::get_if<ControllerMessage>(&packet.what))
            take(node, *message);
        else
            drop(node, false);
    }
}

}  // namespace gantry::core
