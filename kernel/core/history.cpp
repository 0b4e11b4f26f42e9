// SPDX-License-Identifier: Apache-2.0
//
// The revisions of a service: what happens when one fails, and the way back.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

// The last one, and those that copies run; the others are only recorded.
std::set<std::uint64_t> Controller::State::live_revisions(const Service& service) {
    std::set<std::uint64_t> live = {service.last().number};
    for (const auto& [index, instance] : service.instances)
        for (const Copy* copy : {&instance.current, &instance.next})
            if (copy->epoch != 0) live.insert(copy->revision);
    return live;
}

void Controller::State::forget_revisions(Service& service) {
    if (service.revisions.size() == 1) return;
    const auto live = live_revisions(service);
    std::size_t recorded = 0;
    for (auto at = service.revisions.end(); at != service.revisions.begin();) {
        --at;
        if (live.contains(at->first) || ++recorded <= limits::kHistory) continue;
        at = service.revisions.erase(at);
        dirty(service);
    }
}

// The last one before this that was ready as a whole.
const Revision* Controller::State::good_before(const Service& service) {
    for (auto at = std::next(service.revisions.rbegin()); at != service.revisions.rend(); ++at)
        if (at->second.good) return &at->second;
    return nullptr;
}

// A revision that was ready as a whole once is no failed update, and a rollback that fails is not rolled back.
void Controller::State::revision_failed(Service& service) {
    Revision& last = service.last();
    if (!last.failing) {
        last.failing = true;
        dirty(service);
        moves_dirty_ = true;
    }
    if (last.good || last.rollback_of != 0 || !last.spec.update.roll_back) return;
    const Revision* to = good_before(service);
    if (!to) return;
    const std::uint64_t number = to->number;
    if (const auto done = roll_back(service, *to, "revision " + std::to_string(last.number) + " failed"); !done)
        event("rollback-refused",
              service.name + " cannot go back to revision " + std::to_string(number) + ": " + done.error().text(),
              {{"service", service.name}, {"revision", number}});
}

// The recorded manifest becomes a new revision; its containers are those of the recorded one, image digest included.
Status Controller::State::roll_back(Service& service, const Revision& to, const std::string& why) {
    GANTRY_CHECK(check_deploy(to.spec, false));
    Revision revision = to;
    revision.number = service.last().number + 1;
    revision.rollback_of = to.rollback_of != 0 ? to.rollback_of : to.number;
    revision.failed.clear();
    revision.failing = revision.good = false;
    derive(revision);
    event("rollback",
          service.name + " goes back to revision " + std::to_string(revision.rollback_of) + ", as revision " +
              std::to_string(revision.number) + ": " + why,
          {{"service", service.name}, {"revision", revision.number}});
    change(service, std::move(revision));
    return {};
}

void Controller::State::on(const ApiRollout& input) {
    using Action = ApiRollout::Action;
    const auto at = services_.find(input.service);
    if (at == services_.end() || at->second.removing)
        return reply(input.request, fail(Code::kNotFound, "there is no service " + input.service));
    Service& service = at->second;
    if (input.action == Action::kStop) {
        stop(service);
    } else if (input.action == Action::kStart) {
        start(service);
    } else if (input.action == Action::kRestart) {
        if (const auto done = restart(service); !done) return reply(input.request, std::unexpected(done.error()));
    } else if (input.action == Action::kRollBack) {
        const auto found = service.revisions.find(input.revision);
        const Revision* to = input.revision == 0                ? good_before(service)
                             : found == service.revisions.end() ? nullptr
                                                                : &found->second;
        if (!to)
            return reply(input.request,
                         fail(Code::kNotFound,
                              input.revision == 0
                                  ? "no revision of " + input.service + " before this one was ever ready as a whole"
                                  : "revision " + std::to_string(input.revision) + " of " + input.service +
                                        " is not recorded; gantry history lists them"));
        if (to == &service.last())
            return reply(input.request, fail(Code::kConflict, "revision " + std::to_string(input.revision) + " of " +
                                                                  input.service + " is the last one already"));
        if (const auto done = roll_back(service, *to, "asked for"); !done)
            return reply(input.request, std::unexpected(done.error()));
    } else {
        const bool pause = input.action == Action::kPause;
        if (service.paused != pause) {
            service.paused = pause;
            dirty(service);
            rolling_.insert(service.no);
            moves_dirty_ = true;
            event(pause ? "rollout-paused" : "rollout-resumed",
                  service.name + (pause ? ": no further instance is replaced" : ": the rollout goes on"),
                  {{"service", service.name}});
        }
    }
    json::object answer = rollout_document(service);
    answer["service"] = service.name;
    reply(input.request, std::move(answer));
}

json::object Controller::State::rollout_document(const Service& service) const {
    return {{"revision", service.last().number},
            {"paused", service.paused},
            {"stopped", service.stopped},
            {"rollback_of", service.last().rollback_of}};
}

Result<json::array> Controller::State::history(const std::string& name) const {
    const auto at = services_.find(name);
    if (at == services_.end()) return fail(Code::kNotFound, "there is no service " + name);
    const Service& service = at->second;
    std::map<std::uint64_t, std::size_t> copies;
    for (const auto& [index, instance] : service.instances)
        if (const Copy& copy = instance.shown(); copy.node) ++copies[copy.revision];
    json::array out;
    std::map<std::uint64_t, std::map<std::uint64_t, json::object>> moves;  // by revision, by number
    for (const auto& [index, instance] : service.instances)
        for (const auto& move : instance.moved) {
            json::object document = move_document(move, !open_moves_.contains(move.no));
            document["instance"] = instance.text();
            moves[move.revision][move.no] = std::move(document);
        }
    for (auto entry = service.revisions.rbegin(); entry != service.revisions.rend(); ++entry) {
        const Revision& revision = entry->second;
        const bool last = &revision == &service.last();
        const char* state = revision.failing         ? "failed"
                            : last && !revision.good ? "rolling out"
                            : last                   ? "deployed"
                            : revision.good          ? "was ready"
                                                     : "replaced";
        json::array moved;
        for (auto move = moves[revision.number].rbegin(); move != moves[revision.number].rend(); ++move)
            moved.push_back(std::move(move->second));
        out.push_back(json::object{{"revision", revision.number},
                                   {"state", state},
                                   {"image", revision.spec.image},
                                   {"image_digest", revision.image_digest},
                                   {"instances", revision.spec.instances},
                                   {"copies", copies[revision.number]},
                                   {"rollback_of", revision.rollback_of},
                                   {"failed_on", json::array(revision.failed.begin(), revision.failed.end())},
                                   {"document", to_json(revision.spec)},
                                   {"moves", std::move(moved)}});
    }
    return out;
}

}  // namespace gantry::core
