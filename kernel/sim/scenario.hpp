// SPDX-License-Identifier: Apache-2.0
//
// Scenario: a story told in TOML: nodes, services, what befalls them when, and what is expected (docs/simulation.md has
// the keys). Only what it says happens; the luck of delays comes from the seed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kernel/sim/world.hpp"

namespace gantry::sim {

struct Scenario {
    struct Deploy {
        Instant at;
        json::value document;
    };
    struct Fault {
        Instant at;
        std::string what;
        std::vector<std::string> nodes;
        Duration lasts{}, by{};
        std::string copy;
    };
    struct Expect {
        std::optional<Instant> at;  // none: when all is over
        std::string service, node, event, liveness;
        std::optional<std::uint64_t> ready, copies, at_least, at_most;
        std::string where;  // in the file
    };

    std::string about;
    std::uint64_t seed = 1;
    int nodes = 4;
    Duration lasts = seconds(60);
    Faults faults;  // rates, all the time
    core::Timing timing;
    std::vector<Deploy> deploys;
    std::vector<Fault> happens;
    std::vector<Expect> expects;

    // Errors: kNotFound, kInvalid with file:line:column and what was perhaps meant.
    static Result<Scenario> read(const std::filesystem::path& file);
    Setup setup() const;
    // Lets the story happen in `world`; before it is played.
    void tell(World& world) const;
    // When all is over: what was not as expected is a breach.
    void judge(World& world) const;

  private:
    static void befall(World& world, const Fault& fault);
    static void check(World& world, const Expect& expect);
};

}  // namespace gantry::sim
