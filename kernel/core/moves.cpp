// SPDX-License-Identifier: Apache-2.0
//
// Planned moves make before they break (faults.md 6): a next copy is placed, and when it is ready it replaces the
// current one. Where only the old copy's own room is left a gap is planned: stopped, confirmed, placed.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

void Controller::State::plan_moves() {
    // A move that cannot begin now may begin when the next thing changes; one round is enough, for a move that begins
    // frees nothing before a report says so.
    if (!std::exchange(moves_dirty_, false)) return;
    for (const auto no : std::set<std::uint64_t>(rolling_)) {
        Service* service = find_service(no);
        if (service && !service->removing)
            plan_rollout(*service);
        else
            rolling_.erase(no);
    }
    std::set<std::string> emptied = draining_;
    emptied.insert(leaving_.begin(), leaving_.end());
    for (const auto& name : emptied) {
        const auto at = nodes_.find(name);
        const bool drains = at != nodes_.end() && at->second.intent == Intent::kDraining;
        if (!drains) draining_.erase(name);
        if (drains || (at != nodes_.end() && at->second.leaves_by)) plan_drain(at->second);
    }
    go_on_rebalancing();
    moves_dirty_ = false;
}

void Controller::State::plan_next(Instance& instance, const std::string& why) {
    end_move(instance);
    instance.planned = true;
    instance.moving_from = instance.current.node->name;
    instance.why = why;
    moves_[instance.id()] = now_ + kMoveLimit;
    instance.service->unplaced.insert(instance.index);
    enqueue(*instance.service);
}

// Nothing of it is stored yet.
void Controller::State::forget_plan(Instance& instance) {
    instance.planned = false;
    instance.service->unplaced.erase(instance.index);
    moves_.erase(instance.id());
    instance.moving_from.clear();
    instance.why.clear();
}

void Controller::State::begin_gap(Instance& instance, const std::string& why) {
    Node& node = *instance.current.node;
    const json::object fields{{"service", instance.service->name},
                              {"instance", instance.text()},
                              {"node", node.name},
                              {"epoch", instance.current.epoch}};
    if (instance.current.ready)
        event("gap-planned",
              instance.text() + " is away for a moment: it is stopped on " + node.name + " before another copy starts",
              fields);
    event("moving", instance.text() + " is stopped on " + node.name + ": " + why, fields);
    end_move(instance);
    instance.moving_from = node.name;
    instance.why = why;
    instance.stopping = true;
    moves_[instance.id()] = now_ + kMoveLimit;
    detach(instance, instance.current, true, false);
}

void Controller::State::end_move(Instance& instance) {
    if (instance.moving_from.empty()) return;
    moves_.erase(instance.id());
    instance.moving_from.clear();
    instance.why.clear();
    instance.stopping = false;
    moves_dirty_ = true;
    if (instance.current.node) touched_.insert(instance.current.node);  // it may be displaced again
    dirty(instance);
}

// No node takes the next copies that were planned; what changes next may let them be planned again.
void Controller::State::give_up_plans(Service& service) {
    for (const auto index : std::set<std::uint32_t>(service.unplaced))
        if (Instance& instance = service.instances.at(index); instance.planned) forget_plan(instance);
    if (!service.policy_error.empty()) plan_again_ = std::min(plan_again_, now_ + kRankRetry);
}

bool Controller::State::replaces_now(const Instance& instance) {
#ifdef GANTRY_BUG_STOP_BEFORE_READY
    return copy_runs(instance.next.state);
#else
    return instance.next.ready;
#endif
}

// Whether an instance that is to leave this node holds the next one back.
bool Controller::State::moving_out(const Node& node) const {
    return std::any_of(moves_.begin(), moves_.end(),
                       [&](const auto& move) { return find(move.first)->moving_from == node.name; });
}

// One that does not become ready elsewhere must not hold the others for ever.
void Controller::State::check_moves() {
    if (plan_again_ <= now_) {
        plan_again_ = kNever;
        moves_dirty_ = true;
    }
    for (auto at = moves_.begin(); at != moves_.end();) {
        const Instance& instance = *find(at->first);
        if (now_ < at->second) {
            ++at;
            continue;
        }
        at = moves_.erase(at);
        moves_dirty_ = true;
        event("move-slow", instance.text() + " " + slow_move(instance),
              {{"service", instance.service->name}, {"instance", instance.text()}, {"node", instance.moving_from}});
    }
}

std::string Controller::State::slow_move(const Instance& instance) const {
    return "is not ready " + format_duration(kMoveLimit) +
           (instance.current.node && instance.next.node ? " after its move from " + instance.moving_from + " began"
                                                        : " after it was taken from " + instance.moving_from) +
           ": a drain there goes on without it";
}

// One instance after the other; of a node that goes down all at once.
void Controller::State::plan_drain(Node& node) {
    const bool goes_down = node.leaves_by.has_value();
    bool may_begin = goes_down || !moving_out(node);
    std::size_t movable = 0;
    for (const auto& [copy, instance] : std::map<CopyId, Instance*>(node.copies)) {
        if (instance->service->is_static() || stays_for_reboot(node, *instance)) continue;
        if (copy.epoch == instance->next.epoch && turn_away(*instance)) continue;
        ++movable;
        if (!may_begin || instance->moves()) continue;
        if (begin_drain(*instance, goes_down ? node.name + " goes down" : "drain")) may_begin = goes_down;
    }
    if (node.drain_told || movable != 0 || goes_down) return;
    node.drain_told = true;
    event("drained", node.name + " is drained", {{"node", node.name}});
}

// A next copy was on its way to a node that takes none: true if it goes elsewhere.
bool Controller::State::turn_away(Instance& instance) {
    if (instance.current.node) {
        drop_next(instance);
        return true;
    }
    if (!fits_elsewhere(*instance.service, *instance.next.node)) return false;
    detach(instance, instance.next, true, false);
    wants_place(instance);
    return true;
}

bool Controller::State::begin_drain(Instance& instance, const std::string& why) {
    const bool broken = !instance.current.ready && instance.current.crashes != 0;
    if (!broken && fit(*instance.service, instance) == Fit::kBeside) {
        plan_next(instance, why);
        return true;
    }
    // Nothing is lost by stopping what crashes; under forbid there is no other way.
    if (!broken && !instance.service->forbid) return false;
    if (!fits_elsewhere(*instance.service, *instance.current.node)) return false;
    begin_gap(instance, why);
    return true;
}

// "" if nothing keeps it from where it should be.
std::string Controller::State::why_it_stays(const Service& service, const Instance& instance) const {
    const Copy& current = instance.current;
    if (!current.node || instance.moves()) return "";
    if (current.node->intent == Intent::kDraining && !moving_out(*current.node)) {
        if (service.is_static()) return "stays on the draining node: its placement is static";
        const bool broken = !current.ready && current.crashes != 0;
        if (broken ? !fits_elsewhere(service, *current.node) : !may_leave(service, instance))
            return "stays on the draining node: no other node can take it";
    }
    if (!outdated(service, instance, current)) return "";
    if (service.last().failing) return "stays at its revision: the new one keeps crashing";
    return fit(service, instance) == Fit::kNowhere ? "stays at its revision: the new one fits no node" : "";
}

}  // namespace gantry::core
