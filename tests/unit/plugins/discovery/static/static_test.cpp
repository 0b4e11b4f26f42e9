// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using Catch::Matchers::Contains;
using gantry::testing::DiscoveryDriver;
using gantry::testing::FakeHost;
using gantry::testing::Settings;

TEST_CASE("what is configured is found once and again at every refresh, for ever") {
    FakeHost host;
    auto& plugin = host.load(
        GANTRY_PLUGIN_FILE,
        Settings().list("controllers", {"10.0.0.1:3900", "[fd00::1]:3900"}).list("nodes", {"SNode1", "陀螺仪"}));
    DiscoveryDriver driver(plugin);
    plugin.start();
    driver.begin_search();
    REQUIRE(host.run_until([&] { return driver.found.size() == 4; }));
    CHECK(driver.found[0].controller);
    CHECK(driver.found[0].address == "10.0.0.1:3900");
    CHECK(driver.found[0].ttl == gantry::Duration::zero());
    CHECK(driver.found[1].address == "[fd00::1]:3900");
    CHECK_FALSE(driver.found[2].controller);
    CHECK(driver.found[2].name == "SNode1");
    CHECK(driver.found[3].name == "陀螺仪");
    driver.refresh();
    CHECK(host.run_until([&] { return driver.found.size() == 8; }));
    CHECK(driver.gone.empty());
}

TEST_CASE("an empty table finds nothing") {
    FakeHost host;
    auto& plugin = host.load(GANTRY_PLUGIN_FILE);
    DiscoveryDriver driver(plugin);
    plugin.start();
    driver.begin_search();
    host.turn();
    CHECK(driver.found.empty());
}

TEST_CASE("an address that is none is refused with its place and what was expected") {
    FakeHost host;
    for (const char* address :
         {"", "gw1:3900", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:39x", "10.0.0:1",
          "fd00::1:3900", "[fd00::1]", "[fd00::1:3900", "[10.0.0.1]:3900", ":3900", "[]:1", "[:1"}) {
        INFO(address);
        CHECK_THROWS_WITH(
            host.load(GANTRY_PLUGIN_FILE, Settings().list("controllers", {"10.0.0.1:3900", address})),
            Contains("controllers[1]: expected IP:PORT") && Contains(std::string("got \"") + address + "\""));
    }
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().list("nodes", {""})),
                      Contains("nodes[0]: expected a name"));
}
