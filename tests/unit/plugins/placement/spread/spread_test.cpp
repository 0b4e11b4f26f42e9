// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

Node node(std::string name, std::uint32_t of_service, std::uint32_t copies, std::int64_t cpu_total = 4'000) {
    Node n;
    n.name = std::move(name);
    n.copies_of_service = of_service;
    n.copies_running = copies;
    n.cpu_total_milli = n.cpu_free_milli = cpu_total;
    return n;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("spread keeps the instances of a service apart") {
    FakeHost host;
    PlacementDriver policy(host.load(GANTRY_PLUGIN_FILE));

    SECTION("a node without the service wins whatever else it runs") {
        CHECK(policy.order({node("a", 1, 1), node("b", 0, 9)}) == Names{"b", "a"});
    }
    SECTION("then copies count for the size of the node") {
        CHECK(policy.order({node("a", 0, 2, 4'000), node("b", 0, 3, 8'000)}) == Names{"b", "a"});
        CHECK(policy.order({node("a", 0, 1, 4'000), node("b", 0, 3, 8'000)}) == Names{"a", "b"});
    }
    SECTION("then the smaller declared share of CPU, then the more free memory") {
        Node busy = node("a", 0, 1), idle = node("b", 0, 1), roomy = node("c", 0, 1);
        busy.cpu_free_milli = 1'000;
        roomy.memory_free_bytes += 1;
        CHECK(policy.order({busy, idle, roomy}) == Names{"c", "b", "a"});
    }
    SECTION("a node that says no cores is no reason to divide by them") {
        CHECK(policy.score({node("a", 0, 1, 0)})[0][1] == 100'000);
    }
    SECTION("its keys are named for explain") {
        CHECK(policy.key_names() == Names{"of this service", "copies per 100 cores", "declared CPU %", "free memory"});
    }
}

TEST_CASE("spread gives every node the same number where size is not to count") {
    FakeHost host;
    PlacementDriver policy(host.load(GANTRY_PLUGIN_FILE, Settings().boolean("by_size", false)));
    CHECK(policy.order({node("a", 0, 2, 4'000), node("b", 0, 3, 8'000)}) == Names{"a", "b"});
    CHECK(policy.score({node("b", 0, 3, 8'000)})[0][1] == 3);
}
