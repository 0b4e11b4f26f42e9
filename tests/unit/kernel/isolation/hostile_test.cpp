// SPDX-License-Identifier: Apache-2.0
//
// A plugin's process may say anything: what breaks the rules ends it, and nothing else.
#include <random>

#include "kernel/isolation/isolation.hpp"
#include "tests/unit/kernel/isolation/isolated_bench.hpp"

namespace gantry::host {
namespace {

// The real plugin's file, but the hostile program runs.
class HostileBench : public IsolatedBench {
  public:
    explicit HostileBench(const std::string& how) {
        HostOptions options;
        options.plugin_path = {GANTRY_TEST_PLUGINS};
        options.state_dir = folder / "state";
        options.isolation = isolation::make_isolation(GANTRY_HOSTILE_HOST);
        options.log = [this](LogLevel level, std::string_view plugin, std::string_view text) {
            lines.push_back({level, std::string(plugin), std::string(text)});
        };
        options.event = [this](std::string, std::string text, json::object) { events.push_back(text); };
        host.emplace(io, std::move(options));
        PluginTable one = table("probe", how);
        one.plugin = "breaker";
        std::vector<PluginTable> tables;
        tables.push_back(std::move(one));
        const Status configured = host->configure(std::move(tables));
        if (!configured) FAIL(configured.error().text());
        (void)host->start();
    }
};

}  // namespace

TEST_CASE("a process that breaks the rules is ended, and what it was asked ends as unknown") {
    const std::string how =
        GENERATE("garbage", "no-head", "one-byte", "above-limit", "no-such-kind", "twice", "no-such-slot",
                 "no-such-table", "short-result", "long-result", "huge-count", "huge-text", "a-file", "no-stream");
    INFO(how);
    HostileBench bench(how);
    const auto pid = bench.info().pid;
    REQUIRE(bench.info().state == PluginState::kRunning);
    const auto answer = bench.ask("x");
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kUnknown);
    CHECK(answer.error().text().find("it broke the rules: ") != std::string::npos);
    CHECK(gone(pid));
    CHECK(bench.back(1));
}

TEST_CASE("a process whose facts cannot be read does not start") {
    HostileBench bench("no-facts");
    CHECK(plugin_state_name(bench.info().state) == "failed");
    INFO(bench.info().reason);
    CHECK(bench.info().reason.find("it broke the rules: ") != std::string::npos);
}

TEST_CASE("answers to what it was not asked, and descriptors that nobody wants, change nothing") {
    HostileBench bench("others");
    const auto answer = bench.ask("x");
    REQUIRE(answer);
    CHECK(answer->detail == "well");
    CHECK(bench.info().restarts == 0);
}

TEST_CASE("a process that closes its socket and lives on is ended") {
    HostileBench bench("deaf");
    const auto pid = bench.info().pid;
    (void)bench.ask("x", seconds(1));
    REQUIRE(bench.run_until([&] { return bench.info().restarts == 1; }, seconds(30)));
    CHECK(gone(pid));
}

TEST_CASE("noise of any kind costs the process that makes it") {
    const std::uint64_t seed = std::random_device()();
    for (std::uint64_t i = 0; i < 12; ++i) {
        INFO("noise-" << seed + i);
        HostileBench bench("noise-" + std::to_string(seed + i));
        const auto pid = bench.info().pid;
        const auto answer = bench.ask("x", milliseconds(500));
        if (!answer) CHECK(answer.error().code != Code::kInvalid);
        CHECK(bench.run_until([&] { return bench.info().restarts >= 1 || bench.info().pid == pid; }));
    }
}

TEST_CASE("a program that is not there leaves the plugin failed, with its path") {
    IsolatedBench bench;
    HostOptions options;
    options.plugin_path = {GANTRY_TEST_PLUGINS};
    options.state_dir = bench.folder / "state";
    options.isolation = isolation::make_isolation("/nowhere/gantry-plugin-host");
    bench.host.emplace(bench.io, std::move(options));
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "breaker"));
    REQUIRE(bench.host->configure(std::move(tables)));
    REQUIRE(bench.host->start());
    CHECK(plugin_state_name(bench.info().state) == "failed");
    CHECK(bench.info().reason.find("/nowhere/gantry-plugin-host cannot be started: No such file") != std::string::npos);
}

TEST_CASE("a host without isolation refuses what asks for it") {
    IsolatedBench bench;
    HostOptions options;
    options.plugin_path = {GANTRY_TEST_PLUGINS};
    options.state_dir = bench.folder / "state";
    bench.host.emplace(bench.io, std::move(options));
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "breaker"));
    REQUIRE(bench.host->configure(std::move(tables)));
    REQUIRE(bench.host->start());
    CHECK(plugin_state_name(bench.info().state) == "refused");
}

}  // namespace gantry::host
