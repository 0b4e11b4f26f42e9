// SPDX-License-Identifier: Apache-2.0
//
// Fills one node before it begins the next: best fit by whichever of CPU and memory a node has least of.
#include <algorithm>
#include <cmath>
#include <gantry/placement.hpp>

class Binpack final : public gantry::PlacementPolicy {
  public:
    Binpack() : PlacementPolicy({"too full", "empty", "left %", "copies, more first"}) {}

    void init(const gantry::Config& config) override {
        spare_bytes_ = config.size("spare");
        spare_milli_ = std::llround(config.number("spare_cpu") * 1000);
    }

    Keys rank(const Question& question, const Candidate& node) const override {
        const std::int64_t memory = node.memory_free_bytes() - question.memory_bytes();
        const std::int64_t cpu = node.cpu_free_milli() - question.cpu_milli();
        const bool too_full = memory < spare_bytes_ || cpu < spare_milli_;
        // Of a node that is too full the most room is best, of the others the least.
        const std::int64_t left =
            std::min(percent(memory, node.memory_total_bytes()), percent(cpu, node.cpu_total_milli()));
        return {too_full, node.copies() == 0, too_full ? -left : left, -node.copies()};
    }

  private:
    // In steps: memory is measured, and what a neighbour breathes is no reason to begin another node.
    static std::int64_t percent(std::int64_t left, std::int64_t total) {
        constexpr std::int64_t kStep = 5;
        if (total <= 0) return 0;
        const auto share = static_cast<std::int64_t>(100.0 * static_cast<double>(left) / static_cast<double>(total));
        return std::clamp<std::int64_t>(share, -100, 100) / kStep * kStep;
    }

    std::int64_t spare_bytes_ = 0, spare_milli_ = 0;
};

GANTRY_PLUGIN(Binpack)
