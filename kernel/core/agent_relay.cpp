// SPDX-License-Identifier: Apache-2.0
//
// The controller does not hear a node and asks this one: it dials the other and passes on what both say. It understands
// nothing of that, and keeps nothing: all of it ends with the connection to the controller.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/core/agent_state.hpp"

namespace gantry::core {

void Agent::State::reach(PeerId from, const Ask& message) {
    if (from != current_ || peers_[from].through_node || relays_.contains(message.route)) return;
    if (relays_.size() >= limits::kRelays)
        return send(Relayed{identity(),
                            message.route,
                            {},
                            Ended::kFailed,
                            "it passes on for " + std::to_string(relays_.size()) + " nodes already"});
    relays_[message.route] = 0;
    out_.emplace_back(Reach{message.route, message.address, milliseconds(message.within_ms)});
}

// Nothing is said to the other one: who is dialled says hello.
void Agent::State::on(const Reached& input) {
    const auto at = relays_.find(input.route);
    if (at == relays_.end()) {
        if (input.peer) out_.emplace_back(HangUp{*input.peer});
        return;
    }
    if (input.peer) {
        at->second = *input.peer;
        return;
    }
    const Code code = input.peer.error().code;
    const Ended how = code == Code::kDeadline      ? Ended::kSilent
                      : code == Code::kUnavailable ? Ended::kRefused
                                                   : Ended::kFailed;
    relays_.erase(at);
    send(Relayed{identity(), input.route, {}, how, one_line(input.peer.error().message, kReasonMost)});
}

void Agent::State::on(const FromNode& input) {
    for (const auto& [route, peer] : relays_)
        if (peer == input.peer) return send(Relayed{identity(), route, input.message, Ended::kNot, {}});
}

void Agent::State::on(const NodeGone& input) {
    const auto at =
        std::find_if(relays_.begin(), relays_.end(), [&](const auto& relay) { return relay.second == input.peer; });
    if (at == relays_.end()) return;
    const auto route = at->first;
    relays_.erase(at);
    send(Relayed{identity(), route, {}, input.how, {}});
}

void Agent::State::forward(const Forward& message) {
    const auto at = relays_.find(message.route);
    if (at == relays_.end()) return;
    const PeerId peer = at->second;
    if (message.end) relays_.erase(at);
    if (peer == 0) return;
    if (message.end)
        out_.emplace_back(HangUp{peer});
    else
        out_.emplace_back(PassOn{peer, message.message});
}

void Agent::State::end_relays() {
    for (const auto& [route, peer] : std::exchange(relays_, {}))
        if (peer != 0) out_.emplace_back(HangUp{peer});
}

}  // namespace gantry::core
