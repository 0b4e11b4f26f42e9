// SPDX-License-Identifier: Apache-2.0
//
// A policy of SDK 1.0: every type of configuration, every fact of a candidate, a question it refuses.
#define GANTRY_PLUGIN_ID "org.gantry.museum.placement"
#define GANTRY_PLUGIN_VERSION "1.0.0"
#define GANTRY_PLUGIN_ROLE "placement/1"
#include <algorithm>
#include <gantry/placement.hpp>

class Exhibit final : public gantry::PlacementPolicy {
  public:
    Exhibit() : PlacementPolicy({"avoided", "not preferred", "load", "free memory"}) {}

    void init(const gantry::Config& config) override {
        label_ = config.string("label");
        bias_ = config.integer("bias");
        weight_ = config.number("weight");
        spread_ = config.boolean("spread");
        keep_free_ = config.size("keep_free");
        avoid_ = config.list("avoid");
        if (config.duration("settle") != std::chrono::milliseconds(1'500) || config.given("settle") ||
            config.has("absent") || config.name().empty() || config.state_dir().front() != '/') {
            throw gantry::Failure(gantry::Code::kInvalid, "the configuration is not what SDK 1.0 promised");
        }
    }

    Keys rank(const Question& question, const Candidate& c) const override {
        if (question.service() == "refused") throw gantry::Failure(gantry::Code::kUnavailable, "told to refuse");
        const bool avoided = std::ranges::find(avoid_, c.node()) != avoid_.end();
        const std::int64_t copies = spread_ ? c.copies() : c.copies_of_service();
        const std::int64_t idle = c.has_image() ? c.cpu_free_milli() * 100 / c.cpu_total_milli() : 0;
        const auto load = static_cast<std::int64_t>(weight_ * static_cast<double>(copies)) + bias_ - idle;
        return {avoided, c.label(label_) != "yes", load,
                keep_free_ + question.memory_bytes() - std::min(c.memory_free_bytes(), c.memory_total_bytes())};
    }

  private:
    std::string label_;
    std::int64_t bias_ = 0, keep_free_ = 0;
    double weight_ = 0;
    bool spread_ = false;
    std::vector<std::string> avoid_;
};

GANTRY_PLUGIN(Exhibit)
