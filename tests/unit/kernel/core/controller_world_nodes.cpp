// SPDX-License-Identifier: Apache-2.0
//
// The world's clockwork, and its nodes: they obey their lists as the contract of agents says.
#include <algorithm>

#include "tests/unit/kernel/core/controller_world.hpp"

namespace gantry::core {

namespace {

constexpr Duration kStep = milliseconds(25);
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

}  // namespace

void World::step() {
    now_ = now_ + kStep;
    if (!core_ && now_ >= controller_back_) start_controller();
    while (!packets_.empty() && packets_.begin()->first <= now_) {
        const Packet packet = std::move(packets_.begin()->second);
        packets_.erase(packets_.begin());
        deliver(packet);
    }
    finish_commit();
    auto due = std::exchange(slow_ranks_, {});
    for (auto& [at, rank] : due) {
        if (at > now_)
            slow_ranks_.emplace_back(at, std::move(rank));
        else
            turn(Ranked{rank.id, fewest_copies(rank)});
    }
    for (auto& [name, node] : nodes_) run(node);
    // One tick does what is due; lists held back for an answer of a slow policy take a second one.
    for (int ticks = 0; core_ && core_->next_deadline() <= now_; ++ticks) {
        if (ticks == 3) return broken("a tick does what is due", "the third one in a row has something to do");
        turn(Tick{});
    }
}

void World::boot(SimNode& node) {
    node.up = true;
    node.left = false;
    node.leave_at = kNever;
    ++node.boots;
    node.id.boot_id = "boot-" + std::to_string(node.boots);
    ++node.id.session;
    node.id.seq = 0;
    node.copies.clear();
    node.list = {};
    node.applied = {};
    node.connect_at = now_ + random_.time(0, 300);
}

void World::run(SimNode& node) {
    if (!node.up) {
        if (now_ >= node.up_at) boot(node);
        return;
    }
    run_copies(node);
    if (now_ >= node.leave_at) leave(node);
    if (node.left) return;
    if (node.peer == 0) {
        if (now_ >= node.connect_at) connect(node);
        return;
    }
    if (now_ - node.heard > seconds(2)) return drop(node, true);
    if (!node.welcomed) return;
    if (now_ >= node.report_at || node.changed) report(node);
    if (now_ >= node.beat_at) {
        node.beat_at = now_ + timing_.heartbeat;
        say(node, Heartbeat{{}, node.applied, {512 * kMiB, 0}});
    }
}

void World::leave(SimNode& node) {
    if (node.welcomed && random_.chance(50)) say(node, Leaving{});
    node.left = true;
    node.up = false;
    node.up_at = now_ + random_.time(500, 5'000);
}

void World::connect(SimNode& node) {
    node.connect_at = now_ + milliseconds(300);
    if (!core_ || now_ < node.cut_until) return;
    node.peer = ++last_peer_;
    node.welcomed = node.confirmed = false;
    node.heard = now_;
    links_[node.peer] = node.name;
    Hello hello;
    hello.node = node.name;
    hello.labels = node.labels;
    hello.runtimes = {{"oci", "linux", {node.architecture}, true}};
    if (node.has_process) hello.runtimes.push_back({"process", "linux", {node.architecture}, false});
    hello.cpu_milli = 4'000;
    hello.memory_bytes = 1'024 * kMiB;
    hello.applied = node.known;
    say(node, std::move(hello));
}

void World::drop(SimNode& node, bool tell) {
    if (node.peer == 0) return;
    if (tell) packets_.emplace(now_ + milliseconds(1), Packet{node.peer, std::monostate(), true});
    node.peer = 0;
    node.welcomed = false;
    node.connect_at = now_ + random_.time(10, 300);
}

void World::take(SimNode& node, const ControllerMessage& message) {
    node.heard = now_;
    if (std::holds_alternative<Welcome>(message)) {
        node.welcomed = true;
        node.changed = true;
        if (node.leave_at != kNever) say(node, Leaving{{}, true});
    } else if (std::holds_alternative<Refused>(message)) {
        drop(node, true);
    } else if (const auto* ack = std::get_if<HeartbeatAck>(&message)) {
        if (ack->left) node.leave_at = std::min(node.leave_at, node.leave_at == kNever ? kNever : now_);
        if (node.welcomed && ack->current != node.applied) say(node, PullList{});
    } else if (const auto* list = std::get_if<NodeList>(&message)) {
        const bool again = list->no == node.known && node.applied == ListNo{};
        if (node.welcomed && (list->no > node.known || again)) take_list(node, *list);
    }
}

void World::take_list(SimNode& node, const NodeList& list) {
    node.applied = node.known = list.no;
    node.list = list;
    node.changed = true;
    std::set<CopyId> wanted;
    for (const auto& entry : list.copies) {
        wanted.insert(entry.copy);
        const auto [at, fresh] = node.copies.try_emplace(entry.copy);
        at->second.unwanted = false;
        if (fresh) at->second.next = now_ + random_.time(25, 400);
    }
    for (auto& [copy, sim] : node.copies) {
        if (wanted.contains(copy) || sim.unwanted) continue;
        sim.unwanted = true;
        sim.next = now_ + random_.time(25, 1'000);
        sim.stuck = faulty_ && random_.chance(5);
    }
}

void World::run_copies(SimNode& node) {
    for (auto at = node.copies.begin(); at != node.copies.end();) {
        auto& [copy, sim] = *at;
        if (sim.unwanted && now_ >= sim.next && (!sim.stuck || !faulty_)) {
            at = node.copies.erase(at);
            node.changed = true;
            continue;
        }
        ++at;
        if (sim.unwanted || now_ < sim.next) continue;
        const CopyState before = sim.state;
        if (sim.state == CopyState::kWaiting) {
            sim.state = CopyState::kCreating;
        } else if (sim.state == CopyState::kCreating) {
            sim.state = CopyState::kRunning;
        } else if (crashing_ == copy.instance) {
            sim.state = CopyState::kWaiting;
            ++sim.crashes;
            ++sim.restarts;
        } else if (sim.state == CopyState::kRunning) {
            sim.state = CopyState::kReady;
            was_ready_.insert({copy, node.name});
            ready_copies_.insert(instance_of_[copy] + "#" + std::to_string(copy.epoch) + " on " + node.name);
            if (!faulty_) sim.crashes = 0;
        } else if (faulty_ && random_.chance(1)) {
            sim.state = CopyState::kWaiting;
            ++sim.crashes;
            ++sim.restarts;
        }
        sim.next = now_ + random_.time(25, 400);
        node.changed = node.changed || sim.state != before;
    }
}

void World::report(SimNode& node) {
    node.changed = false;
    node.report_at = now_ + seconds(1);
    Report report;
    report.applied = node.applied;
    report.load = {512 * kMiB, 0};
    report.images = {"sha256:app:1"};
    for (const auto& [copy, sim] : node.copies) {
        CopyReport entry;
        entry.copy = copy;
        entry.state = sim.unwanted ? CopyState::kStopping : sim.state;
        entry.crashes = sim.crashes;
        entry.restarts = sim.restarts;
        entry.cannot_stop = sim.unwanted && sim.stuck;
        report.copies.push_back(std::move(entry));
    }
    say(node, std::move(report));
}

}  // namespace gantry::core
