// SPDX-License-Identifier: Apache-2.0
//
// overlap = "forbid" on the node (faults.md 5): nothing starts without a grant that the guard has armed, and what its
// lease no longer covers is dead.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

struct LeasedShell : AgentShell {
    LeasedShell() {
        facts.runtimes.at(0).guarded = true;
        start();
        connect();
    }
    ListEntry once(bool is_static = false) {
        auto out = entry(kA, spec("axis"), is_static);
        out.forbid = true;
        return out;
    }
    // Answers the last heartbeat, as late as the test likes.
    void answer(std::vector<CopyId> grants) {
        const auto* beat = last_sent<Heartbeat>();
        REQUIRE(beat);
        const ListNo applied = beat->applied;
        step(FromController{peer, HeartbeatAck{beat->id.seq, applied, 0, false, beat->beat, std::move(grants)}});
    }
    // Lets time pass, every heartbeat answered with a grant.
    void run_granted(Duration duration) {
        const Instant end = now + duration;
        while (now < end) {
            run_for(std::min(Duration(milliseconds(50)), end - now));
            answer({kA});
        }
    }
    std::string reason() const { return reported(kA) ? reported(kA)->reason : ""; }
    std::size_t place(const std::function<bool(const AgentEffect&)>& is) const {
        return static_cast<std::size_t>(std::ranges::find_if(log, is) - log.begin());
    }
    Instant armed() const { return guard.empty() ? Instant{} : guard.begin()->second; }
};

// Runs by a lease.
LeasedShell leased() {
    LeasedShell s;
    s.give({1, 1}, {s.once()});
    s.answer({kA});
    REQUIRE(s.running().size() == 1);
    return s;
}

}  // namespace

TEST_CASE("5: a list entry permits no start, a grant does, once the guard has acknowledged it") {
    LeasedShell s;
    s.give({1, 1}, {s.once()});
    CHECK(s.running().empty());
    CHECK(s.count<Create>() == 1);
    CHECK_THAT(s.reason(), Contains("waits for a lease"));
    s.run_for(seconds(30));
    CHECK(s.running().empty());
    SECTION("acknowledged") {
        s.answer({kA});
        CHECK(s.running().size() == 1);
        const auto arm = s.place([](const auto& e) { return std::holds_alternative<Arm>(e); });
        CHECK(arm < s.place([](const auto& e) { return std::holds_alternative<Start>(e); }));
        CHECK(s.count<Arm>() == 1);
    }
    SECTION("asked, not acknowledged yet") {
        s.hold = holding<Arm>();
        s.answer({kA});
        CHECK(s.running().empty());
        CHECK_THAT(s.reason(), Contains("waits until its lease is armed"));
        s.step(Armed{std::get<Arm>(s.held.at(0)).id, {}});
        CHECK(s.running().size() == 1);
        CHECK_FALSE(s.agent->container_of(kA)->may_rest);
    }
    SECTION("refused by the guard") {
        s.arm_error = kBroken;
        s.answer({kA});
        CHECK(s.running().empty());
        CHECK_THAT(s.reason(), Contains("cannot be armed: engine broken"));
        s.arm_error.reset();
        s.run_for(milliseconds(100));
        CHECK(s.running().size() == 1);
    }
    SECTION("acknowledged too late") {
        s.hold = holding<Arm>();
        s.answer({kA});
        s.now = s.now + seconds(4);
        s.step(Armed{std::get<Arm>(s.held.at(0)).id, {}});
        CHECK(s.running().empty());
    }
}

TEST_CASE("5: D is when the heartbeat was sent and T, however late the answer is") {
    LeasedShell s;
    s.give({1, 1}, {s.once()});
    const auto beat = *s.last_sent<Heartbeat>();
    const Instant sent = s.now;
    s.now = s.now + milliseconds(1'500);
    s.step(FromController{s.peer, HeartbeatAck{beat.id.seq, {1, 1}, 0, false, beat.beat, {kA}}});
    CHECK(s.armed() == sent + s.timing.lease);
    SECTION("one that is older than T permits nothing") {
        s.now = sent + s.timing.lease + seconds(2);
        s.step(AgentTick{});
        s.step(FromController{s.peer, HeartbeatAck{beat.id.seq, {1, 1}, 0, false, beat.beat, {kA}}});
        CHECK(s.running().empty());
    }
    SECTION("T is what the controller says") {
        s.step(FromController{s.peer, Welcome{kCluster, 1, 200, "10.0.0.1", 1'000, 10'000, 5, 60'000, 20'000}});
        s.run_for(milliseconds(200));
        s.answer({kA});
        CHECK(s.armed() > s.now + seconds(19));
    }
}

TEST_CASE("5: a heartbeat goes out as soon as there is something to be granted") {
    LeasedShell s;
    s.run_for(milliseconds(250));
    const auto beats = s.count_sent<Heartbeat>();
    s.give({1, 1}, {s.once()});
    CHECK(s.count_sent<Heartbeat>() == beats + 1);
}

TEST_CASE("5: an answer to no heartbeat of this session, or from another controller, grants nothing") {
    LeasedShell s;
    s.give({1, 1}, {s.once()});
    s.step(FromController{s.peer, HeartbeatAck{1, {1, 1}, 0, false, 999, {kA}}});
    s.step(FromController{s.peer, HeartbeatAck{1, {1, 1}, 0, false, 0, {kA}}});
    const auto beat = *s.last_sent<Heartbeat>();
    s.step(Connected{7});
    s.step(FromController{7, Welcome{kCluster, 1, 200, "10.0.0.1"}});
    s.step(FromController{1, HeartbeatAck{beat.id.seq, {1, 1}, 0, false, beat.beat, {kA}}});
    CHECK(s.running().empty());
}

TEST_CASE("5: renewed it runs on, and the guard is told each time") {
    auto s = leased();
    s.run_granted(seconds(10));
    CHECK(s.running().size() == 1);
    CHECK(s.armed() > s.now + milliseconds(2'500));
    CHECK_FALSE(s.told("fenced"));
}

TEST_CASE("5: at D it is fenced: killed without grace, told, no crash, and not started again without a grant") {
    auto s = leased();
    const Instant until = s.armed();
    s.run_for(until - s.now - milliseconds(1));
    CHECK(s.running().size() == 1);
    const std::string name = s.running().at(0);
    SECTION("the guard is quicker") {
        s.now = until;
        s.guard_kills(name);
    }
    SECTION("the guard is slower") { s.run_for(milliseconds(1)); }
    SECTION("the guard hangs and acknowledges nothing") {
        s.hold = holding<Arm>();
        s.answer({kA});
        s.run_for(milliseconds(1));
    }
    CHECK(s.running().empty());
    CHECK(s.told("fenced"));
    if (const auto* stop = s.last<Stop>()) CHECK(stop->grace == Duration(0));
    s.run_for(seconds(5));
    CHECK(s.running().empty());
    CHECK(s.reported(kA)->crashes == 0);
    CHECK_FALSE(s.told("container-exited"));
    CHECK(s.guard.size() <= 1);
    CHECK_FALSE(s.guard.contains(name));
    s.hold = {};
    s.run_for(milliseconds(300));
    s.answer({kA});
    s.run_for(milliseconds(300));
    CHECK(s.running().size() == 1);
    CHECK(s.running().at(0) != name);
}

TEST_CASE("5: what is on its way out keeps its lease as long as it is granted, then its grace is cut short") {
    auto s = leased();
    s.hold = holding<Stop>();
    s.give({1, 2}, {});
    REQUIRE(s.held.size() == 1);
    s.run_granted(seconds(8));
    CHECK(s.running().size() == 1);
    CHECK_FALSE(s.told("fenced"));
    s.run_for(seconds(4));
    CHECK(s.told("fenced"));
}

TEST_CASE("5: within its lease a crash is mended without a controller, behind it not") {
    auto s = leased();
    s.timing.restart_delay = seconds(1);
    s.disconnect();
    s.crash(s.running().at(0));
    s.run_for(milliseconds(1'500));
    CHECK(s.running().size() == 1);
    s.run_for(seconds(30));
    CHECK(s.running().empty());
}

TEST_CASE("5: a restarted agent takes D from the guard and never sets it anew") {
    auto s = leased();
    const Instant until = s.armed();
    s.now = s.now + seconds(1);
    s.restart();
    CHECK(s.told("container-adopted"));
    CHECK(s.running().size() == 1);
    CHECK(s.armed() == until);
    SECTION("no grant") {
        s.run_for(until - s.now - milliseconds(1));
        CHECK(s.running().size() == 1);
        s.run_for(milliseconds(1));
        CHECK(s.running().empty());
    }
    SECTION("granted again") {
        s.connect();
        s.run_granted(seconds(10));
        CHECK(s.running().size() == 1);
    }
}

TEST_CASE("5: what the guard does not hold when gantryd starts is killed") {
    auto s = leased();
    s.guard.clear();
    s.restart();
    CHECK(s.running().empty());
    CHECK(s.told("fenced"));
    CHECK_FALSE(s.told("container-adopted"));
}

TEST_CASE("5: what the guard killed while gantryd was away has not crashed") {
    auto s = leased();
    const std::string name = s.running().at(0);
    s.agent.reset();
    s.now = s.armed() + milliseconds(3);
    s.guard_kills(name);
    s.now = s.now + seconds(2);
    s.restart();
    s.connect();
    CHECK(s.reported(kA)->crashes == 0);
    CHECK_FALSE(s.guard.contains(name));
    s.run_granted(seconds(1));
    CHECK(s.running().size() == 1);
}

TEST_CASE("5: what the guard still holds of containers that are gone it is told to forget") {
    auto s = leased();
    s.guard["gantry-1a2b3c4d-99.0-1-1"] = s.now + seconds(1);
    s.restart();
    CHECK(s.guard.size() == 1);
    CHECK(s.running().size() == 1);
    s.guard["gantry-1a2b3c4d-99.0-1-1"] = s.now + seconds(1);
    s.list_error = kBroken;  // then nobody knows
    s.restart();
    CHECK(s.guard.size() == 2);
}

TEST_CASE("5: a container that was armed and not started when its deadline passed is made anew") {
    LeasedShell s;
    s.hold = holding<Start>();
    s.give({1, 1}, {s.once()});
    s.answer({kA});
    REQUIRE(s.held.size() == 1);
    const std::string name = std::get<Start>(s.held.at(0)).name;
    s.agent.reset();
    s.now = s.armed() + milliseconds(3);
    s.expired.insert(name);
    s.hold = {};
    s.restart();
    s.connect();
    s.run_granted(seconds(1));
    REQUIRE(s.running().size() == 1);
    CHECK(s.running().at(0) != name);
}

TEST_CASE("5: without a guard for longer than 100 ms all that runs by a lease is killed, and nothing is started") {
    auto s = leased();
    s.guard.clear();
    s.step(GuardState{false, {}});
    CHECK(s.running().empty());
    CHECK(s.told("fenced"));
    s.run_granted(seconds(2));
    CHECK(s.running().empty());
    CHECK_THAT(s.reason(), Contains("waits for this node's gantry-guard"));
    s.step(GuardState{true, {}});
    s.run_granted(milliseconds(300));
    CHECK(s.running().size() == 1);
}

TEST_CASE("7: rebooted alone nothing under forbid starts, not even a static copy") {
    LeasedShell s;
    s.give({1, 1}, {s.once(true)});
    s.answer({kA});
    REQUIRE(s.running().size() == 1);
    s.reboot();
    s.run_for(seconds(30));
    CHECK(s.running().empty());
    s.connect();
    s.run_for(seconds(1));
    CHECK(s.running().empty());
    s.give({1, 2}, {s.once(true)});
    s.run_granted(milliseconds(500));
    CHECK(s.running().size() == 1);
}

TEST_CASE("5: nothing is done before the guard has said what it holds") {
    LeasedShell s;
    ++s.facts.session;
    s.served.reset();
    s.agent.emplace(s.facts, s.timing);
    s.step(AgentStart{});
    s.step(Connected{5});
    CHECK(s.count_sent<Hello>() == 1);  // of the run before
    s.step(GuardState{true, {}});
    CHECK(s.count_sent<Hello>() == 2);
}
