// SPDX-License-Identifier: Apache-2.0
//
// Planned moves until `next` exists: a drain and a changed manifest replace one instance at a time: stop, confirmed,
// placed, ready, next.
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
    for (auto& [name, node] : nodes_)
        if (node.intent == Intent::kDraining) plan_drain(node);
    moves_dirty_ = false;
}

// Its container is not what the last revision asks for, or its node is none for it.
bool Controller::State::outdated(const Service& service, const Instance& instance) const {
    if (!instance.node) return false;
    const Revision& last = service.last();
    if (service.revisions.at(instance.revision).generation != last.generation) return true;
    if (service.is_static() && instance.bound != instance.node->name) return true;
    const PoolNode* place = pool_entry(service, *instance.node);
    return !place || place->fixed != Exclusion::kNone;
}

// Whether an instance that was taken from this node holds the next one back.
bool Controller::State::moving_out(const Node& node) const {
    return std::any_of(moves_.begin(), moves_.end(),
                       [&](const auto& move) { return find(move.first)->moving_from == node.name; });
}

// One that does not become ready elsewhere must not hold the others for ever.
void Controller::State::check_moves() {
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
    return "is not ready " + format_duration(kMoveLimit) + " after it was taken from " + instance.moving_from +
           ": a drain there goes on without it";
}

void Controller::State::plan_rollout(Service& service) {
    // What is in the way itself goes first, then what does not work anyway: its replacement costs nothing.
    std::vector<Instance*> in_the_way, broken, good;
    bool busy = false, moves = false;
    for (auto& [index, instance] : service.instances) {
        const bool old = outdated(service, instance);
        const bool moving = !instance.moving_from.empty();
        moves = moves || moves_.contains(instance.id());
        if (instance.stopping || (moving && !instance.node) || (!old && instance.node && !instance.ready)) busy = true;
        if (old) (moving ? in_the_way : instance.ready ? good : broken).push_back(&instance);
    }
    if (!busy && in_the_way.empty() && broken.empty() && good.empty()) {
        rolling_.erase(service.no);
        return forget_revisions(service);
    }
    const auto begin_one = [&](const std::vector<Instance*>& instances) {
        for (Instance* instance : instances) {
            if (!fits_somewhere(service, *instance, false)) continue;
            begin_move(*instance, "revision " + std::to_string(service.last().number) + " replaces revision " +
                                      std::to_string(instance->revision));
            return true;
        }
        return false;
    };
    if (begin_one(in_the_way) || (!moves && begin_one(broken)) || busy) return;
    begin_one(good);
}

void Controller::State::plan_drain(Node& node) {
    if (moving_out(node)) return;
    std::size_t movable = 0;
    for (const auto& [copy, instance] : std::map<CopyId, Instance*>(node.copies)) {
        Service& service = *instance->service;
        if (service.is_static()) continue;
        ++movable;
        if (instance->moving_from.empty() && fits_somewhere(service, *instance, true))
            return begin_move(*instance, "drain");
    }
    if (node.drain_told || movable != 0) return;
    node.drain_told = true;
    event("drained", node.name + " is drained", {{"node", node.name}});
}

}  // namespace gantry::core
