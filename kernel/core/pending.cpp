// SPDX-License-Identifier: Apache-2.0
//
// Instances that found no node, and why.
#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kNamedInText = 4;

}  // namespace

// Tells people when the reasons are others than last time.
void Controller::State::still_pending(Service& service) {
    std::vector<Exclusion> now;
    for (const auto& candidate : pool_of(service)) now.push_back(rules(service.last(), candidate));
    if (service.told && *service.told == now && service.told_error == service.policy_error) return;
    service.told = std::move(now);
    service.told_error = service.policy_error;

    std::string why = service.policy_error;
    const auto reasons = pending_reasons(service);
    for (std::size_t i = 0; i < std::min(reasons.size(), kNamedInText) && service.policy_error.empty(); ++i) {
        const auto& entry = reasons[i].as_object();
        why += (why.empty() ? "" : "; ") + std::string(entry.at("node").as_string()) + " " +
               std::string(entry.at("reason").as_string());
    }
    if (reasons.size() > kNamedInText && service.policy_error.empty())
        why += "; and " + std::to_string(reasons.size() - kNamedInText) + " more nodes";
    if (why.empty()) why = "its pool has no node";
    const Instance& first = service.instances.at(*service.unplaced.begin());
    const auto count = service.unplaced.size();
    const std::string who =
        count == 1 ? first.text() + " is" : std::to_string(count) + " instances of " + service.name + " are";
    event("pending", who + " pending: " + why,
          {{"service", service.name}, {"instance", first.text()}, {"instances", count}});
}

json::array Controller::State::pending_reasons(const Service& service) const {
    const Revision& revision = service.last();
    json::array out;
    std::size_t more = 0;
    const auto add = [&](const std::string& node, std::string why) {
        if (out.size() < kReasonsShown)
            out.push_back(json::object{{"node", node}, {"reason", std::move(why)}});
        else
            ++more;
    };
    if (!service.policy_error.empty()) add("*", service.policy_error);
    if (const auto* other = waits_for(service)) add("*", starts_after(*other));
    for (const auto& candidate : pool_of(service)) {
        const Exclusion exclusion = rules(revision, candidate);
        if (exclusion == Exclusion::kNone) continue;
        if (out.size() < kReasonsShown)
            add(candidate.node->name, reason(exclusion, revision, *candidate.node));
        else
            ++more;
    }
    for (const auto& name : revision.spec.nodes)
        if (!nodes_.contains(name)) add(name, "never joined");
    if (more != 0)
        out.push_back(json::object{{"node", "*"}, {"reason", "and " + std::to_string(more) + " more nodes"}});
    return out;
}

}  // namespace gantry::core
