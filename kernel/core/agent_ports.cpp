// SPDX-License-Identifier: Apache-2.0
//
// Ports of endpoints for which the manifest says 0: each attempt has its own, chosen before it is made.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/agent_state.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr Duration kLookAgain = seconds(1);  // when every port was taken

}  // namespace

const std::vector<std::uint16_t>& Agent::State::ports_of(const Copy& copy) const {
    static const std::vector<std::uint16_t> kNone;
    const auto at = copy.current ? ports_.find(*copy.current) : ports_.end();
    return at == ports_.end() ? kNone : at->second;
}

// Whatever the manifests of the list name, what containers that are there or may turn up yet were given, and what was
// found for attempts to come. The rest is forgotten.
std::set<std::uint16_t> Agent::State::taken_ports() {
    std::erase_if(ports_, [&](const auto& kept) {
        const ContainerKey& key = kept.first;
        const auto copy = copies_.find(key.copy);
        const auto runtime = runtimes_.find(key.runtime);
        return !containers_.contains(key) && (copy == copies_.end() || copy->second.attempt != key.attempt) &&
               (runtime == runtimes_.end() || runtime->second.listed);
    });
    std::set<std::uint16_t> out;
    for (const auto& [digest, spec] : specs_)
        for (const auto& endpoint : spec.spec.endpoints) out.insert(endpoint.port);
#ifndef GANTRY_BUG_PORT_TWICE
    for (const auto& [key, ports] : ports_) out.insert(ports.begin(), ports.end());
#endif
    for (const auto& [id, copy] : copies_) out.insert(copy.ports.begin(), copy.ports.end());
    return out;
}

// Whether the next attempt has all of its ports. One after the other is asked for, from a start of its own on, so that
// two attempts rarely take the same one.
bool Agent::State::has_ports(const CopyId& id, Copy& copy, const ServiceSpec& spec) {
    const auto& [first, last] = facts_.ports;
    if (copy.trying == 0 && copy.ports.size() >= spec.ports_to_choose()) return true;
    copy.waiting = "looks for a free port";
    if (copy.trying != 0) return false;
    const std::uint32_t range = last - first + 1U;
    const auto start = static_cast<std::uint32_t>(fnv1a(id.text() + "/" + std::to_string(copy.attempt + 1)) >> 32);
    for (const auto taken = taken_ports(); copy.passed < range;) {
        const auto port = static_cast<std::uint16_t>(first + (start % range + copy.passed++) % range);
        if (taken.contains(port)) continue;
        copy.ports.push_back(port);
        copy.trying = ++last_id_;
        out_.emplace_back(TryPort{copy.trying, port});
        return false;
    }
    copy.ports.clear();
    copy.passed = 0;
    copy.waiting = copy.last_end = "no port of [node] ports, " + std::to_string(first) + " to " + std::to_string(last) +
                                   ", is free on " + facts_.node;
    copy.restart_at = now_ + kLookAgain;
    wait_until(copy.restart_at);
    return false;
}

void Agent::State::on(const PortTried& input) {
    for (auto& [id, copy] : copies_) {
        if (copy.trying != input.id) continue;
        copy.trying = 0;
        if (!input.free) copy.ports.pop_back();
    }
}

// What was found belongs to this attempt from now on.
void Agent::State::give_ports(const ContainerKey& key, Copy& copy, const ServiceSpec& spec) {
    copy.passed = 0;
    if (copy.ports.empty()) return;
    auto found = std::exchange(copy.ports, {});
    for (const auto& endpoint : spec.endpoints) {
        ports_[key].push_back(endpoint.port != 0 ? endpoint.port : found.back());
        if (endpoint.port == 0) found.pop_back();
    }
}

json::array Agent::State::ports_document() const {
    json::array out;
    for (const auto& [key, ports] : ports_) {
        out.push_back(key_json(key));
        out.back().get_object()["ports"] = json::array(ports.begin(), ports.end());
    }
    return out;
}

Status Agent::State::read_ports(Fields& f, Saved& out) {
    GANTRY_TRY(all, f.list("ports"));
    for (const auto* value : all) {
        Fields entry(value, f.path("ports"));
        GANTRY_TRY(key, read_key(entry));
        GANTRY_TRY(ports, take_ports(entry));
        out.ports[key] = std::move(ports);
    }
    return {};
}

}  // namespace gantry::core
