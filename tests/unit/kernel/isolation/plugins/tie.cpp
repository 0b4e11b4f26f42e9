// SPDX-License-Identifier: Apache-2.0
//
// A policy that tells its process in the second key; the service "fall" ends it.
#include <unistd.h>

#include <cstdlib>
#include <gantry/placement.hpp>

class Tie final : public gantry::PlacementPolicy {
  public:
    Tie() : PlacementPolicy({"copies", "process"}) {}
    Keys rank(const Question& question, const Candidate& candidate) const override {
        if (question.service() == "fall") std::abort();
        return {candidate.copies(), ::getpid()};
    }
};

GANTRY_PLUGIN(Tie)
