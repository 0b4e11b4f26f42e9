// SPDX-License-Identifier: Apache-2.0
//
// A changed manifest replaces instances one at a time, each with a planned move.
#include <algorithm>

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

void Controller::State::plan_rollout(Service& service) {
    // What does not work anyway goes first.
    std::vector<Instance*> broken, good;
    std::size_t moving = 0;
    bool all_ready = true;
    for (auto& [index, instance] : service.instances) {
        if (outdated(service, instance, instance.next)) drop_next(instance);
        const bool old = outdated(service, instance, instance.current);
        if (instance.moves())
            ++moving;
        else if (old)
            (instance.current.ready ? good : broken).push_back(&instance);
        else if (!instance.current.ready && (instance.current.node || !instance.moving_from.empty()))
            all_ready = false;
    }
    if (moving == 0 && all_ready && broken.empty() && good.empty()) {
        rolling_.erase(service.no);
        return forget_revisions(service);
    }
    if (moving != 0 || service.last().failing) return;
    for (Instance* instance : broken)
        if (begin_update(service, *instance)) return;
    if (!all_ready) return;
    for (Instance* instance : good)
        if (begin_update(service, *instance)) return;
}

bool Controller::State::begin_update(Service& service, Instance& instance) {
    const std::string why = "revision " + std::to_string(service.last().number) + " replaces revision " +
                            std::to_string(instance.current.revision);
    switch (fit(service, instance)) {
        case Fit::kBeside:
            plan_next(instance, why);
            return true;
        case Fit::kInstead:
            begin_gap(instance, why);
            return true;
        case Fit::kNowhere:
            break;
    }
    return false;
}

}  // namespace gantry::core
