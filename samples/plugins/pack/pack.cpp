// SPDX-License-Identifier: Apache-2.0
//
// Fills one node before it begins the next, so that the others can be switched off: prefers the node with the least
// memory left after the service has its share, as long as that is enough.
#include <gantry/placement.hpp>

class Pack final : public gantry::PlacementPolicy {
  public:
    Pack() : PlacementPolicy({"too full", "copies (more is better)", "memory left"}) {}

    void init(const gantry::Config& config) override { spare_bytes_ = config.size("spare"); }

    Keys rank(const Question& question, const Candidate& candidate) const override {
        const std::int64_t left = candidate.memory_free_bytes() - question.memory_bytes();
        return {left < spare_bytes_ ? 1 : 0, -candidate.copies(), left};
    }

  private:
    std::int64_t spare_bytes_ = 0;
};

GANTRY_PLUGIN(Pack)
