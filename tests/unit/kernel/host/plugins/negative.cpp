// SPDX-License-Identifier: Apache-2.0
//
// Prefers by the label "rank"; refuses the service "forbidden".
#include <charconv>
#include <gantry/placement.hpp>

class Negative final : public gantry::PlacementPolicy {
  public:
    Negative() : PlacementPolicy({"rank", "copies"}) {}
    Keys rank(const Question& question, const Candidate& c) const override {
        if (question.service() == "forbidden") throw gantry::Failure(gantry::Code::kDenied, "not this service");
        std::int64_t rank = 0;
        const std::string_view text = c.label("rank");
        std::from_chars(text.data(), text.data() + text.size(), rank);
        return {-rank, c.copies()};
    }
};

GANTRY_PLUGIN(Negative)
