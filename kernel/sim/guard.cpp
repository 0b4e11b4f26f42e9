// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/guard.hpp"

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr Duration kBackWithin = milliseconds(100), kArmAgain = milliseconds(20);

}  // namespace

Guard::Guard(World& world, Machine& machine, Random random) : world_(world), machine_(machine), random_(random) {}

bool Guard::killed(const std::string& name) const {
    const auto at = held_.find(name);
    return at != held_.end() && at->second.killed;
}

void Guard::arm(const core::Arm& effect) {
    const Duration takes =
        random_.chance(world_.faults.slow_runtime) ? random_.ms(5, 4'000) : random_.time(Duration(0), milliseconds(5));
    arm_in(takes, effect, machine_.run);
}

void Guard::arm_in(Duration takes, const core::Arm& effect, std::uint64_t run) {
    world_.time.in(takes, [this, effect, boot = machine_.facts.boot_id, run] {
        if (boot != machine_.facts.boot_id || !machine_.up) return;
        if (away_) return arm_in(kArmAgain, effect, run);
        const Status held = hold(effect);
        if (machine_.agent && machine_.run == run) machine_.turn(core::Armed{effect.id, held});
    });
}

Status Guard::hold(const core::Arm& effect) {
    const auto* runtime = machine_.runtime(effect.runtime);
    if (machine_.local() >= effect.until) return fail(Code::kDeadline, "the deadline has passed");
    if (!runtime || !runtime->boxes().contains(effect.name))
        return fail(Code::kNotFound, "the container " + effect.name + " has no process");
    Held& held = held_[effect.name];
    if (held.until != Instant{} && machine_.local() >= held.until)
        return fail(Code::kConflict, effect.name + " has expired");
    held.runtime = effect.runtime;
    held.until = std::max(held.until, effect.until);
    watch(effect.name);
    return {};
}

void Guard::watch(const std::string& name) {
    Held& held = held_.at(name);
    if (held.watched) return;
    held.watched = true;
    world_.time.at(machine_.clock.truth(held.until), [this, name, boot = boot_] {
        const auto at = held_.find(name);
        if (boot != boot_ || at == held_.end()) return;
        at->second.watched = false;
        if (machine_.local() < at->second.until) return watch(name);
        kill(name);
    });
}

void Guard::kill(const std::string& name) {
    // Within K by its machine's clock; where leases are besieged often at the last moment.
    const Instant latest =
        machine_.clock.truth(held_.at(name).until + world_.setup.timing.kill_bound) - milliseconds(1);
    const Duration most = std::max(Duration(0), latest - world_.now());
    const bool last = world_.setup.faults.siege && random_.chance(500);
    world_.time.in(last ? most : random_.time(Duration(0), most), [this, name, boot = boot_] {
        const auto at = held_.find(name);
        if (boot != boot_ || at == held_.end()) return;
        at->second.killed = true;
        machine_.runtime(at->second.runtime)->fence(name);
    });
}

void Guard::disarm(const std::string& name) {
    held_.erase(name);
    known_.erase(name);
}

void Guard::die(Duration away) {
    if (away_ || held_.empty() || !machine_.agent || machine_.stopping()) return;
    ++boot_;
    known_ = std::exchange(held_, {});
    away_ = true;
    const auto now_as_before = [this, boot = boot_] { return boot == boot_ && machine_.agent && away_; };
    if (away > kBackWithin)
        world_.time.in(kBackWithin, [this, now_as_before] {
            if (now_as_before()) machine_.turn(core::GuardState{false, {}});
        });
    world_.time.in(away, [this, now_as_before, told = away > kBackWithin] {
        if (!now_as_before()) return;
        away_ = false;
        held_ = std::exchange(known_, {});
        core::GuardState state{true, {}};
        for (auto& [name, held] : held_) {
            held.watched = false;
            watch(name);
            state.held.push_back({name, held.until});
        }
        if (told) machine_.turn(state);
    });
}

void Guard::tell() {
    world_.time.in(random_.ms(1, 20), [this, run = machine_.run] {
        if (!machine_.agent || machine_.run != run) return;
        core::GuardState state{true, {}};
        for (const auto& [name, held] : held_) state.held.push_back({name, held.until});
        machine_.turn(state);
    });
}

void Guard::power_off() {
    ++boot_;
    held_.clear();
    known_.clear();
    away_ = false;
}

}  // namespace gantry::sim
