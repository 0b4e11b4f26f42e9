// SPDX-License-Identifier: Apache-2.0
//
// The default policy: fewest copies, running and pending, so that a burst spreads; then most free memory.
#include <gantry/placement.hpp>

class LeastLoaded final : public gantry::PlacementPolicy {
  public:
    LeastLoaded() : PlacementPolicy({"copies", "free memory"}) {}

    Keys rank(const Question&, const Candidate& candidate) const override {
        return {candidate.copies(), -candidate.memory_free_bytes()};
    }
};

GANTRY_PLUGIN(LeastLoaded)
