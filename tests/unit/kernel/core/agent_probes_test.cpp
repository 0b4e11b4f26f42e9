// SPDX-License-Identifier: Apache-2.0
//
// When probes are asked and what their answers change.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

CopySpec probed(std::uint32_t success_threshold = 1, std::uint32_t failure_threshold = 3) {
    auto spec = AgentShell::spec("axis_server");
    spec.spec.endpoints = {{"vsoa", "axis_server", 3002, "axis"}};
    spec.secrets = {{"axis_server", "hunter2"}};
    ProbeSpec probe;
    probe.kind = "vsoa";
    probe.success_threshold = success_threshold;
    probe.failure_threshold = failure_threshold;
    spec.spec.probes = {probe};
    return spec;
}

const std::string kProbed = container_name(kCluster, kA, 1);

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
        CHECK(check.container == kProbed);
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
    CHECK(s.running() == std::vector<std::string>{kProbed});  // it is not restarted
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

TEST_CASE("another secret restarts nothing and takes no copy out of the names; it is asked with from then on") {
    auto s = connected();
    std::string right = "hunter2";
    std::vector<std::string> asked;
    s.probe = [&](const Check& check) {
        asked.push_back(value_of(check.params, "password"));
        return Probed{0, asked.back() == right, false, "wrong password"};
    };
    s.give({1, 1}, {s.entry(kA, probed())});
    REQUIRE(s.state(kA) == CopyState::kReady);
    const auto named = s.names();
    REQUIRE(named.size() == 1);
    s.log.clear();
    s.sent.clear();
    const auto always_ready = [&] {
        for (const auto& e : s.log)
            if (const auto* table = std::get_if<ServeNames>(&e)) CHECK(table->entries.size() == 1);
        for (const auto& e : s.sent)
            if (const auto* m = std::get_if<Report>(&e.message)) CHECK(m->copies.at(0).state == CopyState::kReady);
        CHECK(s.count<Create>() == 0);
        CHECK(s.names() == named);
    };
    auto changed = probed();
    changed.secrets = {{"axis_server", "other"}};
    const auto entry = s.entry(kA, changed);
    const auto spec = s.known_specs.extract(entry.spec_digest);

    SECTION("the spec comes with the list, and is asked with at once") {
        s.known_specs[entry.spec_digest] = changed;
        right = "other";
        s.give({1, 2}, {entry});
        CHECK(asked.back() == "other");
        s.run_for(seconds(10));
        always_ready();
    }
    SECTION("the spec comes late: until then the old secret is used") {
        s.give({1, 2}, {entry});
        s.run_for(seconds(5));
        CHECK(asked.back() == "hunter2");
        CHECK(s.count<Check>() >= 4);
        always_ready();
        right = "other";
        s.known_specs[entry.spec_digest] = changed;
        s.run_for(seconds(5));
        CHECK(asked.back() == "other");
        always_ready();
    }
    SECTION("the spec comes late, and gantryd starts again meanwhile while no controller answers") {
        s.give({1, 2}, {entry});
        s.run_for(seconds(1));
        s.restart();
        asked.clear();
        s.run_for(seconds(5));
        REQUIRE(!asked.empty());
        CHECK(asked.back() == "hunter2");
        always_ready();
        right = "other";
        s.known_specs[entry.spec_digest] = changed;
        s.connect();
        s.run_for(seconds(5));
        CHECK(asked.back() == "other");
        CHECK(s.names() == named);
        CHECK(s.state(kA) == CopyState::kReady);
        CHECK(s.count<Create>() == 0);
    }
    SECTION("a question under way was asked with the old secret and says nothing any more") {
        s.hold = holding<Check>();
        s.run_for(seconds(1));
        REQUIRE(s.held.size() == 1);
        s.hold = nullptr;
        right = "other";
        s.known_specs[entry.spec_digest] = changed;
        s.give({1, 2}, {entry});
        for (int i = 0; i < 5; ++i) s.step(Probed{std::get<Check>(s.held[0]).id, false, false, "wrong password"});
        CHECK(asked.back() == "other");
        always_ready();
    }
    SECTION("a container that does not take it has as many answers as the manifest gives it") {
        s.known_specs[entry.spec_digest] = changed;
        s.give({1, 2}, {entry});
        CHECK(s.state(kA) == CopyState::kReady);
        s.run_for(seconds(3));
        CHECK(s.state(kA) == CopyState::kRunning);
        CHECK(s.reported(kA)->reason == "probe vsoa: wrong password");
        CHECK(s.names().empty());
        CHECK(s.count<Create>() == 0);
    }
}

TEST_CASE("a container that crashes before the newer spec has come waits for it") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, probed())});
    auto changed = probed();
    changed.secrets = {{"axis_server", "other"}};
    const auto entry = s.entry(kA, changed);
    const auto spec = s.known_specs.extract(entry.spec_digest);
    s.give({1, 2}, {entry});
    REQUIRE(s.state(kA) == CopyState::kReady);
    s.crash(kProbed);
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kWaiting);
    CHECK(s.reported(kA)->reason == "waits for its description");
    s.known_specs[entry.spec_digest] = changed;
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kReady);
}

namespace {

CopySpec of_purpose(std::initializer_list<Purpose> purposes, Duration start_period = {}) {
    auto spec = probed();
    spec.spec.probes.clear();
    for (const auto purpose : purposes) {
        ProbeSpec probe;
        probe.kind = std::string(purpose_name(purpose));  // so that the tests know which one is asked
        probe.purpose = purpose;
        probe.start_period = start_period;
        spec.spec.probes.push_back(probe);
    }
    return spec;
}

}  // namespace

TEST_CASE("a copy whose liveness probe fails as often in a row as the manifest says is restarted") {
    auto s = connected();
    std::string failing;
    s.probe = [&](const Check& check) { return Probed{0, check.kind != failing, false, "status 500"}; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kLiveness, Purpose::kReadiness}))});
    REQUIRE(s.state(kA) == CopyState::kReady);
    const auto named = s.names();
    s.run_for(seconds(10));
    REQUIRE(s.count<Create>() == 1);
    failing = "liveness";
    s.run_for(milliseconds(2'500));
    CHECK(s.state(kA) == CopyState::kReady);  // liveness takes no name away
    CHECK(s.count<Stop>() == 0);
    s.hold = holding<Stop>();
    s.run_for(milliseconds(600));
    REQUIRE(s.count<Stop>() == 1);
    CHECK(s.last<Stop>()->name == kProbed);
    CHECK(s.last<Stop>()->grace == seconds(10));
    CHECK(s.told("restarting"));
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.reported(kA)->reason == "is being restarted: liveness probe liveness failed: status 500");
    CHECK(s.names().empty());
    s.run_for(seconds(5));
    CHECK(s.count<Stop>() == 1);
    s.hold = nullptr;
    failing.clear();
    s.boxes["oci"][kProbed] = {false, false, 143, {}};
    s.step(OperationDone{s.last<Stop>()->id, {}});
    CHECK(s.reported(kA)->reason == "liveness probe liveness failed: status 500");
    CHECK(s.reported(kA)->crashes == 1);
    s.run_for(seconds(3));
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kA, 2)});
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.names() == named);
    CHECK(s.reported(kA)->restarts == 1);
}

TEST_CASE("a copy that is never live is restarted at growing pauses, not faster than its failures count") {
    auto s = connected();
    s.probe = [&](const Check&) { return Probed{0, false, false, "connection refused"}; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kLiveness}))});
    CHECK(s.state(kA) == CopyState::kReady);
    s.run_for(milliseconds(2'900));
    CHECK(s.count<Stop>() == 0);
    s.run_for(milliseconds(1'000));
    CHECK(s.count<Stop>() == 1);
    s.run_for(seconds(60));
    CHECK(s.count<Stop>() >= 4);
    CHECK(s.count<Stop>() <= 14);
    CHECK(s.reported(kA)->crashes >= 3);
    CHECK(s.count<Create>() - s.count<Stop>() <= 1);
}

TEST_CASE("a liveness probe that cannot be asked restarts nothing, and one success begins the count anew") {
    auto s = connected();
    Probed answer{0, true, false, "x"};
    s.probe = [&](const Check&) { return answer; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kLiveness}))});
    s.run_for(seconds(2));
    answer = {0, false, true, "no such probe"};
    s.run_for(seconds(30));
    for (int i = 0; i < 10; ++i) {
        answer = {0, false, false, "x"};
        s.run_for(seconds(2));
        answer = {0, true, false, "x"};
        s.run_for(seconds(1));
    }
    CHECK(s.count<Stop>() == 0);
    CHECK(s.count<Create>() == 1);
}

TEST_CASE("failures within the start period count for nothing") {
    auto s = connected();
    bool well = false;
    s.probe = [&](const Check&) { return Probed{0, well, false, "not yet"}; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kLiveness}, seconds(20)))});
    s.run_for(seconds(21));
    CHECK(s.count<Stop>() == 0);
    s.run_for(seconds(3));
    CHECK(s.count<Stop>() == 1);
    s.run_for(seconds(12));
    well = true;
    s.run_for(seconds(60));
    CHECK(s.count<Stop>() == 1);
}

TEST_CASE("until the startup probe has succeeded nothing else is asked and the copy is not ready") {
    auto s = connected();
    bool up = false;
    std::map<std::string, int> asked;
    s.probe = [&](const Check& check) {
        ++asked[check.kind];
        return Probed{0, check.kind != "startup" || up, false, "not yet"};
    };
    auto spec = of_purpose({Purpose::kLiveness, Purpose::kReadiness, Purpose::kStartup});
    spec.spec.probes[2].failure_threshold = 10;
    s.give({1, 1}, {s.entry(kA, spec)});
    s.run_for(seconds(5));
    CHECK(asked["startup"] > 5);
    CHECK(asked["liveness"] + asked["readiness"] == 0);
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.reported(kA)->reason == "probe startup: not yet");
    up = true;
    s.run_for(seconds(1));
    CHECK(s.state(kA) == CopyState::kReady);
    const int then = asked["startup"];
    up = false;  // it is not asked any more
    s.run_for(seconds(30));
    CHECK(asked["startup"] == then);
    CHECK(asked["liveness"] >= 29);
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("a copy that does not start up in time is restarted, and its next container starts up anew") {
    auto s = connected();
    bool up = false;
    s.probe = [&](const Check& check) { return Probed{0, check.kind != "startup" || up, false, "not yet"}; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kStartup, Purpose::kReadiness}))});
    s.run_for(milliseconds(2'900));
    CHECK(s.count<Stop>() == 0);
    s.run_for(milliseconds(1'000));
    CHECK(s.count<Stop>() == 1);
    up = true;
    CHECK(s.until([&] { return s.state(kA) == CopyState::kReady; }, seconds(5)));
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kA, 2)});
    s.crash(container_name(kCluster, kA, 2));
    up = false;
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kRunning);
}

TEST_CASE("an adopted container has started up, until its startup probe says otherwise") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kStartup, Purpose::kLiveness}))});
    s.hold = holding<Check>();
    s.restart();
    s.connect();
    CHECK(s.state(kA) == CopyState::kReady);
    for (const auto& effect : std::vector(s.held))
        if (std::get<Check>(effect).kind == "startup")
            s.step(Probed{std::get<Check>(effect).id, false, false, "not yet"});
    CHECK(s.state(kA) == CopyState::kRunning);
    CHECK(s.count<Stop>() == 0);
}

TEST_CASE("a container that cannot be stopped for its restart is told, and tried again") {
    auto s = connected();
    bool well = true;
    s.probe = [&](const Check&) { return Probed{0, well, false, "hangs"}; };
    s.give({1, 1}, {s.entry(kA, of_purpose({Purpose::kLiveness}))});
    s.run_for(seconds(2));
    well = false;
    s.failures.emplace("stop", kBroken);
    s.run_for(seconds(20));
    CHECK(s.told("cannot-stop"));
    CHECK(s.reported(kA)->cannot_stop);
    CHECK(s.count<Stop>() >= 3);
    s.failures.clear();
    well = true;
    s.run_for(seconds(20));
    CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kA, 2)});
    CHECK_FALSE(s.reported(kA)->cannot_stop);
}
