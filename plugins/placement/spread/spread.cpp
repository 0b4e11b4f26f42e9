// SPDX-License-Identifier: Apache-2.0
//
// Keeps the instances of a service apart, so that one node takes few of them along when it fails; then copies of all
// services in proportion to the size of nodes.
#include <algorithm>
#include <gantry/placement.hpp>

class Spread final : public gantry::PlacementPolicy {
  public:
    Spread() : PlacementPolicy({"of this service", "copies per 100 cores", "declared CPU %", "free memory"}) {}

    void init(const gantry::Config& config) override { by_size_ = config.boolean("by_size"); }

    Keys rank(const Question&, const Candidate& node) const override {
        constexpr std::int64_t kCores = 100'000;  // thousandths
        const std::int64_t cores = std::max<std::int64_t>(node.cpu_total_milli(), 1);
        const std::int64_t copies = by_size_ ? node.copies() * kCores / cores : node.copies();
        const std::int64_t declared = 100 * (node.cpu_total_milli() - node.cpu_free_milli()) / cores;
        return {node.copies_of_service(), copies, declared, -node.memory_free_bytes()};
    }

  private:
    bool by_size_ = true;
};

GANTRY_PLUGIN(Spread)
