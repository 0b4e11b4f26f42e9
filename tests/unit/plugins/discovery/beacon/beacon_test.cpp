// SPDX-License-Identifier: Apache-2.0
//
// What the plugin refuses at its start; what it says to others is tested with hosts (tests/cluster/beacons.py).
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <gantry/testing/drivers.hpp>

using Catch::Matchers::Contains;
using gantry::testing::FakeHost;
using gantry::testing::Settings;

namespace {

std::string secret(const FakeHost& host, const std::string& text = "a secret of more than 16 bytes",
                   mode_t mode = 0600) {
    const std::string path = host.folder() + "/secret";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
}

}  // namespace

TEST_CASE("a secret that others may read, or that is too short, is refused with the cure") {
    FakeHost host;
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", "/nowhere/secret")),
                      Contains("/nowhere/secret") && Contains("copy the cluster's secret here"));
    CHECK_THROWS_WITH(
        host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", secret(host, "a secret of more than 16", 0644))),
        Contains("everybody on this machine may use it") && Contains("chmod 0600"));
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", secret(host, "short"))),
                      Contains("holds 5 bytes, at least 16"));
}

TEST_CASE("a name that no node can have, and too many interfaces, are refused") {
    FakeHost host;
    const std::string file = secret(host);
    for (const std::string& name : {std::string(), std::string(64, 'x'), std::string("two\nlines")}) {
        CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", file).string("node", name)),
                          Contains("node: expected a name of 1 to 63 bytes"));
    }
    CHECK_THROWS_WITH(
        host.load(GANTRY_PLUGIN_FILE,
                  Settings().string("secret_file", file).list("interfaces", std::vector<std::string>(17, "eth0"))),
        Contains("at most 16") && Contains("got 17"));
}

TEST_CASE("a search that is ended and begun again uses the same port") {
    FakeHost host;
    auto& plugin = host.load(GANTRY_PLUGIN_FILE, Settings()
                                                     .string("secret_file", secret(host))
                                                     .list("interfaces", {"none-of-this-name"})
                                                     .integer("port", 39'021));
    gantry::testing::DiscoveryDriver driver(plugin);
    plugin.start();
    driver.begin_search();
    driver.refresh();
    host.advance(std::chrono::minutes(1));
    driver.end_search();
    driver.begin_search();
    driver.end_search();
    CHECK(driver.found.empty());
    CHECK(host.logs().empty());
}
