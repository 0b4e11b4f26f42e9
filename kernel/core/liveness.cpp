// SPDX-License-Identifier: Apache-2.0
//
// When a node is suspect and when it is lost (faults.md 4).
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

// Not heard, and nobody knows of an end: a transport that stopped waiting knows no more than the clock here.
bool Controller::State::silent(const Node& node) const {
    const bool unexplained = node.quiet == Quiet::kConnected || node.quiet == Quiet::kTimeout;
    return unexplained && !node.down() && now_ >= suspect_at(node);
}

// More than half of four or more: more likely the controller's own link.
bool Controller::State::silent_together() const {
    std::size_t alive = 0, quiet = 0;
    for (const auto& [name, node] : nodes_) {
        if (node.liveness != Liveness::kReady && node.liveness != Liveness::kSuspect) continue;
        ++alive;
        quiet += silent(node);
    }
    return alive >= 4 && quiet * 2 > alive;
}

bool Controller::State::anybody_silent() const {
    return std::ranges::any_of(nodes_, [this](const auto& entry) { return silent(entry.second); });
}

// Moves of its copies wait with it, unless another node confirms that it is gone.
bool Controller::State::waits(const Node& node) const { return paused_until_ && silent(node) && !node.confirmed; }

void Controller::State::now_suspect(Node& node, std::string reason) {
    if (node.liveness == Liveness::kReady) --nodes_ready_;
    node.liveness = Liveness::kSuspect;
    node.reason = std::move(reason);
    node.answers.clear();
    node.confirmed = false;
    if (timing_.indirect) node.ask_at = std::max(now_, node.hold_until);
    event("node-suspect", node.name + ": " + node.reason, {{"node", node.name}});
}

void Controller::State::check_silence() {
    std::size_t due = 0;
    for (auto& [name, node] : nodes_) {
        if (node.liveness == Liveness::kReady && now_ >= suspect_at(node))
            now_suspect(node, "silent for " + format_duration(now_ - node.heard));
        if (!node.via.empty() && now_ >= suspect_at(node)) {
            end_routes(node);
            on(PeerDown{node.peer, Down::kTimeout});
        }
        if (!node.down() && now_ >= node.ask_at) ask_about(node);
        due += node.liveness == Liveness::kSuspect && silent(node) && !node.confirmed && now_ >= lost_at(node);
    }
    const bool together = silent_together();
    if (together && due != 0 && !paused_until_) {
        paused_until_ = now_ + timing_.mass_pause;
        event("moves-paused",
              "more than half of the nodes fell silent together: this controller's own link is more likely; they are "
              "taken for lost in " +
                  format_duration(timing_.mass_pause) +
                  ", when another node confirms it, or by gantry node confirm-lost");
    } else if (paused_until_ && (!anybody_silent() || now_ >= *paused_until_)) {
        event("moves-resumed",
              anybody_silent() ? "nodes still silent are taken for lost" : "no node is silent any more");
        paused_until_.reset();
        // The pause of this silence is used up: those are lost together.
        for (auto& [name, node] : nodes_)
            if (silent(node) && now_ >= lost_at(node)) node_lost(node, Liveness::kLost, "silence");
    }
    for (auto& [name, node] : nodes_) {
        if (node.down() || now_ < lost_at(node)) continue;
        if (waits(node)) continue;
        const char* cause = node.expected                  ? "not back from its reboot"
                            : node.quiet == Quiet::kReset  ? "reset"
                            : node.quiet == Quiet::kClosed ? "closed"
                            : node.quiet == Quiet::kLoaded ? "not back after the controller's start"
                                                           : "silence";
        node_lost(node, Liveness::kLost, cause);
    }
}

void Controller::State::node_lost(Node& node, Liveness becomes, const std::string& cause) {
    if (node.liveness == Liveness::kReady) --nodes_ready_;
    node.liveness = becomes;
    node.reason = cause + told_by_others(node);
    node.reported = false;
    node.ask_at = kNever;
    json::object fields{{"node", node.name}, {"cause", cause}};
    if (node.last_word != Instant()) fields["silent_ms"] = (now_ - node.last_word) / milliseconds(1);
    event(becomes == Liveness::kLeft ? "node-left" : "node-lost",
          node.name + (becomes == Liveness::kLeft ? " leaves" : " is lost: " + node.reason) + ", " +
              std::to_string(node.copies.size()) + " copies",
          std::move(fields));
    out_of_reach(node, node.name + (becomes == Liveness::kLeft ? " left" : " was lost: " + node.reason));
    copies_lost(node, cause, cause == "new boot id");
    // What it had not yet confirmed will not be waited for.
    for (const auto& [copy, stale] : node.stale) {
        Instance* instance = find(copy.instance);
        if (instance && instance->stopping && instance->moving_from == node.name) stop_confirmed(*instance);
    }
    // A connection that went quiet is worth nothing; the node says hello again when it can.
    if (becomes == Liveness::kLost && node.peer != 0) {
        if (node.via.empty()) routes_down(node);
        node.via.clear();
        peers_.erase(node.peer);
        close(node.peer, cause);
        node.peer = 0;
        node.quiet = Quiet::kClosed;
    }
    node.hold_until = {};
    node.leaves_by.reset();
    node.expected = false;
    moves_dirty_ = true;
    touched_.insert(&node);
    dirty(node);
    dirty_list(node);
}

void Controller::State::copies_lost(Node& node, const std::string& cause, bool rebooted) {
    const auto copies = node.copies;
    for (const auto& [copy, instance] : copies) {
        event("lost", instance->text() + " lost with " + node.name + ": " + cause,
              {{"service", instance->service->name},
               {"instance", instance->text()},
               {"node", node.name},
               {"epoch", copy.epoch}});
        std::erase_if(instance->lost_on,
                      [&](const auto& held) { return held.first == node.name || held.second <= now_; });
        instance->lost_on.emplace_back(node.name, now_ + timing_.return_hold);
        if (copy.epoch == instance->next.epoch) {
            detach(*instance, instance->next, false, rebooted);
            end_move(*instance);
        } else {
            detach(*instance, instance->current, false, rebooted);
            // Under forbid only until its lease is over: then the move is certain.
            instance->may_return = !rebooted && (!instance->service->forbid || barred(*instance));
        }
        wants_place(*instance);
    }
}

// Nothing of an old boot runs any more.
void Controller::State::forget_stale(Node& node) {
    while (!node.stale.empty()) stale_gone(node, CopyId(node.stale.begin()->first), false);
}

void Controller::State::on(const ApiConfirmLost& input) {
    std::vector<Node*> nodes;
    for (const auto& name : input.nodes) {
        const auto at = nodes_.find(name);
        if (at == nodes_.end()) return reply(input.request, fail(Code::kNotFound, "there is no node " + name, "nodes"));
        if (at->second.liveness == Liveness::kReady || at->second.liveness == Liveness::kNew)
            return reply(input.request, fail(Code::kConflict,
                                             name + " is " + std::string(liveness_name(at->second.liveness)) +
                                                 ": only a silent node can be confirmed lost",
                                             "nodes"));
        if (!at->second.down()) nodes.push_back(&at->second);
    }
    if (input.nodes.empty())
        for (auto& [name, node] : nodes_)
            if (node.liveness == Liveness::kSuspect && silent(node)) nodes.push_back(&node);
    json::array lost;
    for (Node* node : nodes) {
        lost.emplace_back(node->name);
        node_lost(*node, Liveness::kLost, "confirmed by the operator");
    }
    reply(input.request, json::object{{"lost", std::move(lost)}});
}

}  // namespace gantry::core
