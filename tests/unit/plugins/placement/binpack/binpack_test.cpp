// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

Node node(std::string name, std::uint32_t copies, std::int64_t memory_free, std::int64_t cpu_free = 4'000) {
    Node n;
    n.name = std::move(name);
    n.copies_running = copies;
    n.memory_free_bytes = memory_free;
    n.cpu_free_milli = cpu_free;
    return n;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("binpack fills one node before it begins the next") {
    FakeHost host;
    PlacementDriver policy(host.load(GANTRY_PLUGIN_FILE, Settings().size("spare", kGiB / 2).number("spare_cpu", 0.5)));

    SECTION("a node that runs something wins over an empty one") {
        CHECK(policy.order({node("a", 0, 4 * kGiB), node("b", 1, 3 * kGiB)}) == Names{"b", "a"});
    }
    SECTION("of two that run something the fuller one wins") {
        CHECK(policy.order({node("a", 1, 3 * kGiB), node("b", 1, kGiB)}) == Names{"b", "a"});
    }
    SECTION("what a node has least of decides, CPU as well as memory") {
        CHECK(policy.order({node("a", 1, 2 * kGiB, 4'000), node("b", 1, 3 * kGiB, 1'000)}) == Names{"b", "a"});
    }
    SECTION("a node whose spare memory or CPU would be used comes after an empty one") {
        const Need need{"s", 600, kGiB};
        CHECK(policy.order({node("a", 3, kGiB + 1), node("b", 0, 4 * kGiB)}, need) == Names{"b", "a"});
        CHECK(policy.order({node("a", 3, 3 * kGiB, 1'000), node("b", 0, 4 * kGiB)}, need) == Names{"b", "a"});
        CHECK(policy.order({node("a", 3, 3 * kGiB, 1'100), node("b", 0, 4 * kGiB)}, need) == Names{"a", "b"});
    }
    SECTION("where every node is too full the one with the most room wins") {
        CHECK(policy.order({node("a", 9, 10), node("b", 9, kGiB / 2), node("c", 9, -kGiB)}, {"s", 0, kGiB / 8}) ==
              Names{"b", "a", "c"});
    }
    SECTION("what memory breathes within a step changes no order") {
        CHECK(policy.order({node("a", 1, kGiB * 21 / 10), node("b", 1, kGiB * 21 / 10 - 1'000)}) == Names{"a", "b"});
        CHECK(policy.order({node("a", 1, kGiB * 21 / 10), node("b", 2, kGiB * 21 / 10 + 1'000)}) == Names{"b", "a"});
    }
    SECTION("a node that says no totals is taken for full") {
        Node odd = node("a", 1, 2 * kGiB);
        odd.cpu_total_milli = odd.memory_total_bytes = 0;
        CHECK(policy.score({odd})[0][2] == 0);
    }
    SECTION("its keys are named for explain") {
        CHECK(policy.key_names() == Names{"too full", "empty", "left %", "copies, more first"});
    }
}
