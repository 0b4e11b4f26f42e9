// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/commit_gate.hpp"

#include <map>

namespace gantry::core {

void CommitGate::add(Effects turn) {
    turn.ranks.clear();
    const bool needs_commit = !turn.writes.empty();
    if (!needs_commit && turn.acts.empty()) return;
    turns_.push_back({std::move(turn), needs_commit});
}

std::optional<CommitGate::Commit> CommitGate::begin() {
    if (in_flight_ != 0) return std::nullopt;
    while (durable_ < turns_.size() && !turns_[durable_].needs_commit) ++durable_;
    if (durable_ == turns_.size()) return std::nullopt;

    const bool asked_for = turns_[durable_].effects.api_change;
    std::map<std::string, std::optional<std::string>> last;
    std::size_t end = durable_;
    for (; end < turns_.size(); ++end) {
        const Turn& turn = turns_[end];
        // What a person asked for goes alone: if it does not fit on the disk, only it is refused.
        if (turn.needs_commit && turn.effects.api_change && end != durable_) break;
        if (turn.needs_commit && asked_for && end != durable_) break;
#ifdef GANTRY_BUG_FIRST_WRITE_WINS
        for (const auto& write : turn.effects.writes) last.try_emplace(write.key, write.value);
#else
        for (const auto& write : turn.effects.writes) last[write.key] = write.value;
#endif
    }
    in_flight_ = end - durable_;
    Commit commit;
    commit.use_reserve = !asked_for;
    commit.writes.reserve(last.size());
    for (auto& [key, value] : last) commit.writes.push_back({key, std::move(value)});
    return commit;
}

std::vector<Effect> CommitGate::release() {
#ifdef GANTRY_BUG_ACT_BEFORE_COMMIT
    std::vector<Effect> early;
    for (auto& turn : turns_) {
        for (auto& act : turn.effects.acts) early.push_back(std::move(act));
        turn.effects.acts.clear();
    }
    return early;
#else
    if (in_flight_ == 0)
        while (durable_ < turns_.size() && !turns_[durable_].needs_commit) ++durable_;
    std::vector<Effect> acts;
    for (; durable_ > 0; --durable_) {
        for (auto& act : turns_.front().effects.acts) acts.push_back(std::move(act));
        turns_.pop_front();
    }
    return acts;
#endif
}

void CommitGate::committed() {
    durable_ += in_flight_;
    in_flight_ = 0;
}

std::vector<RequestId> CommitGate::failed() {
    std::vector<RequestId> waiting;
    while (turns_.size() > durable_) {
        for (const auto& act : turns_[durable_].effects.acts)
            if (const auto* reply = std::get_if<Reply>(&act)) waiting.push_back(reply->request);
        turns_.erase(turns_.begin() + static_cast<std::ptrdiff_t>(durable_));
    }
    in_flight_ = 0;
    return waiting;
}

bool CommitGate::idle() const { return turns_.empty(); }

}  // namespace gantry::core
