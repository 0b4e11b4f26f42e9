// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/plugins/store/sqlite/temporary_folder.hpp"

using Catch::Matchers::Contains;
using gantry::Code;
using gantry::testing::FakeHost;
using gantry::testing::Settings;
using gantry::testing::StoreDriver;

namespace {
Settings on(const std::string& path) { return Settings().string("path", path).size("reserve", 0); }
}  // namespace

TEST_CASE("the plugin commits, loads and finds everything again after a restart") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    FakeHost host;
    {
        auto& plugin = host.load(GANTRY_PLUGIN_FILE, on(path));
        plugin.start();
        StoreDriver store(plugin);
        const auto first = store.commit({{{"node/a", "1", gantry::kRevisionNone, false}}, false}).wait();
        REQUIRE(first.ok());
        CHECK(first.result.revision == 1);
        const auto conflict = store.commit({{{"node/a", "2", gantry::kRevisionNone, false}}, false}).wait();
        CHECK(conflict.code == Code::kConflict);
        CHECK_THAT(conflict.text, Contains("has revision 1"));
        CHECK(store.elect("leader", std::chrono::seconds(1)).wait().code == Code::kUnsupported);
        plugin.stop();
        plugin.destroy();
    }
    auto& plugin = host.load(GANTRY_PLUGIN_FILE, on(path));
    plugin.start();
    StoreDriver store(plugin);
    const auto all = store.load("node/").wait();
    REQUIRE(all.ok());
    REQUIRE(all.result.entries.size() == 1);
    CHECK(all.result.entries[0].value == "1");
    CHECK(all.result.revision == 1);
}

TEST_CASE("what is queued when the plugin stops is still written") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    FakeHost host;
    auto& plugin = host.load(GANTRY_PLUGIN_FILE, on(path));
    plugin.start();
    StoreDriver store(plugin);
    for (int i = 0; i < 100; ++i) store.commit({{{std::to_string(i), "v", gantry::kRevisionAny, false}}, false});
    plugin.stop();
    plugin.destroy();
    auto& again = host.load(GANTRY_PLUGIN_FILE, on(path));
    again.start();
    CHECK(StoreDriver(again).load("").wait().result.entries.size() == 100);
}

TEST_CASE("a file that must not be opened keeps the plugin from starting and says why") {
    const TemporaryFolder folder;
    FakeHost host;
    write(folder / "text", "no database at all");
    auto& damaged = host.load(GANTRY_PLUGIN_FILE, on(folder / "text"));
    CHECK_THROWS_WITH(damaged.start(), Contains("damaged or no SQLite database") && Contains("left untouched"));
    CHECK(content(folder / "text") == "no database at all");

    auto& first = host.load(GANTRY_PLUGIN_FILE, on(folder / "state.db"));
    first.start();
    auto& second = host.load(GANTRY_PLUGIN_FILE, on(folder / "state.db"));
    CHECK_THROWS_WITH(second.start(), Contains("second gantryd"));
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, on("state.db")), Contains("path: expected an absolute path"));
}
