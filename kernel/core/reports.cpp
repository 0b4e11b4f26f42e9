// SPDX-License-Identifier: Apache-2.0
//
// What a report changes (faults.md 3 and 6).
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

json::object fields_of(const Instance& instance) {
    return {{"service", instance.service->name},
            {"instance", instance.text()},
            {"node", instance.node->name},
            {"epoch", instance.epoch}};
}

std::string times(std::uint32_t n) { return n == 1 ? "once" : std::to_string(n) + " times"; }

}  // namespace

void Controller::State::report(Node& node, const Report& message) {
    heard_from(node, message.load, message.applied);
    std::vector<std::uint32_t> images;
    for (const auto& digest : message.images) images.push_back(image_no(digest));
    std::sort(images.begin(), images.end());
    node.images = std::move(images);
    node.fetching = message.fetching;

    const bool first = !node.reported && !node.down();
    node.reported = node.reported || first;
    std::set<CopyId> missing;
    if (!message.incomplete)
        for (const auto& [copy, instance] : node.copies) missing.insert(copy);
    for (const auto& copy : message.copies) {
        missing.erase(copy.copy);
        report_copy(node, copy);
    }
    for (const auto& copy : missing) {
        const auto at = node.copies.find(copy);
        if (at == node.copies.end()) continue;
        set_state(*at->second, CopyState::kWaiting);
        set_ready(*at->second, false);
    }
    if (!message.incomplete) drop_gone(node, message);
    if (!first) return;
    now_ready(node);
    dirty_list(node);
    send_names(node);
}

void Controller::State::report_copy(Node& node, const CopyReport& copy) {
    Instance* instance = find(copy.copy.instance);
    const std::uint64_t epoch = copy.copy.epoch;
    if (instance && epoch > std::max(instance->epoch, instance->seen)) {
        instance->seen = epoch;
        dirty(*instance);
    } else if (Service* service = find_service(copy.copy.instance.service_no);
               !instance && service && epoch > service->epoch_floor) {
        service->epoch_floor = epoch;
        dirty(*service);
    }
#ifdef GANTRY_BUG_STALE_REPORT
    const bool current = instance && instance->node;
#else
    const bool current = instance && instance->node == &node && instance->epoch == epoch;
#endif
    if (current) return report_current(*instance, copy);
    if (instance && take_back(node, *instance, copy)) return report_current(*instance, copy);
    report_stale(node, copy);
}

// No epoch is used up while an instance is pending: its last copy, if it is still there, is current again.
bool Controller::State::take_back(Node& node, Instance& instance, const CopyReport& copy) {
    Service& service = *instance.service;
    if (instance.node || instance.stopping || !instance.moving_from.empty() || service.removing || node.down())
        return false;
    if (copy.copy.epoch != instance.epoch || instance.seen > instance.epoch || copy.cannot_stop) return false;
    if (copy.state == CopyState::kStopping || copy.state == CopyState::kExited) return false;
    const Revision& last = service.last();
    if (!in_pool(last.spec, node) || fixed_rules(last, node) != Exclusion::kNone) return false;
    if (failed_here(last, node)) return false;
    if (service.is_static() && instance.bound != node.name) return false;
    const auto revision = service.revisions.find(instance.revision);
    if (revision == service.revisions.end()) return false;
    // It counts as stale until now; what it holds itself is no obstacle.
    const auto stale = node.stale.find(copy.copy);
    const Need* own = stale == node.stale.end() ? nullptr : &stale->second.need;
    const auto fits = resource_rules(revision->second, node, own, nullptr);
    if (fits != Exclusion::kNone) return false;
    if (own) stale_gone(node, copy.copy, false);
    instance.state = CopyState::kWaiting;
    attach(instance, node);
    instance.since = now_;
    std::erase_if(instance.lost_on, [&](const auto& lost) { return lost.first == node.name; });
    rolling_.insert(service.no);
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
    event("returned", instance.text() + " epoch " + std::to_string(instance.epoch) + " came back with " + node.name,
          fields_of(instance));
    return true;
}

void Controller::State::report_current(Instance& instance, const CopyReport& copy) {
    const CopyState before = instance.state;
    const bool was_ready = instance.ready;
    const std::uint32_t crashes = instance.crashes;
    tell_change(instance, copy, before, was_ready);
    instance.attempt = copy.attempt;
    instance.crashes = copy.crashes;
    instance.restarts = copy.restarts;
    instance.exit_code = copy.exit_code;
    instance.reason = copy.reason;
    set_state(instance, copy.state);
    set_ready(instance, copy.state == CopyState::kReady);
    if (copy.crashes >= timing_.crashes_to_move && copy.crashes != crashes)
        kept_crashing(instance);
    else if (instance.ready && copy.crashes == 0 && crashes >= timing_.crashes_to_move)
        recovered(instance);
}

void Controller::State::tell_change(const Instance& instance, const CopyReport& copy, CopyState before,
                                    bool was_ready) {
    const std::string name = instance.text();
    const std::string& node = instance.node->name;
    if (copy.crashes > instance.crashes) {
        json::object fields = fields_of(instance);
        fields["exit_code"] = copy.exit_code;
        const std::string code = "exited with " + std::to_string(copy.exit_code);
        const bool never_ran = !copy.reason.empty() && !copy.reason.starts_with("exited with ");
        std::string text = name + " " + (never_ran ? "failed" : code) + " on " + node;
        if (never_ran) text += ": " + copy.reason;
        if (copy.crashes > 1) text += ", " + times(copy.crashes) + " in a row";
        event("exited", std::move(text), std::move(fields));
    }
    if (copy.restarts > instance.restarts)
        event("restarted", name + " restarted on " + node + ", " + times(copy.restarts), fields_of(instance));
    if (copy_runs(copy.state) && !copy_runs(before)) event("running", name + " runs on " + node, fields_of(instance));
    if (copy.state == CopyState::kReady && !was_ready)
        event("ready", name + " is ready on " + node, fields_of(instance));
    if (copy.state != CopyState::kReady && was_ready)
        event("not-ready", name + " is not ready on " + node + (copy.reason.empty() ? "" : ": " + copy.reason),
              fields_of(instance));
}

void Controller::State::report_stale(Node& node, const CopyReport& copy) {
    auto at = node.stale.find(copy.copy);
    if (at == node.stale.end()) {
        Stale stale;
        const Service* service = find_service(copy.copy.instance.service_no);
        stale.instance = (service ? service->name : "service " + std::to_string(copy.copy.instance.service_no)) + "." +
                         std::to_string(copy.copy.instance.index);
        if (service) stale.need = service->last().need;
        stale.gone_after = {term_, node.list_no};
        stale.since = now_;
        stale.running = copy_runs(copy.state);
        add_stale(node, copy.copy, std::move(stale));
        at = node.stale.find(copy.copy);
    }
    Stale& stale = at->second;
    if (!stale.met && !stale.planned && copy.state != CopyState::kExited)
        event("stale",
              stale.instance + " epoch " + std::to_string(copy.copy.epoch) + " is on " + node.name +
                  " and not wanted there: it is stopped",
              {{"instance", stale.instance}, {"node", node.name}, {"epoch", copy.copy.epoch}});
    stale.met = true;
    stale.state = copy.state;
    stale.reason = copy.reason;
    if (copy.cannot_stop && !stale.cannot_stop)
        event("cannot-stop", stale.instance + " cannot be stopped on " + node.name + ": " + copy.reason,
              {{"instance", stale.instance}, {"node", node.name}, {"epoch", copy.copy.epoch}});
    stale.cannot_stop = copy.cannot_stop;
}

// Only a report that has applied the list without a copy proves that it will not be started after all.
void Controller::State::drop_gone(Node& node, const Report& message) {
    if (node.stale.empty()) return;
    std::set<CopyId> there;
    for (const auto& copy : message.copies) there.insert(copy.copy);
    std::vector<CopyId> gone;
    for (const auto& [copy, stale] : node.stale)
        if (message.applied >= stale.gone_after && !there.contains(copy)) gone.push_back(copy);
    for (const auto& copy : gone) {
        const Stale& stale = node.stale.at(copy);
        stale_gone(node, copy, stale.planned || stale.met);
    }
}

// Failures count per (service, revision): the next candidate is tried until too many have failed.
void Controller::State::kept_crashing(Instance& instance) {
    Service& service = *instance.service;
    Revision& revision = service.last();
    if (service.revisions.at(instance.revision).generation != revision.generation) return;  // the rollout replaces it
    Node& node = *instance.node;
    if (revision.failed.insert(node.name).second) dirty(service);
    // Nodes that are no candidates now do not count, neither as tried nor as to be tried.
    std::size_t candidates = 1, failed = 1;
    for (const auto& candidate : pool_of(service)) {
        if (candidate.node == &node || !passes(rules(revision, candidate), true)) continue;
        ++candidates;
        failed += revision.failed.contains(candidate.node->name);
    }
    const std::size_t enough = std::min<std::size_t>(timing_.nodes_to_give_up, candidates);
    const bool give_up = service.is_static() || failed >= enough;
    if (give_up) {
        if (!revision.failing) {
            revision.failing = true;
            dirty(service);
            event("failing",
                  instance.text() + " keeps crashing on " + node.name + " and stays there: " +
                      (service.is_static() ? "its placement is static"
                                           : "it failed on " + std::to_string(failed) + " of " +
                                                 std::to_string(candidates) + " candidates"),
                  fields_of(instance));
        }
        return;
    }
    if (revision.failing) {
        revision.failing = false;
        dirty(service);
    }
    event("gives-up-node",
          instance.text() + " crashed " + times(instance.crashes) + " in a row on " + node.name +
              ": another node is tried",
          fields_of(instance));
    detach(instance, true, false);
    wants_place(instance);
}

// It kept crashing and runs well now. That another one runs well on the same node says nothing of those that crash.
void Controller::State::recovered(Instance& instance) {
    Service& service = *instance.service;
    for (const auto& [index, other] : service.instances)
        if (other.node == instance.node && other.crashes >= timing_.crashes_to_move) return;
    Revision& revision = service.last();
    if (revision.failed.erase(instance.node->name) == 0) return;
    revision.failing = service.is_static() && !revision.failed.empty();
    dirty(service);
}

}  // namespace gantry::core
