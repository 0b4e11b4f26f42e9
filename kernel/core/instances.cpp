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
    return std::max({instance.epoch, instance.seen, instance.service->epoch_floor}) + 1;
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

void Controller::State::attach(Instance& instance, Node& node) {
    const Revision& revision = instance.service->revisions.at(instance.revision);
    instance.node = &node;
    node.copies[instance.copy()] = &instance;
    use(node, revision.need, 1);
    ++node.of_service[instance.service->no];
    ++copies_total_;
    if (copy_runs(instance.state)) {
        ++node.running;
    } else {
        ++node.pending;
        node.memory_pending += revision.need.memory_bytes;
    }
    instance.service->unplaced.erase(instance.index);
}

void Controller::State::assign(Instance& instance, Node& node) {
    instance.epoch = next_epoch(instance);
    instance.revision = instance.service->last().number;
    instance.state = CopyState::kWaiting;
    instance.attempt = 0;
    instance.crashes = instance.restarts = 0;
    instance.exit_code = 0;
    instance.reason = "sent to " + node.name;
    instance.since = now_;
    attach(instance, node);
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
}

void Controller::State::detach(Instance& instance, bool planned, bool gone) {
    Node& node = *instance.node;
    const Revision& revision = instance.service->revisions.at(instance.revision);
    const CopyId copy = instance.copy();
    set_ready(instance, false);
    Stale stale{instance.text(), revision.need, CopyState::kStopping,     {term_, node.list_no + 1}, now_, {},
                planned,         false,         copy_runs(instance.state)};
    if (copy_runs(instance.state)) {
        --node.running;
    } else {
        --node.pending;
        node.memory_pending -= revision.need.memory_bytes;
    }
    use(node, revision.need, -1);
    if (auto& count = node.of_service[copy.instance.service_no]; --count == 0)
        node.of_service.erase(copy.instance.service_no);
    --copies_total_;
    node.copies.erase(copy);
    instance.node = nullptr;
    instance.state = CopyState::kWaiting;
    instance.reason.clear();
    instance.since = now_;
    if (!gone) add_stale(node, copy, std::move(stale));
    touched_.insert(&node);
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
}

void Controller::State::set_state(Instance& instance, CopyState state) {
    if (instance.state == state) return;
    const bool ran = copy_runs(instance.state), runs = copy_runs(state);
    instance.state = state;
    instance.since = now_;
    if (ran == runs) return;
    Node& node = *instance.node;
    const std::int64_t memory = instance.service->revisions.at(instance.revision).need.memory_bytes;
    node.running += runs ? 1u : -1u;
    node.pending -= runs ? 1u : -1u;
    node.memory_pending += runs ? -memory : memory;
}

void Controller::State::set_ready(Instance& instance, bool ready) {
    if (instance.ready == ready) return;
    instance.ready = ready;
    instance.service->ready += ready ? 1u : -1u;
    announce_copy(instance, ready);
    dirty(instance);
    moves_dirty_ = true;
    if (!ready) return;
    std::erase_if(instance.lost_on, [&](const auto& lost) { return lost.second <= now_; });
    end_move(instance);
}

void Controller::State::begin_move(Instance& instance, const std::string& why) {
    Node& node = *instance.node;
    event("moving", instance.text() + " is stopped on " + node.name + ": " + why,
          {{"service", instance.service->name},
           {"instance", instance.text()},
           {"node", node.name},
           {"epoch", instance.epoch}});
    end_move(instance);
    instance.moving_from = node.name;
    instance.stopping = true;
    moves_[instance.id()] = now_ + kMoveLimit;
    detach(instance, true, false);
}

void Controller::State::end_move(Instance& instance) {
    if (instance.moving_from.empty()) return;
    moves_.erase(instance.id());
    instance.moving_from.clear();
    instance.stopping = false;
    moves_dirty_ = true;
    dirty(instance);
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
        instance && instance->stopping && instance->moving_from == node.name && instance->epoch == copy.epoch) {
        instance->stopping = false;
        dirty(*instance);
        wants_place(*instance);
    }
}

// A pending instance that nothing holds back takes part in the next placement.
void Controller::State::wants_place(Instance& instance) {
    if (instance.node || instance.stopping || instance.service->removing) return;
    instance.service->unplaced.insert(instance.index);
    enqueue(*instance.service);
}

void Controller::State::remove_instance(Service& service, std::uint32_t index) {
    Instance& instance = service.instances.at(index);
    end_move(instance);
    if (instance.node) detach(instance, true, false);
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
        if (std::none_of(nodes_.begin(), nodes_.end(), has_some)) drop_service(*service_by_no_.at(no));
    }
}

// Revisions that no copy runs and that are not the last are forgotten.
void Controller::State::forget_revisions(Service& service) {
    if (service.revisions.size() == 1) return;
    std::set<std::uint64_t> used = {service.last().number};
    for (const auto& [index, instance] : service.instances)
        if (instance.epoch != 0) used.insert(instance.revision);
    const auto erased =
        std::erase_if(service.revisions, [&](const auto& entry) { return !used.contains(entry.first); });
    if (erased != 0) dirty(service);
}

}  // namespace gantry::core
