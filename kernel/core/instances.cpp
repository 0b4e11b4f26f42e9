// SPDX-License-Identifier: Apache-2.0
//
// Copies come and go: the one place that keeps instances, nodes and their sums in step.
#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

InstanceId Instance::id() const { return {service->no, index}; }
std::string Instance::text() const { return service->name + "." + std::to_string(index); }

Service* Controller::State::find_service(std::uint64_t no) const {
    const auto at = service_by_no_.find(no);
    return at == service_by_no_.end() ? nullptr : at->second;
}

Instance* Controller::State::find(const InstanceId& id) const {
    Service* service = find_service(id.service_no);
    if (!service) return nullptr;
    const auto at = service->instances.find(id.index);
    return at == service->instances.end() ? nullptr : &at->second;
}

std::uint64_t Controller::State::next_epoch(const Instance& instance) const {
#ifdef GANTRY_BUG_EPOCH_USED_AGAIN
    return std::max(instance.current.epoch, instance.service->epoch_floor) + 1;
#else
    return std::max({instance.epoch, instance.seen, instance.service->epoch_floor}) + 1;
#endif
}

const Need& Controller::State::need_of(const Instance& instance, const Copy& copy) const {
    return instance.service->revisions.at(copy.revision).need;
}

void Controller::State::use(Node& node, const Need& need, int sign) {
    node.cpu_used += sign * need.cpu_milli;
    node.memory_used += sign * need.memory_bytes;
    for (const auto port : need.ports) {
        auto& count = node.ports[port];
        count += static_cast<std::uint32_t>(sign);
        if (count == 0) node.ports.erase(port);
    }
    ++node.load_version;
}

void Controller::State::attach(Instance& instance, Copy& copy, Node& node) {
    const Need& need = need_of(instance, copy);
    if (instance.room_on) touched_.insert(instance.room_on);
    promise(instance, nullptr);
    instance.displaced_by.clear();
    copy.node = &node;
    node.copies[{instance.id(), copy.epoch}] = &instance;
    use(node, need, 1);
    ++node.of_service[instance.service->no];
    ++copies_total_;
    if (copy_runs(copy.state)) {
        ++node.running;
    } else {
        ++node.pending;
        node.memory_pending += need.memory_bytes;
    }
    instance.service->unplaced.erase(instance.index);
}

// A new copy: beside the current one or one that may come back it is the next, else it is the current one.
void Controller::State::assign(Instance& instance, Node& node) {
    Copy& copy = instance.current.node || instance.may_return ? instance.next : instance.current;
    copy = Copy();
    copy.epoch = instance.epoch = next_epoch(instance);
    copy.revision = instance.service->last().number;
    copy.reason = "sent to " + node.name;
    copy.since = copy.assigned = now_;
    instance.planned = false;
    attach(instance, copy, node);
    life_of({instance.id(), copy.epoch}, node.name).assigned = now_;
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
}

// The copy becomes stale, or is gone.
void Controller::State::detach(Instance& instance, Copy& copy, bool planned, bool gone) {
    Node& node = *copy.node;
    const CopyId id{instance.id(), copy.epoch};
#ifdef GANTRY_BUG_NAME_KEPT
    if (&copy == &instance.current && planned) set_ready(instance, false);
#else
    if (&copy == &instance.current) set_ready(instance, false);
#endif
    if (const auto life = lives_.find(id); planned && life != lives_.end())
        life->second.why = instance.why.empty() ? "it kept crashing" : instance.why;
    const Need& need = need_of(instance, copy);
    const bool runs = copy_runs(copy.state);
    Stale stale{instance.text(), need, CopyState::kStopping, {term_, node.list_no + 1}, now_, {}, planned, false, runs};
    if (runs) {
        --node.running;
    } else {
        --node.pending;
        node.memory_pending -= need.memory_bytes;
    }
    use(node, need, -1);
    if (auto& count = node.of_service[id.instance.service_no]; --count == 0)
        node.of_service.erase(id.instance.service_no);
    --copies_total_;
    node.copies.erase(id);
    copy.node = nullptr;
    copy.state = CopyState::kWaiting;
    copy.reason.clear();
    copy.since = now_;
    if (&copy == &instance.next) copy = Copy();
    // Without a current copy beside it the next one is named by its node.
    if (instance.next.node) dirty_list(*instance.next.node);
#ifndef GANTRY_BUG_STALE_UNCOUNTED
    if (!gone) add_stale(node, id, std::move(stale));
#endif
    if (!gone) lease_left(instance, id, node);
    touched_.insert(&node);
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
}

void Controller::State::set_state(Instance& instance, Copy& copy, CopyState state) {
    if (copy.state == state) return;
    const bool ran = copy_runs(copy.state), runs = copy_runs(state);
    copy.state = state;
    copy.since = now_;
    if (ran == runs) return;
    Node& node = *copy.node;
    const std::int64_t memory = need_of(instance, copy).memory_bytes;
    node.running += runs ? 1u : -1u;
    node.pending -= runs ? 1u : -1u;
    node.memory_pending += runs ? -memory : memory;
}

// Of the current copy.
void Controller::State::set_ready(Instance& instance, bool ready) {
    if (instance.current.ready == ready) return;
    instance.current.ready = ready;
    instance.service->ready += ready ? 1u : -1u;
    announce_copy(instance, ready);
    dirty(instance);
    moves_dirty_ = true;
    if (!ready) return;
    instance.current.ready_since = now_;
    served(instance);
    // It may be the last one that its revision waited for.
    Service& service = *instance.service;
    if (service.ready == service.instances.size()) rolling_.insert(service.no);
    if (service.ready == 1 || service.ready == service.instances.size()) release_after(service);
    std::erase_if(instance.lost_on, [&](const auto& lost) { return lost.second <= now_; });
    if (!instance.moves()) end_move(instance);
}

// Next becomes current, and the old copy is stopped: one commit, and one step in the table of names.
void Controller::State::promote(Instance& instance) {
    if (instance.current.node) detach(instance, instance.current, true, false);
    const bool ready = std::exchange(instance.next.ready, false);
    instance.current = std::exchange(instance.next, Copy());
    instance.may_return = false;
    dirty_list(*instance.current.node);
    dirty(instance);
    // In place of a lost copy, by an earlier run of the controller: nobody knows since when that one was missed.
    const auto life = lives_.find(instance.current_id());
    if (instance.moving_from.empty() && life != lives_.end() && life->second.assigned == kAnyTime) instance.served = 0;
    end_move(instance);
    touched_.insert(instance.current.node);  // who waits there may displace it now
    set_ready(instance, ready);
}

// Takes the next copy away. Where there is no other it is current from now on: whatever it is, there is no better one.
void Controller::State::drop_next(Instance& instance) {
    if (instance.planned) forget_plan(instance);
    if (!instance.next.node) return;
    if (!instance.current.node) return promote(instance);
    detach(instance, instance.next, true, false);
    end_move(instance);
}

void Controller::State::add_stale(Node& node, const CopyId& copy, Stale stale) {
    use(node, stale.need, 1);
    if (stale.running) ++node.running;
    node.stale[copy] = std::move(stale);
}

// told: people hear of it.
void Controller::State::stale_gone(Node& node, const CopyId& copy, bool told) {
    const auto at = node.stale.find(copy);
    const Stale stale = std::move(at->second);
    node.stale.erase(at);
    use(node, stale.need, -1);
    if (stale.running) --node.running;
    touched_.insert(&node);
    moves_dirty_ = true;
    if (told)
        event(stale.planned ? "stopped" : "stale-stopped",
              stale.instance + " epoch " + std::to_string(copy.epoch) + " stopped on " + node.name,
              {{"instance", stale.instance}, {"node", node.name}, {"epoch", copy.epoch}});
    if (Instance* instance = find(copy.instance);
        instance && instance->stopping && instance->moving_from == node.name && instance->current.epoch == copy.epoch)
        stop_confirmed(*instance);
}

void Controller::State::stop_confirmed(Instance& instance) {
    instance.stopping = false;
    dirty(instance);
    if (instance.service->stopped) return end_move(instance);
    wants_place(instance);
}

// A pending instance that nothing holds back takes part in the next placement.
void Controller::State::wants_place(Instance& instance) {
    if (!instance.pending() || instance.service->removing || instance.service->stopped) return;
    instance.planned = false;
    instance.service->unplaced.insert(instance.index);
    enqueue(*instance.service);
}

void Controller::State::remove_instance(Service& service, std::uint32_t index) {
    Instance& instance = service.instances.at(index);
    if (instance.room_on) touched_.insert(instance.room_on);
    promise(instance, nullptr);
    end_move(instance);
    if (instance.next.node) detach(instance, instance.next, true, false);
    if (instance.current.node) detach(instance, instance.current, true, false);
    service.epoch_floor = std::max({service.epoch_floor, instance.epoch, instance.seen});
    service.unplaced.erase(index);
    if (worth_storing(instance)) dirty_instances_.insert(instance.id());
    service.instances.erase(index);
    dirty(service);
}

// The record of a removed service goes when nothing of it can run any more.
void Controller::State::check_removed() {
    for (const auto no : std::set<std::uint64_t>(removing_)) {
        const auto has_some = [&](const auto& entry) {
            const Node& node = entry.second;
            if (node.down()) return false;
            if (!node.reported) return true;  // nobody knows yet
            const auto at = node.stale.lower_bound(CopyId{{no, 0}, 0});
            return at != node.stale.end() && at->first.instance.service_no == no;
        };
        if (may_run(*service_by_no_.at(no))) continue;
        if (std::none_of(nodes_.begin(), nodes_.end(), has_some)) drop_service(*service_by_no_.at(no));
    }
}

}  // namespace gantry::core
