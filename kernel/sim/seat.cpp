// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/seat.hpp"

#include <algorithm>

#include "kernel/sim/recorder.hpp"
#include "kernel/sim/world.hpp"

namespace gantry::sim {

Seat::Seat(World& world, Random random)
    : timing(world.setup.timing), policies{world.policies.first(), Policies::kSecond}, world_(world), random_(random) {
    clock.boot(world.now(), seconds(100));
}

Instant Seat::local() const { return clock.local(world_.now()); }

// --- it comes and goes ----------------------------------------------------------------------------------------------

void Seat::start() {
    if (world_.faults.configuration) {
        std::swap(policies[0], policies[1]);
        timing.heartbeat = milliseconds(random_.chance(500) ? 200 : 100);
        timing.restart_delay = random_.ms(200, 1'000);
        timing.lease = world_.faults.siege ? random_.ms(600, 3'000) : random_.ms(1'500, 3'000);
        timing.crashes_to_move = static_cast<std::uint32_t>(random_.between(2, 5));
    }
    if (world_.faults.drift_ppm != 0) clock.drift(world_.now(), world_.faults.drift(random_));
    load();
}

void Seat::load() {
    ++starts;
    ++run;
    ++world_.counts.starts;
    core.emplace(timing, policies);
    std::vector<core::Entry> entries;
    for (const auto& [key, value] : durable) entries.push_back({key, value});
    auto effects = core->load(entries, kClusterId, local());
    if (!effects) return world_.broken("a stored state can be loaded", effects.error().text());
    if (world_.recorder) world_.recorder->controller(timing, policies, entries, kClusterId, local(), *effects);
    world_.digest.add(*effects);
    world_.judge.loaded(starts);
    quiet_since = world_.now();
    armed_ = kNever;
    gate = core::CommitGate();
    gather(*effects);
    gate.add(std::move(*effects));
    arm();
    pump();
}

void Seat::drop_core() {
    core.reset();
    ++run;
    joined_.clear();
    names.reset();
    world_.judge.requests_lost();
    world_.all_links_down();
    quiet_since = world_.now();
}

void Seat::kill(Duration away) {
    if (!core) return;
    if (flight_ && random_.chance(500)) apply(*flight_);
    flight_.reset();
    gate = core::CommitGate();
    drop_core();
    world_.time.in(away, [this, was = run] {
        if (!core && run == was) start();
    });
}

void Seat::pause(Duration lag) { paused = std::max(paused, world_.now() + lag); }

// --- turns ----------------------------------------------------------------------------------------------------------

core::RequestId Seat::request(const std::function<core::Input(core::RequestId)>& make) {
    if (!core) return 0;
    const auto id = ++last_request_;
    world_.judge.asked(id);
    turn(make(id));
    return id;
}

void Seat::restart(const std::string& instance) {
    if (!core) return;
    const auto place = core->place(instance);
    if (!place || !place->restart) return;
    world_.judge.restarted.insert(place->copy);
    world_.to_node(place->peer, core::RestartCopy{++last_request_, place->copy});
}

void Seat::turn(const core::Input& input) {
    if (!core) return;
    const Instant now = local();
    core::Effects effects = core->step(input, now);
    ++world_.counts.controller_steps;
    world_.digest.add(static_cast<std::uint64_t>(now.ns));
    world_.digest.add(effects);
    if (world_.recorder) world_.recorder->controller(input, now, effects);
    gather(effects);
    world_.judge.decided(effects);
    const bool placed = std::any_of(effects.acts.begin(), effects.acts.end(), [](const core::Effect& effect) {
        const auto* event = std::get_if<core::Event>(&effect);
        return event && event->kind == "placed";
    });
    if (placed) world_.judge.placed();
    world_.judge.displaced(effects);
    gate.add(std::move(effects));
    arm();
    pump();
}

// What policies answer at once joins the turn; what they answer later is a turn of its own.
void Seat::gather(core::Effects& effects) {
    std::vector<core::Rank> ranks = std::exchange(effects.ranks, {});
    // Before anything else is decided.
    for (const auto& rank : ranks) world_.judge.question(rank);
    while (!ranks.empty()) {
        std::vector<core::Rank> next;
        for (const auto& rank : ranks) {
            ++world_.counts.questions;
            auto keys = world_.policies.ask(rank);
            if (world_.now() < world_.policies_away) keys = fail(Code::kUnavailable, "the policy is being exchanged");
            if (random_.chance(world_.faults.policies)) keys = fail(Code::kFailed, "the policy fell over");
            core::Input answer = core::RankFailed{rank.id, keys ? "" : keys.error().text()};
            if (keys) answer = core::Ranked{rank.id, std::move(*keys)};
            if (random_.chance(world_.faults.policies)) {
                // A policy in a process of its own, slow or too late.
                world_.time.in(random_.ms(1, 3'000), [this, answer, was = run] {
                    if (run == was) turn(answer);
                });
                continue;
            }
            const Instant now = local();
            core::Effects more = core->step(answer, now);
            ++world_.counts.controller_steps;
            world_.digest.add(more);
            if (world_.recorder) world_.recorder->controller(answer, now, more);
            std::ranges::move(more.writes, std::back_inserter(effects.writes));
            std::ranges::move(more.acts, std::back_inserter(effects.acts));
            for (const auto& question : more.ranks) world_.judge.question(question);
            std::ranges::move(more.ranks, std::back_inserter(next));
        }
        ranks = std::move(next);
    }
}

void Seat::arm() {
    const Instant due = core->next_deadline();
    const Instant when = clock.truth(due);
    if (when >= armed_) return;
    armed_ = when;
    world_.time.at(when, [this, due, was = run] {
        if (run == was) tick(due);
    });
}

void Seat::tick(Instant due) {
    if (world_.now() < paused) {
        // What is readable is read first.
        world_.time.at(paused + milliseconds(1), [this, due, was = run] {
            if (run == was) tick(due);
        });
        return;
    }
    armed_ = kNever;
    const Duration lag = local() - due;
    if (lag > timing.heartbeat) turn(core::LoopLate{lag});
    if (!core) return;
    if (core->next_deadline() > local()) return arm();
    // One tick does what is due; lists held back for an answer of a slow policy take a second one.
    for (int ticks = 0; core && core->next_deadline() <= local(); ++ticks) {
        if (ticks == 3) return world_.broken("a tick does what is due", "the third one in a row has something to do");
        turn(core::Tick{});
    }
}

// --- the store ------------------------------------------------------------------------------------------------------

void Seat::pump() {
    const auto was = run;
    for (auto& effect : gate.release()) {
        act(std::move(effect));
        if (run != was) return;
    }
    if (flight_) return;
    flight_ = gate.begin();
    if (!flight_) return;
    const Duration takes = world_.faults.slow_disks ? random_.ms(0, 150) : random_.ms(0, 5);
    world_.time.in(takes, [this, was] {
        if (run == was) finish_commit();
    });
}

void Seat::apply(const core::CommitGate::Commit& commit) {
    ++world_.counts.commits;
    for (const auto& write : commit.writes) {
        if (write.value)
            durable[write.key] = *write.value;
        else
            durable.erase(write.key);
    }
}

void Seat::finish_commit() {
    const core::CommitGate::Commit commit = std::move(*flight_);
    flight_.reset();
    if (random_.chance(world_.faults.commits)) {
        if (random_.chance(500)) apply(commit);  // not known: it happened all the same
        for (const auto request : gate.failed())
            world_.judge.replied({request, fail(Code::kUnknown, "the commit failed")});
        drop_core();
        world_.time.in(random_.ms(5, 500), [this, was = run] {
            if (!core && run == was) load();
        });
        return;
    }
    apply(commit);
    gate.committed();
    pump();
    if (core && gate.idle()) world_.judge.committed();
}

// --- effects --------------------------------------------------------------------------------------------------------

void Seat::act(core::Effect effect) {
    if (auto* to = std::get_if<core::SendTo>(&effect)) {
        Machine* machine = world_.machine_of(to->peer);
        if (const auto* list = std::get_if<core::NodeList>(&to->message); list && machine)
            world_.judge.published(*machine, *list);
        if (const auto* forward = std::get_if<core::Forward>(&to->message); forward && machine && !forward->end)
            published_through(*machine, *forward);
        if (const auto* ack = std::get_if<core::HeartbeatAck>(&to->message)) world_.judge.acked(to->peer, ack->seq);
        const bool welcome = std::holds_alternative<core::Welcome>(to->message);
        world_.to_node(to->peer, std::move(to->message));
        if (!welcome || !machine) return;
        joined_.insert(to->peer);
        if (names)
            for (auto& part : core::divide(*names)) world_.to_node(to->peer, std::move(part));
    } else if (auto* close = std::get_if<core::ClosePeer>(&effect)) {
        joined_.erase(close->peer);
        world_.hang_up_controller(close->peer);
    } else if (auto* announce = std::get_if<core::Announce>(&effect)) {
        names = std::move(announce->names);
        world_.judge.announced(*names);
        for (const auto& part : core::divide(*names))
            for (const auto peer : joined_) world_.to_node(peer, part);
    } else if (auto* event = std::get_if<core::Event>(&effect)) {
        world_.judge.told(*event);
    } else if (auto* reply = std::get_if<core::Reply>(&effect)) {
        world_.judge.replied(*reply);
    }
}

// A list that another machine passes on.
void Seat::published_through(const Machine& via, const core::Forward& forward) {
    const Machine* machine = world_.relays.end_of(via, forward.route);
    const auto read = core::decode_controller(core::frame(forward.message));
    if (!read) return world_.broken("the wire changes nothing", read.error().text());
    if (const auto* list = std::get_if<core::NodeList>(&read->message); list && machine)
        world_.judge.published(*machine, *list);
}

void Seat::hear(core::PeerId peer, const std::string& address, core::AgentMessage message) {
    if (!core) return world_.hang_up_controller(peer);
    if (std::holds_alternative<core::LogData>(message)) return;  // for who asked for a restart
    turn(core::PeerMessage{peer, address, std::move(message)});
}

void Seat::lost_link(core::PeerId peer, core::Down cause) {
    joined_.erase(peer);
    turn(core::PeerDown{peer, cause});
}

}  // namespace gantry::sim
