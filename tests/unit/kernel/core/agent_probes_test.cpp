// SPDX-License-Identifier: Apache-2.0
//
// When probes are asked and what their answers change.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

CopySpec probed(std::uint32_t healthy_after = 1, std::uint32_t unhealthy_after = 3) {
    auto spec = AgentShell::spec("axis_server");
    spec.spec.endpoints = {{"vsoa", "axis_server", 3002, "axis"}};
    spec.secrets = {{"axis_server", "hunter2"}};
    ProbeSpec probe;
    probe.kind = "vsoa";
    probe.healthy_after = healthy_after;
    probe.unhealthy_after = unhealthy_after;
    spec.spec.probes = {probe};
    return spec;
}

const std::string kName1 = container_name(kCluster, kA, 1);

}  // namespace

TEST_CASE("until its first success a probe is asked every 20 ms, growing to its interval") {
    auto s = connected();
    std::vector<Instant> asked;
    bool well = false;
    s.probe = [&](const Check& check) {
        asked.push_back(s.now);
        CHECK(check.kind == "vsoa");
        CHECK(check.port == 3002);
        CHECK(check.address == "127.0.0.1");
        CHECK(check.container == kName1);
        CHECK(value_of(check.params, "password") == "hunter2");
        return Probed{0, well, false, well ? "" : "connection refused"};
    };
    s.give({1, 1}, {s.entry(kA, probed())});
    s.run_for(milliseconds(60));
    REQUIRE(asked.size() == 3);
    CHECK(asked[1] - asked[0] == milliseconds(20));
    CHECK(asked[2] - asked[1] == milliseconds(30));
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.reported(kA)->reason == "probe vsoa: connection refused");
    s.run_for(seconds(20));
    CHECK(asked.back() - asked[asked.size() - 2] == seconds(1));
    well = true;
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("readiness changes only after as many answers in a row as the manifest says") {
    auto s = connected();
    bool well = true, unknown = false;
    s.probe = [&](const Check&) { return Probed{0, well, unknown, "x"}; };
    s.give({1, 1}, {s.entry(kA, probed(2, 3))});
    CHECK(s.state(kA) == CopyState::kRunning);
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kReady);
    well = false;
    s.run_for(seconds(2));
    CHECK(s.state(kA) == CopyState::kReady);
    unknown = true;  // says nothing, changes nothing
    s.run_for(seconds(10));
    CHECK(s.state(kA) == CopyState::kReady);
    unknown = false;
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.told("unhealthy"));
    CHECK(s.running() == std::vector<std::string>{kName1});  // it is not restarted
    well = true;
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kRunning);
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("a probe that never answers is asked again after its time") {
    auto s = connected();
    s.hold = holding<Check>();
    s.give({1, 1}, {s.entry(kA, probed())});
    s.run_for(seconds(5));
    CHECK(s.count<Check>() >= 2);
    s.hold = nullptr;
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("an adopted container counts as healthy until its first answer") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, probed())});
    s.hold = holding<Check>();
    s.restart();
    s.connect();
    CHECK(s.state(kA) == CopyState::kReady);
    s.step(Probed{std::get<Check>(s.held.back()).id, false, false, "connection refused"});
    CHECK(s.state(kA) == CopyState::kRunning);
}
