// SPDX-License-Identifier: Apache-2.0
//
// A policy that tells its process in the second key; the service "fall" ends it. From "tick" on it has a timer, which
// no policy needs; the second key is then how often that rang.
#include <unistd.h>

#include <cstdlib>
#include <gantry/placement.hpp>
#include <optional>

class Tie final : public gantry::PlacementPolicy {
  public:
    Tie() : PlacementPolicy({"copies", "process"}) {}
    Keys rank(const Question& question, const Candidate& candidate) const override {
        if (question.service() == "fall") std::abort();
        if (question.service() == "tick" && !ticks_) const_cast<Tie*>(this)->tick();
        return {candidate.copies(), ticks_ ? *ticks_ : ::getpid()};
    }

  private:
    void tick() {
        constexpr auto kEach = gantry::Duration(1'000'000);
        ticks_ = 0;
        host().timer(
            kEach, [this] { ++*ticks_; }, kEach);
    }

    std::optional<std::int64_t> ticks_;
};

GANTRY_PLUGIN(Tie)
