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
    s.crash(kName1);
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kWaiting);
    CHECK(s.reported(kA)->reason == "waits for its description");
    s.known_specs[entry.spec_digest] = changed;
    s.run_for(seconds(3));
    CHECK(s.state(kA) == CopyState::kReady);
}
