// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using namespace gantry::testing;

namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

// Half of its CPU declared, a quarter of its memory in use, five copies, no image, one of two labels.
Node busy() {
    Node n;
    n.name = "busy";
    n.cpu_free_milli = 2'000;
    n.memory_free_bytes = 3 * kGiB;
    n.copies_running = 4;
    n.copies_pending = 1;
    n.has_image = false;
    n.labels = {{"disk", "ssd"}, {"site", "press-4"}};
    return n;
}

Node idle() {
    Node n;
    n.name = "idle";
    return n;
}

std::int64_t points(const Settings& settings, const Node& node) {
    FakeHost host;
    return PlacementDriver(host.load(GANTRY_PLUGIN_FILE, settings)).score({node})[0][0];
}

Settings only(const std::string& term, std::int64_t weight) {
    Settings settings;
    for (const char* each : {"cpu", "memory", "instances", "image", "label"})
        settings.integer(each, each == term ? weight : 0);
    return settings.integer("full", 20).list("prefer", {"site=press-3", "disk=ssd"});
}

}  // namespace

TEST_CASE("each term of weighted counts one fact, and an idle node has none") {
    CHECK(points(only("cpu", 40), busy()) == 40 * 50);
    CHECK(points(only("memory", 40), busy()) == 40 * 25);
    CHECK(points(only("instances", 40), busy()) == 40 * 25);
    CHECK(points(only("image", 40), busy()) == 40 * 100);
    CHECK(points(only("label", 40), busy()) == -40 * 50);
    for (const char* term : {"cpu", "memory", "instances", "image", "label"})
        CHECK(points(only(term, 40), idle()) == 0);
}

TEST_CASE("weighted is the sum of its terms") {
    Settings all;
    all.integer("cpu", 10).integer("memory", 20).integer("instances", 30).integer("image", 40).integer("label", 50);
    all.integer("full", 20).list("prefer", {"site=press-3", "disk=ssd"});
    CHECK(points(all, busy()) == 10 * 50 + 20 * 25 + 30 * 25 + 40 * 100 - 50 * 50);
}

TEST_CASE("weights change which node weighted prefers") {
    Node few = idle(), roomy = idle();
    few.name = "few", few.memory_free_bytes = kGiB, few.copies_running = 1;
    roomy.name = "roomy", roomy.copies_running = 8;
    FakeHost host;
    PlacementDriver by_copies(host.load(GANTRY_PLUGIN_FILE, only("instances", 10)));
    PlacementDriver by_memory(host.load(GANTRY_PLUGIN_FILE, only("memory", 10)));
    using Names = std::vector<std::string>;
    CHECK(by_copies.order({few, roomy}) == Names{"few", "roomy"});
    CHECK(by_memory.order({few, roomy}) == Names{"roomy", "few"});
}

TEST_CASE("weighted takes what is beyond the whole into account, up to twice it") {
    Node over = busy();
    over.cpu_free_milli = -2'000;
    over.memory_free_bytes = -40 * kGiB;
    over.copies_running = 39;
    CHECK(points(only("cpu", 1), over) == 150);
    CHECK(points(only("memory", 1), over) == 200);
    CHECK(points(only("instances", 1), over) == 200);
    over.cpu_total_milli = 0;
    CHECK(points(only("cpu", 1), over) == 100);
}

TEST_CASE("weighted refuses a wish that is no label and value") {
    for (const char* wish : {"site", "=press-3", "site=", ""}) {
        FakeHost host;
        try {
            host.load(GANTRY_PLUGIN_FILE, Settings().list("prefer", {"disk=ssd", wish}));
            FAIL("it took " << wish);
        } catch (const gantry::Failure& failure) {
            CHECK(std::string(failure.what()).find("expected \"label=value\", got \"" + std::string(wish) + "\"") !=
                  std::string::npos);
        }
    }
}
