// SPDX-License-Identifier: Apache-2.0
//
// Fewest copies first.
#include <gantry/placement.hpp>

class First final : public gantry::PlacementPolicy {
  public:
    First() : PlacementPolicy({"copies"}) {}
    Keys rank(const Question&, const Candidate& candidate) const override { return {candidate.copies()}; }
};

GANTRY_PLUGIN(First)
