// SPDX-License-Identifier: Apache-2.0
//
// How long a node may be silent: the window adapts to how regularly it was heard (docs/detection.md).
#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::int64_t kForget = 1024;  // of it goes with every heartbeat: half of it after 710
constexpr int kSafety = 2;              // windows are so many times the greatest pause

}  // namespace

void Pace::heard(Duration pause, bool heartbeat, Instant now) {
    if (heartbeat) greatest_ -= greatest_ / kForget;
    if (pause <= greatest_) return;
    before_ = greatest_;
    greatest_ = pause;
    raised_ = now;
}

void Pace::take_back(Duration within, Instant now) {
    if (raised_ + within >= now) greatest_ = before_;
}

// A pause is worth no more than the greatest window needs: so it is known when an old one is forgotten.
void Controller::State::sign_of_life(Node& node, bool heartbeat) {
    node.pace.heard(std::min(now_ - node.heard, timing_.lost_after_max / kSafety), heartbeat, now_);
    node.heard = node.last_word = now_;
}

Duration Controller::State::window(const Node& node) const {
    return std::max(timing_.lost_after, std::min(kSafety * node.pace.greatest(), timing_.lost_after_max));
}

// As long before it is lost as without any adapting: others have that time to answer.
Instant Controller::State::suspect_at(const Node& node) const {
    return std::max(node.heard + (window(node) - (timing_.lost_after - timing_.suspect_after)), node.hold_until);
}

Instant Controller::State::lost_at(const Node& node) const {
    Instant at{};
    switch (node.quiet) {
        case Quiet::kConnected:
        case Quiet::kTimeout:
            at = node.heard + window(node);
            break;
        case Quiet::kReset:
            at = node.dropped + timing_.reset_grace;
            break;
        case Quiet::kClosed:
            at = std::max(node.dropped + timing_.reset_grace, node.heard + window(node));
            break;
        case Quiet::kLoaded:
            at = node.dropped + timing_.start_grace;
            break;
    }
    return std::max(at, node.hold_until);
}

}  // namespace gantry::core
