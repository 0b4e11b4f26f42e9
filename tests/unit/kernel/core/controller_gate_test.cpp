// SPDX-License-Identifier: Apache-2.0
//
// faults.md 2: commit before act.
#include <catch2/catch.hpp>

#include "kernel/core/commit_gate.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

Effects turn(std::vector<Write> writes, std::string kind, bool api = false) {
    Effects effects;
    effects.writes = std::move(writes);
    effects.acts.push_back(Event{std::move(kind), "", {}});
    effects.api_change = api;
    return effects;
}

std::string kinds(const std::vector<Effect>& acts) {
    std::string out;
    for (const auto& act : acts)
        if (const auto* event = std::get_if<Event>(&act)) out += event->kind;
    return out;
}

}  // namespace

TEST_CASE("2: what writes nothing is done at once") {
    CommitGate gate;
    gate.add(turn({}, "a"));
    CHECK(kinds(gate.release()) == "a");
    CHECK_FALSE(gate.begin());
    CHECK(gate.idle());
}

TEST_CASE("2: nothing of a turn is done before its writes are durable, in order, and reads wait too") {
    CommitGate gate;
    gate.add(turn({{"k", "1"}}, "a"));
    gate.add(turn({}, "b"));
    INFO("invariant: acting before the commit");
    CHECK(kinds(gate.release()) == "");
    const auto commit = gate.begin();
    REQUIRE(commit);
    CHECK(commit->use_reserve);
    CHECK_FALSE(gate.begin());
    CHECK(kinds(gate.release()) == "");
    gate.add(turn({{"k", "2"}}, "c"));
    CHECK_FALSE(gate.begin());
    gate.committed();
    CHECK(kinds(gate.release()) == "ab");
    CHECK_FALSE(gate.idle());
    CHECK(gate.begin());
    gate.committed();
    CHECK(kinds(gate.release()) == "c");
    CHECK(gate.idle());
}

TEST_CASE("2: turns that wait share a commit that has the last write of each key") {
    CommitGate gate;
    gate.add(turn({{"x", "0"}}, "-"));
    REQUIRE(gate.begin());
    gate.add(turn({{"b", "1"}, {"a", "1"}}, "a"));
    gate.add(turn({{"a", std::nullopt}, {"b", "2"}}, "b"));
    gate.committed();
    gate.release();
    const auto commit = gate.begin();
    REQUIRE(commit);
    REQUIRE(commit->writes.size() == 2);
    CHECK(commit->writes[0].key == "a");
    CHECK_FALSE(commit->writes[0].value);
    CHECK(commit->writes[1].value == "2");
    gate.committed();
    CHECK(kinds(gate.release()) == "ab");
}

TEST_CASE("2: what a person asked for is committed alone and without the reserve") {
    CommitGate gate;
    gate.add(turn({{"a", "1"}}, "a"));
    gate.add(turn({{"b", "1"}}, "b", true));
    gate.add(turn({{"c", "1"}}, "c"));
    for (const auto* expected : {"a", "b", "c"}) {
        const auto commit = gate.begin();
        REQUIRE(commit);
        REQUIRE(commit->writes.size() == 1);
        CHECK(commit->writes[0].key == expected);
        CHECK(commit->use_reserve == (commit->writes[0].key != "b"));
        gate.committed();
        CHECK(kinds(gate.release()) == expected);
    }
}

TEST_CASE("2: a failed commit drops everything behind it and names the requests that waited") {
    CommitGate gate;
    auto first = turn({{"a", "1"}}, "a", true);
    first.acts.push_back(Reply{7, json::value()});
    gate.add(std::move(first));
    REQUIRE(gate.begin());
    Effects second;
    second.acts.push_back(Reply{8, json::value()});
    gate.add(std::move(second));
    CHECK(gate.failed() == std::vector<RequestId>{7, 8});
    CHECK(gate.idle());
    CHECK(gate.release().empty());
    CHECK_FALSE(gate.begin());
}
