// SPDX-License-Identifier: Apache-2.0
//
// Planned moves until `next` exists: a drain and a changed manifest replace one instance at a time: stop, confirmed,
// placed, ready, next.
#include <algorithm>

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
    return !in_pool(last.spec, *instance.node) || fixed_rules(last, *instance.node) != Exclusion::kNone;
}

void Controller::State::plan_rollout(Service& service) {
    Instance* first = nullptr;
    bool busy = false;
    for (auto& [index, instance] : service.instances) {
        const bool old = outdated(service, instance);
        const bool moving = !instance.moving_from.empty();
        if (instance.stopping || (!old && instance.node && !instance.ready) || (moving && !instance.node)) busy = true;
        if (!old) continue;
        // What does not work anyway goes first: its replacement costs nothing.
        if (!first || (first->ready && !instance.ready) || moving) first = &instance;
    }
    if (!first) {
        if (busy) return;
        rolling_.erase(service.no);
        return forget_revisions(service);
    }
    // A copy that is itself in the way of the next one may be replaced at once.
    if (busy && first->moving_from.empty()) return;
    if (!fits_somewhere(service, *first, false)) return;
    begin_move(*first, "revision " + std::to_string(service.last().number) + " replaces revision " +
                           std::to_string(first->revision));
}

void Controller::State::plan_drain(Node& node) {
    if (node.moving_out != 0) return;
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
