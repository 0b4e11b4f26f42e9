// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/world.hpp"

#include <algorithm>

namespace gantry::sim {

namespace {

constexpr Duration kQuick = std::chrono::microseconds(100);

}  // namespace

Setup Setup::swarm(std::uint64_t seed) {
    Random random(seed, "swarm");
    Setup out;
    out.seed = seed;
    out.nodes = random.between(2, 6);
    out.hostile = random.ms(8'000, 40'000);
    out.faults = Faults::draw(random);
    out.faults.by_hand = Random(seed, "by hand").chance(300);
    out.timing.hold = seconds(10);
    out.faults.apart = seed % 6 == 5;  // none of those in which something once went wrong (tests/scenario/regressions)
    out.faults.ports = seed % 7 == 5;  // nor of these
    if (!out.faults.siege) return out;
    // Near the limits of what leases assume: short ones, long kills, clocks as wrong as they may be.
    out.timing.heartbeat = milliseconds(100);
    out.timing.lease = random.ms(900, 1'500);
    out.timing.kill_bound = random.ms(300, 600);
    if (random.chance(500)) out.timing.drift_ppm = 50'000;
    out.faults.drift_ppm = static_cast<int>(out.timing.drift_ppm);
    return out;
}

World::World(Setup with, Policies& by, Recorder* to)
    : setup(std::move(with)),
      faults(setup.faults),
      policies(by),
      recorder(to),
      judge(*this),
      seat(*this, Random(setup.seed, "controller")),
      relays(*this),
      people(*this, setup.seed),
      network_(setup.seed, "network"),
      fate_(setup.seed, "fate") {
    for (int i = 1; i <= setup.nodes; ++i)
        machines.push_back(std::make_unique<Machine>(*this, static_cast<std::size_t>(i),
                                                     Random(setup.seed, "machine " + std::to_string(i))));
    seat.start();
    people.begin();
    for (auto& each : machines) time.in(fate_.ms(0, 500), [machine = each.get()] { machine->power_on(); });
    clockwork();
}

World::~World() = default;

void World::broken(const std::string& invariant, const std::string& how) {
    if (!breach.empty()) return;
    const auto ms = time.now().ns / milliseconds(1).count();
    breach = "invariant: " + invariant + ": " + how + " (after " + std::to_string(ms) + " ms)";
}

// --- time -----------------------------------------------------------------------------------------------------------

void World::run_until(Instant when) {
    while (breach.empty() && time.step(when)) {
    }
}

// Looks at what no single step shows, ten times a second; while faults are on, people and misfortune take their turns.
void World::clockwork() {
    if (!setup.judged) return;
    time.in(milliseconds(100), [this] { clockwork(); });
    judge.look();
    if (calm || setup.alike) return;
    if (faults.people && fate_.chance(120)) people.change();
    if (fate_.chance(static_cast<int>(100'000 / std::max<std::int64_t>(1, faults.between / milliseconds(1)))))
        people.misfortune();
    people.besiege();
    people.by_hand();
}

void World::play() {
    run_until({setup.hostile.count()});
    if (breach.empty()) settle();
}

void World::settle() {
    calm = true;
    faults = Faults::none();
    const Instant end = now() + setup.calm;
    for (auto& each : machines) {
        each->cut_out = each->cut_in = each->clogged = each->cut_up_out = each->cut_up_in = each->late_until = now();
        each->clock.drift(now(), 0);
        for (auto& runtime : each->runtimes) runtime->heal();
    }
    seat.clock.drift(now(), 0);
    run_until(now() + seconds(15));  // what is off comes back by itself
    if (!breach.empty()) return;
    people.heal();
    std::string still = "nothing was looked at";
    Instant good = kNever;
    std::uint64_t placed = 0;
    while (breach.empty() && now() < end) {
        run_until(now() + milliseconds(500));
        if (!seat.core || !seat.gate.idle()) continue;
        still = judge.unlike_desired();
        if (!still.empty()) {
            good = kNever;
        } else if (good == kNever) {
            good = now();
            placed = counts.placements;
        } else if (counts.placements != placed) {
            broken("what is as it should be comes to rest", "something was placed again");
        } else if (now() - good >= seconds(judge.crashing ? 10 : 2)) {
            return;
        }
    }
    broken("desired equals actual when faults have stopped", still);
}

// --- wires ----------------------------------------------------------------------------------------------------------

Machine* World::machine(const std::string& name) {
    for (auto& each : machines)
        if (each->name == name) return each.get();
    return nullptr;
}

Machine* World::machine_of(core::PeerId peer) const {
    const auto at = links_.find(peer);
    return at == links_.end() || !at->second.controller_end ? nullptr : at->second.machine;
}

std::string World::address_of(const Machine& machine) const { return "10.0.0." + std::to_string(machine.number); }

core::PeerId World::link(Machine& machine) {
    if (!seat.core || now() < machine.clogged) return 0;
    links_[++last_peer_] = {&machine, true, true, {}};
    return last_peer_;
}

// When what is sent now arrives; kNever: it is lost. The order is kept, unless the wire is one that does not.
Instant World::arrival(Link& link, Machine& machine, bool out) {
    if (now() < (out ? machine.cut_out : machine.cut_in) || now() < (out ? machine.cut_up_out : machine.cut_up_in)) {
        machine.disturbed();
        return kNever;
    }
    if (network_.chance(faults.loss)) {
        machine.disturbed();
        return kNever;
    }
    Instant at = now() + network_.time(kQuick, milliseconds(2));
    auto& last = link.last[out ? 0 : 1];
    if (network_.chance(faults.delays)) {
        at = at + network_.ms(10, 1'500);
        machine.disturbed();
    }
    if (!out && now() < machine.late_until) {
        at = at + machine.late;
        machine.disturbed();
    }
    if (now() < machine.clogged) {
        at = machine.clogged + network_.ms(0, 5);
        machine.disturbed();
    }
    if (network_.chance(faults.disorder)) {
        machine.disturbed();
        return at + network_.ms(1, 600);
    }
    at = std::max(at, last);
    last = at;
    return at;
}

void World::to_controller(core::PeerId peer, Machine& machine, core::AgentMessage message) {
    ++counts.messages;
    counts.heartbeats += std::holds_alternative<core::Heartbeat>(message);
    const auto at = links_.find(peer);
    if (at == links_.end()) return;
    const Instant when = arrival(at->second, machine, true);
    if (when == kNever) return;
    const auto deliver = [this, peer, address = address_of(machine)](core::AgentMessage& what) {
        if (now() < seat.paused) {
            time.at(seat.paused, [this, peer, address, what] {
                if (machine_of(peer)) seat.hear(peer, address, what);
            });
            return;
        }
        if (machine_of(peer)) seat.hear(peer, address, std::move(what));
    };
    if (network_.chance(faults.duplicates))
        time.at(when + network_.ms(1, 300), [deliver, what = message]() mutable { deliver(what); });
    time.at(when, [deliver, what = std::move(message)]() mutable { deliver(what); });
}

void World::to_node(core::PeerId peer, core::ControllerMessage message) {
    ++counts.messages;
    const auto at = links_.find(peer);
    if (at == links_.end() || !at->second.controller_end) return;
    Machine& machine = *at->second.machine;
    const Instant when = arrival(at->second, machine, false);
    if (when == kNever) return;
    if (network_.chance(faults.duplicates))
        time.at(when + network_.ms(1, 300), [&machine, peer, what = message] { machine.hear(peer, what); });
    time.at(when, [&machine, peer, what = std::move(message)]() mutable { machine.hear(peer, std::move(what)); });
}

// The node's end is gone; the other one hears of it, or finds out by silence.
void World::hang_up_node(core::PeerId peer, Machine& machine, core::Down cause) {
    const auto at = links_.find(peer);
    if (at == links_.end() || !at->second.node_end) return;
    at->second.node_end = false;
    if (!at->second.controller_end) {
        links_.erase(at);
        return;
    }
    const bool heard = now() >= machine.cut_out && now() >= machine.cut_up_out;
    const Duration delay = heard ? network_.time(kQuick, milliseconds(3)) : network_.ms(2'000, 6'000);
    time.at(std::max(now() + delay, at->second.last[0]), [this, peer, why = heard ? cause : core::Down::kTimeout] {
        if (!machine_of(peer)) return;
        links_.erase(peer);
        seat.lost_link(peer, why);
    });
}

void World::hang_up_controller(core::PeerId peer) {
    const auto at = links_.find(peer);
    if (at == links_.end() || !at->second.controller_end) return;
    Machine& machine = *at->second.machine;
    at->second.controller_end = false;
    if (!at->second.node_end) {
        links_.erase(at);
        return;
    }
    machine.disturbed();
    if (now() < machine.cut_in || now() < machine.cut_up_in) return;  // the node finds out by silence
    time.at(std::max(now() + milliseconds(1), at->second.last[1]), [&machine, peer] { machine.lost_link(peer); });
}

void World::all_links_down() {
    std::vector<core::PeerId> all;
    for (const auto& [peer, link] : links_) all.push_back(peer);
    for (const auto peer : all) hang_up_controller(peer);
}

}  // namespace gantry::sim
