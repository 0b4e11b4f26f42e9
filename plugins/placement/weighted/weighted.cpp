// SPDX-License-Identifier: Apache-2.0
//
// A sum of weighted terms, in hundredths of a point. Each term looks at one fact alone and is 0 for an idle node that
// has the image and no labels: that is how `gantry explain` finds the terms again in the sum.
#include <algorithm>
#include <gantry/placement.hpp>
#include <utility>
#include <vector>

class Weighted final : public gantry::PlacementPolicy {
  public:
    Weighted() : PlacementPolicy({"points, in hundredths"}) {}

    void init(const gantry::Config& config) override {
        cpu_ = config.integer("cpu");
        memory_ = config.integer("memory");
        instances_ = config.integer("instances");
        full_ = config.integer("full");
        image_ = config.integer("image");
        label_ = config.integer("label");
        for (const std::string& wish : config.list("prefer")) {
            const std::size_t at = wish.find('=');
            if (at == 0 || at == std::string::npos || at + 1 == wish.size())
                throw gantry::Failure(gantry::Code::kInvalid, "prefer: expected \"label=value\", got \"" + wish + "\"");
            prefer_.emplace_back(wish.substr(0, at), wish.substr(at + 1));
        }
    }

    Keys rank(const Question&, const Candidate& node) const override {
        return {cpu_ * used(node.cpu_free_milli(), node.cpu_total_milli()) +
                memory_ * used(node.memory_free_bytes(), node.memory_total_bytes()) +
                instances_ * kHundred * node.copies() / full_ + (node.has_image() ? 0 : image_ * kHundred) -
                label_ * agreement(node)};
    }

  private:
    static constexpr std::int64_t kHundred = 100;

    // Percent, in steps: memory is measured, and what a neighbour breathes moves nobody.
    static std::int64_t used(std::int64_t free, std::int64_t total) {
        constexpr std::int64_t kStep = 5;
        if (total <= 0) return kHundred;
        const double share = 1 - static_cast<double>(std::min(free, total)) / static_cast<double>(total);
        return static_cast<std::int64_t>(std::min(share, 2.0) * kHundred) / kStep * kStep;
    }

    // Percent of the wishes that the node fulfils.
    std::int64_t agreement(const Candidate& node) const {
        if (prefer_.empty()) return 0;
        const auto has = [&](const auto& wish) { return node.label(wish.first) == wish.second; };
        return kHundred * std::count_if(prefer_.begin(), prefer_.end(), has) /
               static_cast<std::int64_t>(prefer_.size());
    }

    std::int64_t cpu_ = 0, memory_ = 0, instances_ = 0, full_ = 1, image_ = 0, label_ = 0;
    std::vector<std::pair<std::string, std::string>> prefer_;
};

GANTRY_PLUGIN(Weighted)
