// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/load_history.hpp"

#include <catch2/catch.hpp>

using namespace gantry;
using namespace gantry::control;

namespace {

core::Report report(const std::string& node, std::int64_t cpu, std::vector<core::CopyUsage> copies = {}) {
    core::Report out;
    out.id.node_id = node;
    out.load = {1'000, cpu};
    out.usage.disk_bytes = 100;
    out.usage.copies = std::move(copies);
    return out;
}

const core::CopyId kA{{7, 0}, 1}, kB{{7, 1}, 1};

}  // namespace

TEST_CASE("a node's history has a sample for each step, the oldest first, and no more than an hour") {
    LoadHistory history;
    Instant now{1'000'000'000};
    for (int i = 0; i < 5'000; ++i, now = now + seconds(1)) history.take(report("n1", i), now, 1'000LL * i);
    const auto told = history.of_node("n1");
    CHECK(told.at("every_ms").as_int64() == 10'000);
    const auto& items = told.at("items").as_array();
    REQUIRE(items.size() == 360);
    CHECK(items.back().at("cpu_used_milli").as_int64() == 4'990);
    CHECK(items.back().at("time_ms").as_int64() == 4'990'000);
    CHECK(items.front().at("cpu_used_milli").as_int64() == 1'400);
    CHECK(items.front().at("disk_bytes").as_int64() == 100);
    CHECK_FALSE(items.front().as_object().contains("temperature_milli"));
    CHECK(history.of_node("n2").at("items").as_array().empty());
}

TEST_CASE("a copy's history goes with the copy") {
    LoadHistory history;
    Instant now{1'000'000'000};
    for (int i = 0; i < 200; ++i, now = now + seconds(10))
        history.take(report("n1", 1, {{kA, i, 5, 2}, {kB, 1, 1, 1}}), now, i);
    const auto& items = history.of_copy(kA).at("items").as_array();
    REQUIRE(items.size() == 90);
    CHECK(to_text(items.back()) == R"({"time_ms":199,"cpu_used_milli":199,"memory_used_bytes":5,"pids":2})");
    history.take(report("n1", 1, {{kB, 1, 1, 1}}), now, 0);
    CHECK(history.of_copy(kA).at("items").as_array().empty());
    CHECK(history.of_copy(kB).at("items").as_array().size() == 90);
}
