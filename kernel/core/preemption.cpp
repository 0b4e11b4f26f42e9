// SPDX-License-Identifier: Apache-2.0
//
// Preemption: where no node has room for an instance whose manifest says `preempt`, copies of services of less priority
// are stopped for it, as few as can be. Until they have stopped their room is promised to it, so that nobody of its own
// priority or less takes it. What keeps crashing displaces nobody, nor does what was displaced itself: one
// displacement never leads to another.
#include <algorithm>
#include <limits>

#include "kernel/core/state.hpp"

namespace gantry::core {

void Imagined::take(const Need& need) {
    ++copies;
    cpu_milli += need.cpu_milli;
    memory_bytes += need.memory_bytes;
    ports.insert(need.ports.begin(), need.ports.end());
}

void Imagined::give_back(const CopyId& copy, const Need& need) {
    if (!gone.insert(copy).second) return;
    cpu_milli -= need.cpu_milli;
    memory_bytes -= need.memory_bytes;
    freed.insert(need.ports.begin(), need.ports.end());
}

void Imagined::keep(const CopyId& copy, const Need& need) {
    if (gone.erase(copy) == 0) return;
    cpu_milli += need.cpu_milli;
    memory_bytes += need.memory_bytes;
    for (const auto port : need.ports) freed.erase(freed.find(port));
}

// The caller touches the node before it: what is promised no more others may have.
void Controller::State::promise(Instance& instance, Node* node) {
    if (instance.room_on) instance.room_on->promised.erase(instance.id());
    instance.room_on = node;
    if (node) node->promised.insert(instance.id());
}

// Others to whom room on the node is promised, as far as this revision may not take it from them.
std::vector<const Instance*> Controller::State::promised_before(const Revision& revision, const Node& node) const {
    std::vector<const Instance*> out;
    for (const auto& id : node.promised) {
        const Instance* other = find(id);
        if (!other || id.service_no == revision.service_no || !other->service->unplaced.contains(id.index)) continue;
        if (other->service->last().spec.priority >= revision.spec.priority) out.push_back(other);
    }
    return out;
}

// Who has to leave the node for one more instance; none: it would not help. `room` is what the node looks like then.
std::optional<std::vector<Instance*>> Controller::State::in_the_way(const Service& service, const PoolNode& candidate,
                                                                    Imagined& room) const {
    const Revision& revision = service.last();
    const auto fits = [&] { return rules(revision, candidate, nullptr, &room) == Exclusion::kNone; };
    // What leaves anyway is waited for.
    for (const auto& [copy, stale] : candidate.node->stale)
        if (!stale.cannot_stop) room.give_back(copy, stale.need);
    std::vector<Instance*> leave, lower;
    if (fits()) return leave;
    for (const auto& [copy, instance] : candidate.node->copies) {
        if (instance->service->last().spec.priority >= revision.spec.priority || instance->moves()) continue;
        if (room.gone.contains(copy)) continue;
        lower.push_back(instance);
        room.give_back(copy, need_of(*instance, instance->current));
    }
    if (!fits()) return std::nullopt;
    // Who can stay stays: first who has the greater priority, and what is ready.
    std::sort(lower.begin(), lower.end(), [](const Instance* a, const Instance* b) {
        const auto key = [](const Instance* i) {
            return std::tuple(-i->service->last().spec.priority, !i->current.ready, i->id());
        };
        return key(a) < key(b);
    });
    for (Instance* instance : lower) {
        const Need& need = need_of(*instance, instance->current);
        room.keep(instance->current_id(), need);
#ifndef GANTRY_BUG_DISPLACES_ALL
        if (fits()) continue;
#endif
        room.give_back(instance->current_id(), need);
        leave.push_back(instance);
    }
    return leave;
}

// On the node where the least is lost: nothing, else the least priority, then the fewest.
std::optional<Controller::State::Room> Controller::State::room_for(
    const Service& service, const std::string& bound, const Instance* instance,
    const std::map<const Node*, Imagined>& imagined) const {
    std::optional<Room> best;
    for (const auto& candidate : pool_of(service)) {
        if (!bound.empty() && candidate.node->name != bound) continue;
        Room room{candidate.node, {}, {}, {}};
        if (const auto at = imagined.find(candidate.node); at != imagined.end()) room.after = at->second;
        auto leave = in_the_way(service, candidate, room.after);
        if (!leave) continue;
        std::int32_t greatest = std::numeric_limits<std::int32_t>::min();
        for (const Instance* other : *leave) greatest = std::max(greatest, other->service->last().spec.priority);
        room.cost = {!leave->empty(), instance && candidate.node != instance->room_on,
                     instance && held(*instance, *candidate.node, now_), greatest, leave->size()};
        room.leave = std::move(*leave);
        if (!best || room.cost < best->cost) best = std::move(room);
    }
    if (best) best->after.take(service.last().need);
    return best;
}

// Nothing is free for what is unplaced of this service. A node that may be back in a moment may have room.
void Controller::State::make_room(Service& service) {
    const Revision& last = service.last();
    const bool may = last.spec.preempt && last.failed.empty();
    const auto now = [&](Instance& instance, Node* node) {
        if (instance.room_on && instance.room_on != node) touched_.insert(instance.room_on);
        promise(instance, node);
    };
    if (!may)
        for (const auto index : service.unplaced) now(service.instances.at(index), nullptr);
    if (!may || !service.policy_error.empty()) return;
    for (const auto& candidate : pool_of(service)) {
        const Node& node = *candidate.node;
        if (node.liveness == Liveness::kNew) return;
        if (node.liveness == Liveness::kSuspect && node.via.empty() && now_ >= node.hold_until) return;
    }
    std::map<const Node*, Imagined> imagined;
    for (const auto index : std::set<std::uint32_t>(service.unplaced)) {
        Instance& instance = service.instances.at(index);
        if (!instance.pending() || !instance.displaced_by.empty()) continue;
        const auto room = room_for(service, instance.bound, &instance, imagined);
        now(instance, room ? room->node : nullptr);
        if (!room) continue;
        for (Instance* other : room->leave) displace(*other, instance);
        imagined[room->node] = room->after;
    }
}

void Controller::State::displace(Instance& instance, const Instance& by) {
    const Node& node = *instance.current.node;
    event("preempted",
          instance.text() + " is stopped on " + node.name + ": " + by.text() + " needs its room, of priority " +
              std::to_string(by.service->last().spec.priority) + " over " +
              std::to_string(instance.service->last().spec.priority),
          {{"service", instance.service->name},
           {"instance", instance.text()},
           {"node", node.name},
           {"epoch", instance.current.epoch},
           {"by", by.text()}});
    end_move(instance);
    instance.displaced_by = by.text();
    detach(instance, instance.current, true, false);
    wants_place(instance);
}

// "displaces a.0, b.3"; "" if nobody has to leave.
std::string Controller::State::displaces(const std::vector<Instance*>& leave) {
    std::string out;
    for (const Instance* instance : leave) out += (out.empty() ? "displaces " : ", ") + instance->text();
    return out;
}

}  // namespace gantry::core
