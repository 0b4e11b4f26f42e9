// SPDX-License-Identifier: Apache-2.0
//
// A changed manifest replaces what runs, each instance with a planned move, as [update] of the manifest says.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

// Its container is not what the last revision asks for, or its node is none for it.
bool Controller::State::outdated(const Service& service, const Instance& instance, const Copy& copy) const {
    if (!copy.node) return false;
    const Revision& last = service.last();
    if (service.revisions.at(copy.revision).generation != last.generation) return true;
    if (service.is_static() && instance.bound != copy.node->name) return true;
    const PoolNode* place = pool_entry(service, *copy.node);
    return !place || place->fixed != Exclusion::kNone;
}

Controller::State::Rollout Controller::State::look_at(Service& service) {
    Rollout out;
    const Duration gate = service.last().spec.update.gate;
    for (auto& [index, instance] : service.instances) {
        if (outdated(service, instance, instance.next)) drop_next(instance);
        const Copy& current = instance.current;
        const bool old = outdated(service, instance, current);
        out.surging += instance.planned || instance.next.node;
        if (instance.moves()) {
            ++out.moving;
            out.away += !current.ready;
        } else if (old) {
            // What keeps crashing where nothing can replace it is no reason to leave the others as they are.
            const bool lost_cause = !current.ready && current.crashes >= timing_.crashes_to_move;
            out.away += !current.ready && !(lost_cause && fit(service, instance) == Fit::kNowhere);
            (current.ready ? out.good : out.broken).push_back(&instance);
        } else if (current.node || !instance.moving_from.empty()) {
            out.gaps += !current.node;
            ++out.updated;
            out.away += !current.ready;
            if (current.ready && now_ >= current.ready_since + gate)
                ++out.settled;
            else if (current.ready)
                plan_again_ = std::min(plan_again_, current.ready_since + gate);
        }
    }
    return out;
}

void Controller::State::plan_rollout(Service& service) {
    if (service.stopped) return rolled_out(service);
    check_deadline(service);
    Rollout rollout = look_at(service);
    if (rollout.broken.empty() && rollout.good.empty() && rollout.moving == 0 && rollout.updated == rollout.settled)
        return rolled_out(service);
    if (service.last().failing || service.paused) return;
    // What does not work anyway goes first: its replacement costs nothing, but for the room that another one was
    // stopped for.
    for (Instance* instance : rollout.broken)
        if (rollout.surging < std::max(1u, service.last().spec.update.max_surge) &&
            (rollout.gaps == 0 || fit(service, *instance) == Fit::kInstead))
            begin_update(service, *instance, rollout);
    for (Instance* instance : rollout.good)
        if (goes_on(service, rollout)) begin_update(service, *instance, rollout);
}

// Whether one more that works may be replaced now.
bool Controller::State::goes_on(const Service& service, const Rollout& rollout) const {
    const UpdateSpec& update = service.last().spec.update;
    // Every one that is replaced already has to have shown that the revision is good.
    if (rollout.settled < rollout.updated) return false;
    const std::size_t begun = rollout.updated + rollout.moving;
    if (rollout.settled < update.canary && begun >= update.canary) return false;
    return true;
}

bool Controller::State::begin_update(Service& service, Instance& instance, Rollout& rollout) {
    const UpdateSpec& update = service.last().spec.update;
    const std::string why = "revision " + std::to_string(service.last().number) + " replaces revision " +
                            std::to_string(instance.current.revision);
    const Fit where = fit(service, instance);
    if (where == Fit::kNowhere) return false;
    if (where == Fit::kBeside && rollout.surging < update.max_surge) {
        plan_next(instance, why);
        ++rollout.surging;
        ++rollout.moving;
        return true;
    }
    // Without room beside it one at a time has to do, whatever max_unavailable says.
    const bool forced = where == Fit::kInstead;
    if (!forced && update.max_unavailable == 0) return false;
    const std::size_t most = std::max<std::size_t>(update.max_unavailable, 1);
    if (instance.current.ready && rollout.away + (forced ? rollout.surging : 0) >= most) return false;
    rollout.away += instance.current.ready;
    ++rollout.moving;
    begin_gap(instance, why);
    return true;
}

// A copy of the last revision that is not ready in time: the revision has failed.
void Controller::State::check_deadline(Service& service) {
    const Revision& last = service.last();
    if (last.good || last.failing) return;
    for (auto& [index, instance] : service.instances)
        for (Copy* copy : {&instance.next, &instance.current}) {
            if (!copy->node || copy->ready || copy->revision != last.number) continue;
            const Instant by = copy->assigned + last.spec.update.deadline;
            if (now_ < by) {
                plan_again_ = std::min(plan_again_, by);
                continue;
            }
            if (copy == &instance.next && instance.current.node) drop_next(instance);
            event("failing",
                  instance.text() + " is not ready " + format_duration(last.spec.update.deadline) +
                      " after it was placed by revision " + std::to_string(last.number),
                  {{"service", service.name}, {"instance", instance.text()}, {"revision", last.number}});
            return revision_failed(service);
        }
}

void Controller::State::rolled_out(Service& service) {
    rolling_.erase(service.no);
    Revision& last = service.last();
    if (!service.instances.empty() && service.ready == service.instances.size()) {
        const bool only_late = last.failing && last.failed.empty();
        if (!last.good || only_late) dirty(service);
        last.good = true;
        last.failing = last.failing && !only_late;
    }
    forget_revisions(service);
}

}  // namespace gantry::core
