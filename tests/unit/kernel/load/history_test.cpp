// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/history.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using load::History;

namespace {

Usage usage(std::int64_t sent, std::vector<CopyUsage> copies = {}) {
    Usage out;
    out.sent_per_s = sent;
    out.copies = std::move(copies);
    return out;
}

// What it has, and what that uses.
void use(ControllerShell& c, const std::string& name, Usage usage) {
    Report report;
    report.applied = c.node(name).applied;
    for (const auto& [id, copy] : c.node(name).copies) report.copies.push_back(copy);
    report.usage = std::move(usage);
    c.say(name, std::move(report));
}

}  // namespace

TEST_CASE("a node's history has a point for each step, the oldest first, and no more than an hour") {
    ControllerShell c;
    c.join("SNode1");
    History history;
    CHECK(history.of_node("SNode1").empty());
    for (int i = 0; i < 400; ++i) {
        use(c, "SNode1", usage(i));
        history.take(*c.core, 10'000LL * i);
    }
    const auto points = history.of_node("SNode1");
    REQUIRE(points.size() == 360);
    CHECK(points.back().at("sent_bytes_per_s").as_int64() == 399);
    CHECK(points.back().at("time_ms").as_int64() == 3'990'000);
    CHECK(points.front().at("sent_bytes_per_s").as_int64() == 40);
    CHECK_FALSE(points.front().as_object().contains("temperature_celsius"));
    CHECK(history.of_node("SNode2").empty());
}

TEST_CASE("an instance's history goes on where it moves, and ends an hour after it") {
    ControllerShell c;
    for (const char* name : {"SNode1", "SNode2"}) c.join(name);
    c.deploy(manifest("a", {"SNode1"}));
    c.obey("SNode1", CopyState::kReady);
    const auto copy = c.copy("a.0");
    History history;
    use(c, "SNode1", usage(1, {{copy, 250, 1 << 20, 3}}));
    use(c, "SNode2", usage(1, {{copy, 9'999, 1, 1}}));  // it does not have it
    history.take(*c.core, 1);
    const auto points = history.of_instance("a.0");
    REQUIRE(points.size() == 1);
    CHECK(to_text(points.front()) == R"({"time_ms":1,"cpu_used_milli":250,"memory_used_bytes":1048576,"pids":3})");
    use(c, "SNode1", usage(1));
    for (int i = 0; i < 359; ++i) history.take(*c.core, 2);
    CHECK(history.of_instance("a.0").size() == 1);
    history.take(*c.core, 2);
    CHECK(history.of_instance("a.0").empty());
}

TEST_CASE("many nodes have shorter histories") {
    ControllerShell c;
    for (int i = 0; i < 10; ++i) c.join("n" + std::to_string(i));
    History history(50), tiny(3);
    for (int i = 0; i < 20; ++i) {
        history.take(*c.core, i);
        tiny.take(*c.core, i);
    }
    CHECK(history.of_node("n9").size() == 5);
    CHECK(history.of_node("n9").back().at("time_ms").as_int64() == 19);
    CHECK(tiny.of_node("n2").size() == 1);
    CHECK(tiny.of_node("n3").empty());
}

TEST_CASE("a node that is down leaves a gap") {
    ControllerShell c;
    c.join("SNode1");
    c.join("SNode2");
    History history;
    history.take(*c.core, 1);
    c.drop("SNode1", Down::kReset);
    c.wait(seconds(5), {"SNode2"});
    history.take(*c.core, 2);
    CHECK(history.of_node("SNode1").size() == 1);
    CHECK(history.of_node("SNode2").size() == 2);
}
