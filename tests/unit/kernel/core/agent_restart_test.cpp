// SPDX-License-Identifier: Apache-2.0
//
// A copy that is restarted by hand: ended by its stop signal and grace, made anew at once, and no crash.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

const std::string kName1 = container_name(kCluster, kA, 1), kName2 = container_name(kCluster, kA, 2);

AgentShell running() {
    auto s = connected();
    auto spec = AgentShell::spec("axis_server");
    spec.spec.stop_grace = seconds(7);
    s.give({1, 1}, {s.entry(kA, spec)});
    REQUIRE(s.state(kA) == CopyState::kReady);
    return s;
}

// "" if it will be done, else why not.
std::string ask(AgentShell& s, const CopyId& copy = kA) {
    s.sent.clear();
    s.step(FromController{s.peer, RestartCopy{5, copy}});
    const auto* answer = s.last_sent<LogData>();
    REQUIRE(answer);
    CHECK(answer->stream == 5);
    CHECK(answer->end);
    return answer->error;
}

}  // namespace

TEST_CASE("a restart ends the container with its grace, makes the next one at once, and counts no crash") {
    auto s = running();
    CHECK(ask(s).empty());
    CHECK(s.last<Stop>()->grace == seconds(7));
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->crashes == 0);
    CHECK(s.reported(kA)->restarts == 1);
    CHECK(s.reported(kA)->attempt == 2);
    CHECK_FALSE(s.told("container-exited"));
    s.crash(kName2);  // by itself
    CHECK(s.reported(kA)->crashes == 1);
}

TEST_CASE("while it ends a copy that is restarted is not ready, and says why") {
    auto s = running();
    s.hold = holding<Stop>();
    CHECK(ask(s).empty());
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.reported(kA)->reason == "is being restarted by hand");
    CHECK(ask(s).empty());  // once more changes nothing
    CHECK(s.held.size() == 1);
    s.hold = nullptr;
    s.operate(std::get<Stop>(s.held.back()).id, "stop", "oci", kName1);
    s.step(AgentTick{});
    CHECK(s.running() == std::vector<std::string>{kName2});
}

TEST_CASE("a restart that was answered is done by the next gantryd as well, and is no crash there") {
    auto s = running();
    s.hold = holding<Stop>();
    CHECK(ask(s).empty());
    s.hold = nullptr;
    SECTION("before it was stopped") {}
    SECTION("after it was stopped") { s.boxes["oci"][kName1] = {false, false, 143, {}}; }
    SECTION("after it was removed") { s.boxes["oci"].clear(); }
    s.restart();
    s.connect();
    s.run_for(milliseconds(100));
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK(s.reported(kA)->crashes == 0);
    s.restart();
    s.connect();
    s.run_for(seconds(20));
    CHECK(s.running() == std::vector<std::string>{kName2});
}

TEST_CASE("what waits after a crash starts at once when it is restarted, and its crashes still count") {
    auto s = running();
    s.crash(kName1);
    REQUIRE(s.running().empty());
    CHECK(ask(s).empty());
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK(s.reported(kA)->crashes == 1);
}

TEST_CASE("what does not run is not restarted: the answer says why") {
    auto s = connected();
    s.images["oci"].clear();
    s.restart();
    s.connect();
    s.hold = holding<FetchImage>();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK_THAT(ask(s), Contains("it does not run: waits for its image"));
    CHECK(ask(s, kB) == "no copy 13.0#4 is to run here");
}

TEST_CASE("what cannot be stopped stays as it is and is tried again") {
    auto s = running();
    s.failures["stop"] = kBroken;
    CHECK(ask(s).empty());
    CHECK(s.running() == std::vector<std::string>{kName1});
    CHECK(s.reported(kA)->cannot_stop);
    s.failures.clear();
    s.run_for(seconds(6));
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK(s.reported(kA)->crashes == 0);
}
