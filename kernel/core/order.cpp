// SPDX-License-Identifier: Apache-2.0
//
// Start order: a service that names others in `after` is placed when they are ready.
#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

// A cycle would wait for itself.
Status Controller::State::check_order(const ServiceSpec& spec) const {
    std::vector<std::string> path;
    std::set<std::string> seen;
    const std::function<bool(const std::string&, const std::vector<std::string>&)> leads_back =
        [&](const std::string& name, const std::vector<std::string>& after) {
            path.push_back(name);
            for (const auto& next : after) {
                if (next == spec.name) return true;
                if (!seen.insert(next).second) continue;
                const auto at = services_.find(next);
                if (at != services_.end() && !at->second.removing && leads_back(next, at->second.last().spec.after))
                    return true;
            }
            path.pop_back();
            return false;
        };
    if (!leads_back(spec.name, spec.after)) return {};
    std::string cycle;
    for (const auto& name : path) cycle += name + " after ";
    return fail(Code::kInvalid, "none of these would ever start: " + cycle + spec.name + "; take one of them out",
                "service.after");
}

// The first service that this one still waits for: at first all of it has to be ready, later one instance will do.
const std::string* Controller::State::waits_for(const Service& service) const {
    const bool began = std::any_of(service.instances.begin(), service.instances.end(),
                                   [](const auto& entry) { return entry.second.epoch != 0; });
    for (const auto& name : service.last().spec.after) {
        const auto at = services_.find(name);
        if (at == services_.end() || at->second.removing) return &name;
        const Service& other = at->second;
        if (began ? other.ready == 0 : other.ready < other.instances.size()) return &name;
    }
    return nullptr;
}

std::string Controller::State::starts_after(const std::string& other) const {
    const auto at = services_.find(other);
    return "starts after " + other + ", which is " +
           (at != services_.end() && at->second.stopped ? "stopped" : "not ready");
}

// Takes what may not start yet out of the next placement. Planned moves go on.
void Controller::State::hold_back(Service& service) {
    if (service.stopped) return service.unplaced.clear();
    if (service.forbid) hold_for_lease(service);
    if (service.last().spec.after.empty()) return;
    const std::string* other = waits_for(service);
    if (!other) return;
    const auto held =
        std::erase_if(service.unplaced, [&](std::uint32_t index) { return service.instances.at(index).pending(); });
    if (held != 0) event("pending", service.name + " " + starts_after(*other), {{"service", service.name}});
}

// `service` has become ready, or an instance of it.
void Controller::State::release_after(const Service& service) {
    for (auto& [name, other] : services_) {
        const auto& after = other.last().spec.after;
        if (other.removing || std::find(after.begin(), after.end(), service.name) == after.end()) continue;
        if (waits_for(other)) continue;
        for (auto& [index, instance] : other.instances) wants_place(instance);
    }
}

}  // namespace gantry::core
