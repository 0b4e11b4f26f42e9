// SPDX-License-Identifier: Apache-2.0
//
// Leases of copies under overlap = "forbid" (faults.md 5). A grant lets a copy run for T from when the heartbeat was
// sent that it answers; U is when it has ended, and the copy is dead, by whatever clock the node has. No other copy of
// the instance is started before its node confirmed the stop, showed a new boot id, or U has passed.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kPurge = seconds(60);

}  // namespace

// A node that is heard through another is as good as one that is heard. What is to be stopped keeps its lease until it
// has: its grace is its own. Once a lease of it is over it gets no other.
void Controller::State::grant(const Node& node, const Heartbeat& heartbeat, HeartbeatAck& answer) {
    const bool heard = node.liveness == Liveness::kReady || (node.liveness == Liveness::kSuspect && !node.via.empty());
    if (heartbeat.beat == 0 || !heard || !node.reported) return;
    const Instant until = now_ + lease_span(timing_);
    for (const auto& [copy, instance] : node.copies) {
        if (!instance->service->forbid) continue;
        leases_[copy] = {node.name, until};
        answer.grants.push_back(copy);
    }
    for (const auto& [copy, stale] : node.stale) {
        if (!stale.planned || !stale.met || stale.cannot_stop) continue;
        const auto lease = leases_.find(copy);
        if (lease == leases_.end() || lease->second.until <= now_) continue;
        lease->second.until = until;
        answer.grants.push_back(copy);
    }
}

// Until when another copy of the instance than its current one may run.
Instant Controller::State::barred_until(const Instance& instance) const {
    Instant until{};
    if (!instance.service->forbid) return until;
    const InstanceId id = instance.id();
    for (auto at = leases_.lower_bound({id, 0}); at != leases_.end() && at->first.instance == id; ++at) {
        const bool current = instance.current.node && at->first.epoch == instance.current.epoch;
        if (!current) until = std::max(until, at->second.until);
    }
    // An instance of this number was removed, perhaps a moment before this controller started.
    if (instance.epoch == 0 && instance.service->epoch_floor != 0) until = std::max(until, unknown_until_);
    return until;
}

bool Controller::State::barred(const Instance& instance) const {
    return barred_until(instance) > now_ || comes_back(instance);
}

// Its node has said hello again in the same boot, which cancels the move; what it still has it says next.
bool Controller::State::comes_back(const Instance& instance) const {
    if (instance.leased_on.empty()) return false;
    const auto at = nodes_.find(instance.leased_on);
    return at != nodes_.end() && !at->second.down() && !at->second.reported && at->second.quiet == Quiet::kConnected;
}

// Whether anything of a service that is being removed may run by a lease.
bool Controller::State::may_run(const Service& service) const {
    if (!service.forbid) return false;
    if (now_ < unknown_until_) return true;
    const auto from = leases_.lower_bound({{service.no, 0}, 0}), to = leases_.lower_bound({{service.no + 1, 0}, 0});
    return std::any_of(from, to, [&](const auto& entry) { return entry.second.until > now_; });
}

// The instance has lost this copy, which is not known to be gone.
void Controller::State::lease_left(Instance& instance, const CopyId& copy, const Node& node) {
    const auto lease = leases_.find(copy);
    if (lease == leases_.end()) return;  // never granted: it cannot run
    instance.leased_on = node.name;
    leased_out_.insert(copy.instance);
}

// The copy does not run and will not.
void Controller::State::lease_over(const CopyId& copy) {
    if (leases_.erase(copy) == 0) return;
    Instance* instance = find(copy.instance);
    if (!instance || instance->leased_on.empty() || instance->current.epoch != copy.epoch) return;
    instance->leased_on.clear();
    instance->may_return = false;
    dirty(*instance);
}

// Nothing of an old boot runs any more.
void Controller::State::leases_over(const Node& node) {
    std::vector<CopyId> over;
    for (const auto& [copy, lease] : leases_)
        if (lease.node == node.name) over.push_back(copy);
    for (const auto& copy : over) lease_over(copy);
}

// Takes what may not start yet out of the next placement.
void Controller::State::hold_for_lease(Service& service) {
    for (const auto index : std::set<std::uint32_t>(service.unplaced)) {
        Instance& instance = service.instances.at(index);
        if (!instance.pending() || !barred(instance)) continue;
        service.unplaced.erase(index);
        leased_out_.insert(instance.id());
        event("move-waits-for-lease", instance.text() + " " + lease_reason(instance),
              {{"service", service.name},
               {"instance", instance.text()},
               {"node", instance.leased_on},
               {"epoch", instance.current.epoch}});
    }
}

void Controller::State::check_leases() {
    for (const auto& id : std::set<InstanceId>(leased_out_)) {
        Instance* instance = find(id);
        const bool waits = instance && (instance->pending() || instance->stopping);
        if (waits && barred(*instance)) continue;
        leased_out_.erase(id);
        if (waits) release(*instance);
    }
    if (now_ >= unknown_until_ && lease_span_ > lease_span(timing_)) {
        lease_span_ = lease_span(timing_);
        write("meta", meta_document());
    }
    if (now_ < purge_leases_) return;
    purge_leases_ = now_ + kPurge;
    std::erase_if(leases_, [&](const auto& entry) {
        const Instance* instance = find(entry.first.instance);
        const bool current = instance && instance->current.node && instance->current.epoch == entry.first.epoch;
        return !current && entry.second.until <= now_;
    });
}

// Nothing of it runs: it is placed. From now on the old copy is never granted again, whatever its node says.
void Controller::State::release(Instance& instance) {
    if (!instance.leased_on.empty()) {
        life_over(instance.current_id(), true);
        event("lease-expired",
              "the lease of " + instance.text() + " epoch " + std::to_string(instance.current.epoch) + " on " +
                  instance.leased_on + " is over" + (instance.service->stopped ? "" : ": it is started anew"),
              {{"service", instance.service->name},
               {"instance", instance.text()},
               {"node", instance.leased_on},
               {"epoch", instance.current.epoch}});
        instance.leased_on.clear();
        instance.may_return = false;
        dirty(instance);
    }
    if (instance.stopping) return stop_confirmed(instance);
    wants_place(instance);
}

// Grants are not stored: whatever an earlier run of the controller may have granted lasts its time from now.
void Controller::State::load_leases(const Service& service, Instance& instance) {
    const CopyId copy = instance.current_id();
    if (instance.current.node) leases_[copy] = {instance.current.node->name, unknown_until_};
    if (instance.leased_on.empty()) return;
    leases_[copy] = {instance.leased_on, unknown_until_};
    leased_out_.insert(copy.instance);
    const auto at = nodes_.find(instance.leased_on);
    if (at == nodes_.end() || (instance.stopping && !at->second.down())) return;
    // A report without it confirms that it is gone.
    Stale stale;
    stale.instance = instance.text();
    if (service.revisions.contains(instance.current.revision)) stale.need = need_of(instance, instance.current);
    stale.gone_after = {term_, at->second.list_no + 1};
    stale.since = now_;
    add_stale(at->second, copy, std::move(stale));
}

Instant Controller::State::next_lease_end() const {
    Instant due = kNever;
    for (const auto& id : leased_out_)
        if (const Instance* instance = find(id); instance && !comes_back(*instance))
            due = std::min(due, std::max(now_, barred_until(*instance)));
    for (const auto no : removing_) {
        if (!may_run(*service_by_no_.at(no))) continue;
        if (now_ < unknown_until_) due = std::min(due, unknown_until_);
        for (auto at = leases_.lower_bound({{no, 0}, 0}); at != leases_.end() && at->first.instance.service_no == no;
             ++at)
            if (at->second.until > now_) due = std::min(due, at->second.until);
    }
    if (lease_span_ > lease_span(timing_)) due = std::min(due, std::max(now_, unknown_until_));
    return due;
}

// Which of its copies run by leases is not known of a service that turns over.
Status Controller::State::check_overlap(const ServiceSpec& spec) const {
    const auto at = services_.find(spec.name);
    if (at == services_.end()) return {};
    const Service& service = at->second;
    if (service.removing && may_run(service))
        return fail(Code::kConflict,
                    spec.name +
                        " is still being removed: until its leases are over, in a few seconds, a copy of it "
                        "may run; try again then",
                    "service.name");
    if (service.removing || service.forbid == spec.forbid) return {};
    return fail(Code::kConflict,
                std::string("expected \"") + (service.forbid ? "forbid" : "allow") + "\", as " + spec.name +
                    " was deployed; to change it remove the service and deploy it again",
                "placement.overlap");
}

std::string Controller::State::lease_reason(const Instance& instance) const {
    const std::string left = "in at most " + format_duration(std::max(Duration(0), barred_until(instance) - now_));
    if (instance.leased_on.empty()) return "waits until all leases of an earlier start are over, " + left;
    if (comes_back(instance)) return "waits for what " + instance.leased_on + " reports: it is back";
    return "waits: epoch " + std::to_string(instance.current.epoch) + " may run on " + instance.leased_on +
           " until it is stopped or its lease is over, " + left;
}

// Of the copy that may run the longest; null if there is none.
json::value Controller::State::lease_document(const Instance& instance) const {
    const InstanceId id = instance.id();
    const std::pair<const CopyId, Lease>* found = nullptr;
    for (auto at = leases_.lower_bound({id, 0}); at != leases_.end() && at->first.instance == id; ++at)
        if (at->second.until > now_ && (!found || at->second.until > found->second.until)) found = &*at;
    if (!found) return nullptr;
    return json::object{{"node", found->second.node},
                        {"epoch", found->first.epoch},
                        {"ends_in_ms", (found->second.until - now_) / milliseconds(1)}};
}

}  // namespace gantry::core
