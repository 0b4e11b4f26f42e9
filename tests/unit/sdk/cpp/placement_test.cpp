// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/sdk/cpp/counted_new.hpp"
#include "tests/unit/sdk/cpp/entry_of.hpp"

using namespace gantry::testing;

namespace {

class Picky final : public gantry::PlacementPolicy {
  public:
    Picky() : PlacementPolicy({"zone", "cpu"}) {}
    Keys rank(const Question& question, const Candidate& candidate) const override {
        if (question.service() == "forbidden") throw gantry::Failure(gantry::Code::kDenied, "not this one");
        return {candidate.label("zone") == "a" ? 0 : 1, question.cpu_milli() - candidate.cpu_free_milli()};
    }
};

}  // namespace

TEST_CASE("a policy sees labels, need and free resources of each candidate") {
    FakeHost host;
    PlacementDriver policy(host.load(entry_of<Picky>()));
    Node near{"near"}, far{"far"}, big{"big"};
    near.labels = {{"zone", "a"}};
    big.cpu_free_milli = 9'000;
    CHECK(policy.order({far, big, near}) == std::vector<std::string>{"near", "big", "far"});
    CHECK_THROWS_WITH(policy.score({near}, {"forbidden"}), "not this one");
}

TEST_CASE("the placement call allocates nothing") {
    FakeHost host;
    Instance& instance = host.load(entry_of<Picky>());
    const auto* table = static_cast<const gantry_placement*>(instance.role_table(GANTRY_ROLE_PLACEMENT));
    std::vector<gantry_candidate> candidates(1'000);
    std::vector<std::array<std::int64_t, GANTRY_PLACEMENT_KEYS>> keys(candidates.size());
    const gantry_snapshot snapshot{sizeof(snapshot), 1'000, 1'000, 0};
    const gantry_placement_request request{sizeof(request), sizeof(gantry_candidate), {"s", 1}, 1, 1, 1, 0};
    const std::size_t before = allocations();
    const gantry_status status =
        table->score(instance.self(), &snapshot, &request, candidates.data(), candidates.size(),
                     reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data()), nullptr);
    const std::size_t after = allocations();
    CHECK(after == before);
    CHECK(status == GANTRY_OK);
}
