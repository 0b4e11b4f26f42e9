// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

Node node(std::string name, std::uint32_t running, std::uint32_t pending, std::int64_t memory_free) {
    Node n;
    n.name = std::move(name);
    n.copies_running = running;
    n.copies_pending = pending;
    n.memory_free_bytes = memory_free;
    return n;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("least-loaded prefers fewest copies, then most free memory") {
    FakeHost host;
    PlacementDriver policy(host.load(GANTRY_PLUGIN_FILE));

    SECTION("a node with fewer copies wins whatever its memory") {
        CHECK(policy.order({node("a", 2, 0, 900), node("b", 1, 0, 100)}) == Names{"b", "a"});
    }
    SECTION("pending copies count like running ones") {
        CHECK(policy.order({node("a", 0, 3, 900), node("b", 2, 0, 100)}) == Names{"b", "a"});
    }
    SECTION("equal copies are decided by free memory, also when it is negative") {
        CHECK(policy.order({node("a", 1, 0, -5), node("b", 0, 1, 10), node("c", 1, 0, 11)}) == Names{"c", "b", "a"});
    }
    SECTION("a full tie goes by name and not by position") {
        CHECK(policy.order({node("b", 1, 0, 7), node("a", 1, 0, 7)}) == Names{"a", "b"});
    }
    SECTION("its keys are named for explain") { CHECK(policy.key_names() == Names{"copies", "free memory"}); }
}
