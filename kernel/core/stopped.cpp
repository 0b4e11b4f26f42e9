// SPDX-License-Identifier: Apache-2.0
//
// What people do by hand to a whole service. One that is stopped keeps its instances, their history and its revisions;
// nothing of it is placed, whatever else happens, until it is started. A restart is a revision that changes nothing.
#include "kernel/core/state.hpp"

namespace gantry::core {

// Room is free when the nodes have confirmed it. Until then each instance is `stopping`, as in a gap, so that a start
// meanwhile makes no second copy beside the one that ends.
void Controller::State::stop(Service& service) {
    if (service.stopped) return;
    cancel_placing(service);
    service.stopped = true;
    std::size_t copies = 0;
    for (auto& [index, instance] : service.instances) {
        copies += (instance.current.node != nullptr) + (instance.next.node != nullptr);
        if (instance.room_on) touched_.insert(instance.room_on);
        promise(instance, nullptr);
        instance.displaced_by.clear();
        dirty(instance);
        drop_next(instance);
        instance.served = 0;  // that nothing serves from now on is no move's cost
        moves_.erase(instance.id());
        if (!instance.stopping) end_move(instance);
        if (!instance.current.node) continue;
        instance.moving_from = instance.current.node->name;
        instance.why = "stopped by hand";
        instance.stopping = true;
        detach(instance, instance.current, true, false);
    }
    service.unplaced.clear();
    dirty(service);
    event("service-stopped",
          service.name + " is stopped, " + std::to_string(copies) + " copies to stop; gantry start " + service.name +
              " runs it again",
          {{"service", service.name}});
}

// What kept crashing before is tried anew.
void Controller::State::start(Service& service) {
    if (!service.stopped) return;
    service.stopped = false;
    service.last().failed.clear();
    service.last().failing = false;
    for (auto& [index, instance] : service.instances)
        if (instance.stopping)
            moves_[instance.id()] = now_ + kMoveLimit;
        else
            wants_place(instance);
    rolling_.insert(service.no);
    moves_dirty_ = true;
    dirty(service);
    event("service-started",
          service.name + " is started, " + std::to_string(service.instances.size()) + " instances to place",
          {{"service", service.name}});
}

// Every copy is replaced as an update would.
Status Controller::State::restart(Service& service) {
    if (service.stopped)
        return fail(Code::kConflict, service.name + " is stopped: gantry start " + service.name + " runs it");
    GANTRY_CHECK(check_deploy(service.last().spec, false));
    Revision revision = service.last();
    revision.generation = ++revision.number;
    revision.rollback_of = 0;
    revision.failed.clear();
    revision.failing = revision.good = false;
    derive(revision);
    event("service-restarted",
          service.name + " is restarted: revision " + std::to_string(revision.number) + " is the one before it again",
          {{"service", service.name}, {"revision", revision.number}});
    change(service, std::move(revision));
    return {};
}

// And why, for people.
std::pair<std::string, std::string> Controller::State::stopped_state(const Service& service) const {
    std::string there, away;
    for (const auto& [name, node] : nodes_) {
        const auto at = node.stale.lower_bound(CopyId{{service.no, 0}, 0});
        if (at == node.stale.end() || at->first.instance.service_no != service.no) continue;
        std::string& names = node.down() ? away : there;
        names += (names.empty() ? "" : ", ") + name;
    }
    std::string why = there.empty() ? "" : "its copies are being stopped on " + there;
    if (!away.empty()) why += (why.empty() ? "" : "; ") + ("it may run on " + away + " until that is back");
    return {there.empty() ? "stopped" : "stopping", std::move(why)};
}

}  // namespace gantry::core
