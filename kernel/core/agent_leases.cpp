// SPDX-License-Identifier: Apache-2.0
//
// Leases on the node (faults.md 5): what runs under forbid runs until a deadline D that the guard holds, and is started
// only when the guard has acknowledged it. D is the time at which the heartbeat was sent that was answered with a
// grant, and T; after a restart it is what the guard says, never set anew.
#include <algorithm>

#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kArmAgain = milliseconds(100);

}  // namespace

Heartbeat Agent::State::heartbeat() {
    while (!beats_sent_.empty() && beats_sent_.begin()->second + timing_.lease <= now_)
        beats_sent_.erase(beats_sent_.begin());
    beats_sent_[++last_beat_] = now_;
    return {identity(), shown_applied(), load_, last_beat_, told()};
}

void Agent::State::take_grants(const HeartbeatAck& message) {
    const auto beat = beats_sent_.find(message.beat);
    if (beat == beats_sent_.end()) return;
#ifdef GANTRY_BUG_GRANT_FROM_ARRIVAL
    const Instant until = now_ + timing_.lease;
#else
    const Instant until = beat->second + timing_.lease;
#endif
    for (const auto& copy : message.grants) granted_[copy] = std::max(granted_[copy], until);
}

// What the guard holds is what covers a container; one that it does not hold is covered by nothing.
void Agent::State::on(const GuardState& input) {
    guard_known_ = true;
    guard_up_ = input.up;
    held_.clear();
    arms_.clear();
    for (const auto& held : input.held) held_[held.name] = held.until;
    for (auto& [key, container] : containers_) take_held(key, container);
}

void Agent::State::take_held(const ContainerKey& key, Container& container) {
    const auto held = held_.find(name_of(key));
    if (held != held_.end()) container.leased = true;
    container.armed = container.asked = held == held_.end() ? Instant{} : held->second;
}

// What it holds of containers that are gone: an earlier gantryd did not live to say so.
void Agent::State::forget_held() {
    const bool all_listed = std::ranges::all_of(runtimes_, [](const auto& runtime) { return runtime.second.listed; });
    if (!all_listed || cluster_id_.empty()) return;
    for (const auto& [key, container] : containers_) held_.erase(name_of(key));
    for (const auto& [name, until] : held_) out_.emplace_back(Disarm{name});
    held_.clear();
}

void Agent::State::on(const Armed& input) {
    const auto arm = arms_.extract(input.id);
    if (!arm) return;
    const auto& [key, until] = arm.mapped();
    const auto at = containers_.find(key);
    if (at == containers_.end()) return;
    Container& container = at->second;
    if (input.result) {
        container.armed = std::max(container.armed, until);
        container.arm_trouble.clear();
        return;
    }
    container.asked = container.armed;
    container.arm_at = now_ + kArmAgain;
    container.arm_trouble = one_line(input.result.error().text(), kReasonMost);
}

// Every turn, before the copies are looked at.
void Agent::State::keep_leases() {
    std::erase_if(granted_, [&](const auto& grant) { return grant.second <= now_; });
    for (auto& [key, container] : containers_) {
        if (const auto copy = copies_.find(key.copy); copy != copies_.end() && copy->second.entry.forbid)
            container.leased = true;
        if (!container.leased || container.fenced || container.is == Is::kExited) continue;
        if (container.doing == Doing::kCreating || container.doing == Doing::kRemoving) continue;
        // One that was armed and is not started yet is frozen and dead as well.
        const bool may_run = container.is == Is::kRunning || container.doing == Doing::kStarting;
        if ((may_run || container.armed != Instant{}) && now_ >= container.armed) {
            fence(key, container);
            continue;
        }
        if (container.armed != Instant{}) wait_until(container.armed);
        renew(key, container);
    }
}

void Agent::State::renew(const ContainerKey& key, Container& container) {
    const auto grant = granted_.find(key.copy);
    if (!guard_up_ || grant == granted_.end() || grant->second <= container.asked) return;
    if (now_ < container.arm_at) return wait_until(container.arm_at);
    container.asked = grant->second;
    arms_[++last_id_] = {key, grant->second};
    out_.emplace_back(Arm{last_id_, key.runtime, name_of(key), grant->second});
}

// The guard kills it; this does, too, through the runtime, should the guard be what is broken. Its end is no crash.
void Agent::State::fence(const ContainerKey& key, Container& container) {
    const bool covered = container.armed != Instant{};
    container.fenced = container.asked_to_stop = true;
    container.grace = Duration(0);
    container.retry_at = {};
    container.end_at = covered ? container.armed : now_;
    Copy* copy = owner(key);
    const std::string name = copy ? instance_name(copy->entry) : name_of(key);
    event("fenced", name + (covered ? " is killed: its lease is over" : " is killed: no guard holds its lease"),
          {{"instance", name}, {"container", name_of(key)}, {"epoch", key.copy.epoch}});
    if (!copy) return;
    copy->current.reset();
    copy->running_since = kNever;
    copy->probes.clear();
    names_changed_ = true;
}

// Under forbid only an acknowledged deadline that has not passed permits a start.
bool Agent::State::may_start(Copy& copy, const Container& container) const {
    if (!copy.entry.forbid || container.armed > now_) return true;
#ifdef GANTRY_BUG_START_UNARMED
    if (granted_.contains(copy.entry.copy)) return true;
#endif
    copy.waiting = !granted_.contains(copy.entry.copy) ? "waits for a lease from the controller"
                   : !guard_up_                        ? "waits for this node's gantry-guard"
                   : container.arm_trouble.empty()     ? "waits until its lease is armed"
                                                       : "its lease cannot be armed: " + container.arm_trouble;
    return false;
}

// What ended because its lease did: not to be adopted, and no crash.
bool Agent::State::lease_ended(const ContainerKey& key, Container& container, bool forbid) {
    if (!forbid || container.fenced) return container.fenced;
    container.leased = true;
    if (container.armed > now_) return false;
    if (container.is == Is::kRunning) fence(key, container);
    // One that ended before its deadline has crashed; of one that the guard no longer holds nobody knows.
    if (container.is == Is::kExited && container.armed != Instant{}) container.fenced = container.asked_to_stop = true;
    return container.fenced;
}

}  // namespace gantry::core
