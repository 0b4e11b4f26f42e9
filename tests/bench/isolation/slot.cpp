// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <gantry/placement.hpp>
#include <gantry/testing/fake_host.hpp>
#include <memory>

#include "tests/bench/isolation/bench.hpp"

namespace bench {
namespace {

using namespace gantry;

constexpr double kLimit = 1.5;

// The bundled policy's own words, called without a border.
class Direct final : public PlacementPolicy {
  public:
    Direct() : PlacementPolicy({"copies", "free memory"}) {}
    Keys rank(const Question&, const Candidate& candidate) const override {
        return {candidate.copies(), -candidate.memory_free_bytes()};
    }
};

std::vector<gantry_candidate> candidates(std::size_t count) {
    std::vector<gantry_candidate> out(count);
    for (std::size_t i = 0; i < count; ++i) {
        out[i].node = {"node", 4};
        out[i].copies_running = static_cast<std::uint32_t>(i % 7);
        out[i].memory_free_bytes = static_cast<std::int64_t>(i) << 20;
    }
    return out;
}

}  // namespace

bool slot() {
    constexpr std::size_t kCount = 100;
    constexpr int kRounds = 2'000;
    testing::FakeHost host;
    testing::Instance& instance = host.load(GANTRY_PLUGINS "/placement/least-loaded.so");
    const auto& table = *static_cast<const gantry_placement*>(instance.role_table(GANTRY_ROLE_PLACEMENT));
    const auto all = candidates(kCount);
    const gantry_snapshot snapshot{sizeof(snapshot), 100, 100, 0};
    const gantry_placement_request request{sizeof(request), sizeof(gantry_candidate), {}, 0, 0, 1, 0};
    std::vector<std::array<std::int64_t, GANTRY_PLACEMENT_KEYS>> keys(kCount);
    auto* const raw = reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data());
    const auto direct = std::make_unique<Direct>();
    const PlacementPolicy* volatile policy = direct.get();  // so that the compiler does not know which it is
    const auto [border, virtual_call] = in_turns(
        [&] {
            for (int i = 0; i < kRounds; ++i)
                table.score(instance.self(), &snapshot, &request, all.data(), all.size(), raw, nullptr);
        },
        [&] {
            for (int i = 0; i < kRounds; ++i) {
                const PlacementPolicy& asked = *policy;
                const PlacementPolicy::Question question(snapshot, request);
                for (std::size_t c = 0; c < kCount; ++c) {
                    const auto ranked = asked.rank(question, PlacementPolicy::Candidate(all[c]));
                    std::memcpy(raw[c], ranked.data(), sizeof(raw[c]));
                }
            }
        });
    return show("slot call (100 candidates)", border / kRounds, "virtual calls", virtual_call / kRounds, kLimit);
}

}  // namespace bench
