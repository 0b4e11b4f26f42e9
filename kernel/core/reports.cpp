// SPDX-License-Identifier: Apache-2.0
//
// What a report changes (faults.md 3 and 6).
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

json::object fields_of(const Instance& instance, const Copy& copy) {
    return {{"service", instance.service->name},
            {"instance", instance.text()},
            {"node", copy.node->name},
            {"epoch", copy.epoch}};
}

std::string times(std::uint32_t n) { return n == 1 ? "once" : std::to_string(n) + " times"; }

}  // namespace

void Controller::State::report(Node& node, const Report& message) {
    heard_from(node, message.load, message.applied);
    if (message.usage) node.usage = *message.usage;
    std::vector<std::uint32_t> images;
    for (const auto& digest : message.images) images.push_back(image_no(digest));
    std::sort(images.begin(), images.end());
    node.images = std::move(images);
    node.fetching = message.fetching;

    const bool all_told = take_told(node, message.told, !message.runs.empty());
    take_runs(node, message);
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
        Instance& instance = *at->second;
        const bool current = copy.epoch == instance.current.epoch;
        set_state(instance, current ? instance.current : instance.next, CopyState::kWaiting);
        if (current)
            set_ready(instance, false);
        else
            instance.next.ready = false;
    }
    if (!message.incomplete) drop_gone(node, message);
    measure_moves(node.name, all_told);
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
    if (!instance) return report_stale(node, copy);
    Copy* known = copy_on(*instance, node, epoch);
#ifdef GANTRY_BUG_STALE_REPORT
    if (!known && instance->current.node) known = &instance->current;
#endif
    if (!known && take_back(node, *instance, copy)) known = &instance->current;
    if (known) return report_known(*instance, *known, copy);
    report_stale(node, copy);
}

Copy* Controller::State::copy_on(Instance& instance, const Node& node, std::uint64_t epoch) {
    for (Copy* copy : {&instance.current, &instance.next})
#ifdef GANTRY_BUG_EPOCH_AT_LEAST
        if (copy->node == &node && epoch >= copy->epoch) return copy;
#else
        if (copy->node == &node && copy->epoch == epoch) return copy;
#endif
    return nullptr;
}

// No epoch is used up while an instance is pending: its last copy, if it is still there, is current again.
bool Controller::State::take_back(Node& node, Instance& instance, const CopyReport& copy) {
    Service& service = *instance.service;
    if (instance.current.node || !instance.may_return || service.removing) return false;
#ifndef GANTRY_BUG_STOPPED_RETURNS
    if (service.stopped) return false;
#endif
    if (node.down() || node.leaves_by) return false;
    if (copy.copy.epoch != instance.current.epoch || instance.seen > instance.epoch || copy.cannot_stop) return false;
    if (copy.state == CopyState::kStopping || copy.state == CopyState::kExited) return false;
    const Revision& last = service.last();
    if (!in_pool(last.spec, node) || fixed_rules(last, node) != Exclusion::kNone) return false;
    if (failed_here(last, node)) return false;
    if (service.is_static() && instance.bound != node.name) return false;
    const auto revision = service.revisions.find(instance.current.revision);
    if (revision == service.revisions.end()) return false;
    // It counts as stale until now; what it holds itself is no obstacle.
    const auto stale = node.stale.find(copy.copy);
    const Need* own = stale == node.stale.end() ? nullptr : &stale->second.need;
    const auto fits = resource_rules(revision->second, node, own, nullptr);
    if (fits != Exclusion::kNone) return false;
    if (own) stale_gone(node, copy.copy, false);
    instance.current.state = CopyState::kWaiting;
    attach(instance, instance.current, node);
    instance.current.since = instance.current.assigned = now_;
    instance.may_return = instance.planned = false;
    instance.leased_on.clear();
    if (instance.next.node) dirty_list(*instance.next.node);
    end_move(instance);  // it was lost meanwhile: what goes on is no planned move
    std::erase_if(instance.lost_on, [&](const auto& lost) { return lost.first == node.name; });
    rolling_.insert(service.no);
    dirty(instance);
    dirty_list(node);
    moves_dirty_ = true;
    event("returned",
          instance.text() + " epoch " + std::to_string(instance.current.epoch) + " came back with " + node.name,
          fields_of(instance, instance.current));
    return true;
}

void Controller::State::report_known(Instance& instance, Copy& copy, const CopyReport& report) {
    const std::uint32_t crashes = copy.crashes;
    tell_change(instance, copy, report);
    copy.attempt = report.attempt;
    copy.crashes = report.crashes;
    copy.restarts = report.restarts;
    copy.exit_code = report.exit_code;
    copy.reason = report.reason;
    set_state(instance, copy, report.state);
    const bool ready = report.state == CopyState::kReady;
    if (std::exchange(copy.ports, report.ports) != report.ports && &copy == &instance.current) {
        if (ready && copy.ready) announce_copy(instance, true);
        dirty(instance);
    }
    if (&copy == &instance.current)
        set_ready(instance, ready);
    else
        copy.ready = ready;
    if (report.crashes >= timing_.crashes_to_move && report.crashes != crashes) return kept_crashing(instance, copy);
    if (ready && report.crashes == 0 && crashes >= timing_.crashes_to_move) recovered(instance, copy);
    if (&copy == &instance.next && replaces_now(instance)) promote(instance);
}

void Controller::State::tell_change(const Instance& instance, const Copy& copy, const CopyReport& report) {
    const std::string name = instance.text();
    const std::string& node = copy.node->name;
    if (report.crashes > copy.crashes) {
        json::object fields = fields_of(instance, copy);
        fields["exit_code"] = report.exit_code;
        const std::string code = "exited with " + std::to_string(report.exit_code);
        const bool never_ran = !report.reason.empty() && !report.reason.starts_with("exited with ");
        std::string text = name + " " + (never_ran ? "failed" : code) + " on " + node;
        if (never_ran) text += ": " + report.reason;
        if (report.crashes > 1) text += ", " + times(report.crashes) + " in a row";
        event("exited", std::move(text), std::move(fields));
    }
    if (report.restarts > copy.restarts)
        event("restarted", name + " restarted on " + node + ", " + times(report.restarts), fields_of(instance, copy));
    if (copy_runs(report.state) && !copy_runs(copy.state))
        event("running", name + " runs on " + node, fields_of(instance, copy));
    if (report.state == CopyState::kReady && !copy.ready)
        event("ready", name + " is ready on " + node, fields_of(instance, copy));
    if (report.state != CopyState::kReady && copy.ready)
        event("not-ready", name + " is not ready on " + node + (report.reason.empty() ? "" : ": " + report.reason),
              fields_of(instance, copy));
}

// What a copy takes is what its own revision says. Where that is not known any more, it may be each of those that are.
Need Controller::State::need_of_stale(const Service& service, const CopyId& copy) const {
    const Instance* instance = find(copy.instance);
    if (instance && instance->current.epoch == copy.epoch)
        if (const auto at = service.revisions.find(instance->current.revision); at != service.revisions.end())
            return at->second.need;
    Need most;
    std::set<std::uint16_t> ports;
    for (const auto& [number, revision] : service.revisions) {
        most.cpu_milli = std::max(most.cpu_milli, revision.need.cpu_milli);
        most.memory_bytes = std::max(most.memory_bytes, revision.need.memory_bytes);
        ports.insert(revision.need.ports.begin(), revision.need.ports.end());
    }
    most.ports.assign(ports.begin(), ports.end());
    return most;
}

void Controller::State::report_stale(Node& node, const CopyReport& copy) {
    auto at = node.stale.find(copy.copy);
    if (at == node.stale.end()) {
        Stale stale;
        const Service* service = find_service(copy.copy.instance.service_no);
        stale.instance = (service ? service->name : "service " + std::to_string(copy.copy.instance.service_no)) + "." +
                         std::to_string(copy.copy.instance.index);
        if (service) stale.need = need_of_stale(*service, copy.copy);
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
    if (std::exchange(stale.cannot_stop, copy.cannot_stop) != copy.cannot_stop) touched_.insert(&node);
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
        lease_over(copy);
        life_over(copy, false);
        const Stale& stale = node.stale.at(copy);
        stale_gone(node, copy, stale.planned || stale.met);
    }
}

// Failures count per (service, revision): the next candidate is tried until too many have failed.
void Controller::State::kept_crashing(Instance& instance, Copy& copy) {
    Service& service = *instance.service;
    Revision& revision = service.last();
    if (service.revisions.at(copy.revision).generation != revision.generation) {
        moves_dirty_ = true;  // the rollout replaces it, or goes on without it
        return;
    }
    if (revision.failed.insert(copy.node->name).second) dirty(service);
    std::string why;
    const bool fails = gives_up(service, *copy.node, why);
    if (fails && !revision.failing)
        event(
            "failing",
            instance.text() + " keeps crashing on " + copy.node->name +
                (&copy == &instance.next && instance.current.node ? ": its older copy stays, " : " and stays there: ") +
                why,
            fields_of(instance, copy));
    if (!fails && std::exchange(revision.failing, false)) dirty(service);
    if (!fails)
        event("gives-up-node",
              instance.text() + " crashed " + times(copy.crashes) + " in a row on " + copy.node->name +
                  ": another node is tried",
              fields_of(instance, copy));
    if (&copy == &instance.next && instance.current.node)
        drop_next(instance);
    else if (!fails)
        try_elsewhere(instance, copy);
    if (fails) revision_failed(service);
}

// Nodes that are no candidates now do not count, neither as tried nor as to be tried.
bool Controller::State::gives_up(const Service& service, const Node& node, std::string& why) const {
    if (service.is_static()) {
        why = "its placement is static";
        return true;
    }
    const Revision& revision = service.last();
    std::size_t candidates = 1, failed = 1;
    Imagined without;  // who only takes it while it stays where it is will not take it
    without.leaves = &node;
    for (const auto& candidate : pool_of(service)) {
        if (candidate.node == &node || !passes(rules(revision, candidate, nullptr, &without), true)) continue;
        ++candidates;
        failed += revision.failed.contains(candidate.node->name);
    }
    why = "it failed on " + std::to_string(failed) + " of " + std::to_string(candidates) + " candidates";
    return failed >= std::min<std::size_t>(timing_.nodes_to_give_up, candidates);
}

void Controller::State::try_elsewhere(Instance& instance, Copy& copy) {
    // What replaces it is on its way.
    if (&copy == &instance.current && instance.next.node) return;
    if (instance.planned) drop_next(instance);
    detach(instance, copy, true, false);
    wants_place(instance);
}

// It kept crashing and runs well now. That another one runs well on the same node says nothing of those that crash.
void Controller::State::recovered(Instance& instance, const Copy& copy) {
    Service& service = *instance.service;
    for (const auto& [index, other] : service.instances)
        for (const Copy* its : {&other.current, &other.next})
            if (its->node == copy.node && its->crashes >= timing_.crashes_to_move) return;
    Revision& revision = service.last();
    if (revision.failed.erase(copy.node->name) == 0) return;
    revision.failing = service.is_static() && !revision.failed.empty();
    dirty(service);
}

}  // namespace gantry::core
