// SPDX-License-Identifier: Apache-2.0
//
// A node that announces a reboot and is usually back soon keeps the instances that can be away for so long.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kRemembered = 5;  // reboots; one that took long counts until so many others did not
constexpr int kPatience = 2;            // after so many times its usual time this reboot is not a usual one

}  // namespace

std::optional<Duration> Controller::State::usual_reboot(const Node& node) {
    if (node.reboots_took.empty()) return std::nullopt;
    return *std::max_element(node.reboots_took.begin(), node.reboots_took.end());
}

bool Controller::State::stays_for_reboot(const Node& node, const Instance& instance) const {
    if (!node.reboots || node.intent == Intent::kDraining || instance.current.node != &node) return false;
    const auto usual = usual_reboot(node);
    return usual && *usual < instance.service->last().spec.max_gap;
}

// Nothing more is moved from it. What is left waits for it if anything does: nothing else would take it now.
void Controller::State::may_go(Node& node) {
    std::optional<Duration> patience;
    for (const auto& [copy, instance] : node.copies)
        if (stays_for_reboot(node, *instance)) {
            const Duration budget = instance->service->last().spec.max_gap;
            patience = std::min(patience.value_or(budget), budget);
        }
    const bool reboots = std::exchange(node.reboots, false);
    if (!patience) {
        node_lost(node, Liveness::kLeft, "leaving");
        if (reboots) node.away = now_;
        return;
    }
    const Duration usual = *usual_reboot(node);
    out_of_reach(node, node.name + " reboots");
    node.away = now_;
    node.expected = true;
    node.waits = std::min(*patience, kPatience * usual);
    node.hold_until = now_ + node.waits;
    dirty(node);
    node.leaves_by.reset();
    if (node.liveness == Liveness::kReady) --nodes_ready_;
    node.liveness = Liveness::kSuspect;
    node.reason = "reboots, usually back in " + format_duration(usual);
    event("node-rebooting",
          node.name + " " + node.reason + ": " + std::to_string(node.copies.size()) + " copies wait for it, at most " +
              format_duration(node.waits),
          {{"node", node.name}, {"silent_ms", (now_ - node.last_word) / milliseconds(1)}});
    const auto copies = node.copies;
    for (const auto& [copy, instance] : copies) {
        const bool current = copy.epoch == instance->current.epoch;
        set_state(*instance, current ? instance->current : instance->next, CopyState::kWaiting);
        if (current)
            set_ready(*instance, false);
        else
            instance->next.ready = false;
    }
}

// It is here with a new boot id. The same copies start there again, by the list that it gets. How long it was away an
// earlier run of the controller knew.
void Controller::State::rebooted(Node& node) {
    if (!node.away) return event("node-rebooted", node.name + " is back from its reboot", {{"node", node.name}});
    const Duration took = now_ - *std::exchange(node.away, std::nullopt);
    node.reboots_took.push_back(took / milliseconds(1) * milliseconds(1));
    if (node.reboots_took.size() > kRemembered) node.reboots_took.erase(node.reboots_took.begin());
    event("node-rebooted", node.name + " is back from its reboot after " + format_duration(node.reboots_took.back()),
          {{"node", node.name}});
}

// Since when is not stored: it is waited for as long again.
void Controller::State::load_reboot(Node& node) {
    if (node.waits <= Duration(0) || node.reboots_took.empty() || node.down()) return;
    node.expected = true;
    node.liveness = Liveness::kSuspect;
    node.reason = "reboots, usually back in " + format_duration(*usual_reboot(node));
    node.hold_until = now_ + node.waits;
    node.ask_at = kNever;
}

}  // namespace gantry::core
