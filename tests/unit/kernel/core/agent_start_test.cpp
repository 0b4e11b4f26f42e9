// SPDX-License-Identifier: Apache-2.0
//
// What an agent does when it starts: adoption, reboots, lost state.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

// A node that runs copy A of a dynamic service and copy B of a static one.
AgentShell running_node() {
    AgentShell s;
    s.start();
    s.connect();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server")), s.entry(kB, AgentShell::spec("camera"), true)});
    REQUIRE(s.running().size() == 2);
    s.log.clear();
    s.sent.clear();
    return s;
}

}  // namespace

TEST_CASE("an agent lists every runtime before it does or says anything") {
    AgentShell s;
    s.facts.runtimes.push_back({"process", "linux", {"amd64"}, false});
    s.hold = [](const AgentEffect& e) {
        const auto* list = std::get_if<ListContainers>(&e);
        return list && list->runtime == "process";
    };
    s.start();
    s.step(Connected{1});
    CHECK(s.sent.empty());
    CHECK(s.count<ListContainers>() == 2);
    s.hold = nullptr;
    s.step(ContainersListed{"process", std::vector<Seen>{}});
    CHECK(s.count_sent<Hello>() == 1);
}

TEST_CASE("a restarted agent adopts what runs and moves nothing") {
    auto s = running_node();
    const auto before = s.running();
    s.restart();
    CHECK(s.running() == before);
    CHECK(s.count<Create>() + s.count<Stop>() + s.count<Remove>() == 0);
    CHECK(s.told("container-adopted"));
    s.connect();
    CHECK(s.last_sent<Hello>()->cluster_id == kCluster);
    CHECK(s.last_sent<Hello>()->applied == ListNo{1, 1});
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->attempt == 1);
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("cut off, a node restarts what crashed while the agent was away") {
    auto s = running_node();
    const auto name = container_name(kCluster, kA, 1);
    s.boxes["oci"].at(name) = {false, false, 3, "out of memory"};
    s.restart();
    CHECK(s.running().size() == 1);
    s.run_for(seconds(2));
    CHECK(s.running().size() == 2);
    CHECK(s.boxes["oci"].contains(container_name(kCluster, kA, 2)));
    CHECK_FALSE(s.boxes["oci"].contains(name));
    s.connect();
    CHECK(s.reported(kA)->exit_code == 3);
    CHECK(s.reported(kA)->crashes == 1);
}

TEST_CASE("a container that was made and not started when the agent died is started") {
    auto s = running_node();
    s.boxes["oci"].at(container_name(kCluster, kA, 1)) = {false, true, 0, {}};
    s.restart();
    CHECK(s.running().size() == 2);
    CHECK(s.count<Create>() == 0);
}

TEST_CASE("an attempt that was saved and never made is not used again") {
    auto s = running_node();
    s.boxes["oci"].erase(container_name(kCluster, kA, 1));
    s.restart();
    CHECK(s.boxes["oci"].contains(container_name(kCluster, kA, 2)));
}

TEST_CASE("after a reboot alone static instances start at once and dynamic ones wait") {
    auto s = running_node();
    s.reboot();
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kB, 2)});
    s.run_for(seconds(30));
    CHECK(s.running().size() == 1);
    CHECK(s.boxes["oci"].contains(container_name(kCluster, kA, 1)));  // nothing is removed either
}

TEST_CASE("after a reboot alone a dynamic instance starts if its manifest says so") {
    AgentShell s;
    s.start();
    s.connect();
    auto spec = AgentShell::spec("axis_server");
    spec.spec.cut_off_start = true;
    s.give({1, 1}, {s.entry(kA, spec)});
    s.reboot();
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kA, 2)});
    CHECK_FALSE(s.told("container-exited"));
}

TEST_CASE("after a reboot the agent reports first and applies a list after") {
    auto s = running_node();
    s.reboot();
    s.connect();
    CHECK(s.last_sent<Hello>()->applied == ListNo{1, 1});  // nothing older will be accepted
    CHECK(s.report.applied == ListNo{0, 0});
    CHECK(s.state(kB) == CopyState::kReady);
    CHECK(s.state(kA) == CopyState::kExited);
    s.give({1, 2}, {s.entry({kA.instance, 2}, AgentShell::spec("axis_server"))});
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, {kA.instance, 2}, 1)});
    CHECK(s.report.applied == ListNo{1, 2});
    CHECK(s.report.copies.size() == 1);
}

TEST_CASE("after a reboot the same list again lets the dynamic ones start") {
    auto s = running_node();
    s.reboot();
    s.connect();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server")), s.entry(kB, AgentShell::spec("camera"), true)});
    CHECK(s.running().size() == 2);
    CHECK(s.report.applied == ListNo{1, 1});
}

TEST_CASE("a reboot is remembered over restarts of the agent until a list was accepted") {
    auto s = running_node();
    s.reboot();
    s.restart();
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kB, 2)});
}

TEST_CASE("an agent without its state keeps what runs and never reuses a number") {
    auto s = running_node();
    const auto before = s.running();
    s.disk.reset();
    s.state_lost = true;
    s.restart();
    s.run_for(seconds(10));
    CHECK(s.running() == before);
    s.connect();
    CHECK(s.running() == before);
    CHECK(s.state(kA) == CopyState::kRunning);
    s.give({2, 1}, {s.entry(kA, AgentShell::spec("axis_server")), s.entry(kB, AgentShell::spec("camera"), true)});
    CHECK(s.running() == before);
    CHECK(s.state(kA) == CopyState::kReady);
    s.crash(container_name(kCluster, kA, 1));
    s.run_for(seconds(2));
    CHECK(s.running().size() == 2);
    CHECK(s.reported(kA)->attempt > 1000);
}

TEST_CASE("a saved state that cannot be read is told and not used") {
    auto s = running_node();
    for (const auto* bad : {"", "{", "[]", R"({"v":2})", R"({"v":1,"list":{"cluster_id":"x","no":[1]}})",
                            R"({"v":1,"attempts":{"1.2":3}})", R"({"v":1,"names":{"entries":[{}]}})"}) {
        CHECK_FALSE(Agent::check_saved(bad));
        s.disk = bad;
        s.log.clear();
        s.restart();
        CHECK(s.told("agent-state-lost"));
    }
}

TEST_CASE("nothing is stopped before a controller stands behind the list") {
    auto s = running_node();
    const CopyId stranger{{99, 0}, 1};
    s.boxes["oci"][container_name(kCluster, stranger, 1)] = {true, false, 0, {}};
    s.restart();
    s.run_for(seconds(60));
    s.connect();
    CHECK(s.running().size() == 3);
    CHECK(s.state(stranger) == CopyState::kRunning);
    s.step(FromController{1, HeartbeatAck{1, {1, 1}, 0}});
    CHECK(s.running().size() == 2);
    CHECK(s.reported(stranger) == nullptr);
}

TEST_CASE("containers of others are never touched") {
    AgentShell s;
    const auto foreign = {std::string("gantry-99999999-12.0-1-1"), std::string("postgres"),
                          std::string("gantry-1a2b3c4d-12.0-01-1"), std::string("gantry-1a2b3c4d-12.0-1-1-x")};
    for (const auto& name : foreign) s.boxes["oci"][name] = {true, false, 0, {}};
    s.start();
    s.connect();
    s.give({1, 1}, {});
    s.run_for(seconds(60));
    CHECK(s.running().size() == 4);
    CHECK(s.report.copies.empty());
}

TEST_CASE("a runtime that cannot list is asked again and its copies wait with the reason") {
    auto s = running_node();
    s.list_error = kBroken;
    s.restart();
    s.connect();
    CHECK_THAT(s.reported(kA)->reason, Contains("engine broken"));
    CHECK(s.report.incomplete);
    s.run_for(seconds(3));
    CHECK(s.count<ListContainers>() >= 3);
    CHECK(s.count<ListContainers>() <= 6);
    CHECK(s.count<Create>() == 0);
    s.list_error.reset();
    s.run_for(seconds(2));
    CHECK_FALSE(s.report.incomplete);
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.count<Create>() == 0);
}

TEST_CASE("names of containers read back exactly") {
    const auto name = container_name(kCluster, {{12, 3}, 4}, 5);
    CHECK(name == "gantry-1a2b3c4d-12.3-4-5");
    const auto parsed = parse_container_name(name);
    REQUIRE(parsed);
    CHECK(parsed->copy == CopyId{{12, 3}, 4});
    CHECK(parsed->attempt == 5);
    CHECK(parsed->cluster8 == "1a2b3c4d");
    for (const auto* other : {"", "gantry-", "gantry-1a2b3c4d", "gantry-1a2b3c4d-12.3-4-", "gantry-1a2b3c4d-12.3--5",
                              "gantry-1a2b3c4d-12.3-4-5x", "gantry-1A2B3C4D-12.3-4-5", "docker-1a2b3c4d-12.3-4-5"})
        CHECK_FALSE(parse_container_name(other));
}
