// Prefers nodes that carry a label, then those with the fewest copies of the service, then those with the fewest
// copies.
#include <gantry/placement.hpp>

class Policy final : public gantry::PlacementPolicy {
  public:
    // What the keys mean, for `gantry explain`.
    Policy() : PlacementPolicy({"without the label", "copies of the service", "copies"}) {}

    void init(const gantry::Config& config) override {
        label_ = config.string("label");
        value_ = config.string("value");
    }

    // Smaller wins, the first key before the others. Pure: no clock, no file, no memory between calls.
    Keys rank(const Question&, const Candidate& candidate) const override {
        const std::string_view value = candidate.label(label_);
        const bool preferred = value_.empty() ? !value.empty() : value == value_;
        return {preferred ? 0 : 1, candidate.copies_of_service(), candidate.copies()};
    }

  private:
    std::string label_, value_;
};

GANTRY_PLUGIN(Policy)
