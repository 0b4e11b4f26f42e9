// SPDX-License-Identifier: Apache-2.0
//
// Thousands of random histories of a simulated world. GANTRY_SEED=n repeats one, GANTRY_HISTORIES=n sets their number,
// GANTRY_TELL=1 prints the events.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/unit/kernel/core/controller_world.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

constexpr std::uint64_t kHistories = 2'000;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

TEST_CASE("whatever happens, the invariants hold, and when faults stop desired equals actual") {
    const std::uint64_t only = from_environment("GANTRY_SEED", 0);
    const std::uint64_t histories = only ? 1 : from_environment("GANTRY_HISTORIES", kHistories);
    std::size_t commits = 0, placements = 0, losses = 0, moves = 0, gaps = 0, starts = 0;
    for (std::uint64_t i = 0; i < histories; ++i) {
        const std::uint64_t seed = only ? only : i + 1;
        World world(seed, 2 + static_cast<int>(seed % 4));
        world.chaos(seconds(10 + static_cast<int>(seed % 11)));
        if (world.breach.empty()) world.settle(seconds(240));
        commits += world.commits;
        placements += world.placements;
        losses += world.losses;
        moves += world.moves;
        gaps += world.gaps;
        starts += world.controller_starts;
        INFO("seed " << seed << " (repeat with GANTRY_SEED=" << seed << ")");
        INFO(world.breach);
        REQUIRE(world.breach.empty());
    }
    WARN(histories << " histories: " << commits << " commits, " << placements << " placements, " << losses
                   << " copies lost, " << moves << " planned moves, " << gaps << " with a gap, " << starts
                   << " starts of the controller");
    if (!only) {
        // The histories are worth something only if they contain what they are about.
        CHECK(placements > histories);
        CHECK(losses > histories / 4);
        CHECK(moves > histories / 4);
        CHECK(gaps > histories / 100);
        CHECK(starts > histories);
    }
}
