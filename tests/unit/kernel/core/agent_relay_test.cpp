// SPDX-License-Identifier: Apache-2.0
//
// An agent passes on what its controller and a node that the controller does not hear say to each other (ADR 16).
#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

constexpr std::uint64_t kRoute = 77;
const Ask kAsk{kRoute, "10.0.0.3:3901", 300};
const json::object kHello{{"v", 1}, {"m", "hello"}, {"newer", true}};

AgentShell reached() {
    auto s = connected();
    s.step(FromController{1, kAsk});
    s.step(Reached{kRoute, PeerId{9}});
    return s;
}

Ended how_it_ended(const AgentShell& s) {
    const auto* last = s.last_sent<Relayed>();
    REQUIRE(last);
    CHECK(last->route == kRoute);
    return last->ended;
}

}  // namespace

TEST_CASE("who is asked dials at once, within the time it was given, and says nothing of its own there") {
    auto s = connected();
    const auto said = s.sent.size();
    s.step(FromController{1, kAsk});
    REQUIRE(s.last<Reach>());
    CHECK(s.last<Reach>()->address == "10.0.0.3:3901");
    CHECK(s.last<Reach>()->limit == milliseconds(300));
    s.step(Reached{kRoute, PeerId{9}});
    CHECK(s.sent.size() == said);
    CHECK(s.count<PassOn>() == 0);
    s.step(FromController{1, kAsk});  // the same again
    CHECK(s.count<Reach>() == 1);
}

TEST_CASE("what either side says is passed on unread") {
    auto s = reached();
    s.step(FromNode{9, kHello});
    REQUIRE(s.last_sent<Relayed>());
    CHECK(s.last_sent<Relayed>()->message == kHello);
    CHECK(s.sent.back().peer == 1);
    s.step(FromController{1, Forward{kRoute, kHello, false}});
    REQUIRE(s.last<PassOn>());
    CHECK(s.last<PassOn>()->peer == 9);
    CHECK(s.last<PassOn>()->message == kHello);
    s.step(FromNode{10, kHello});  // nobody asked for that one
    CHECK(s.count_sent<Relayed>() == 1);
    s.step(FromController{1, Forward{kRoute + 1, kHello, false}});
    CHECK(s.count<PassOn>() == 1);
}

TEST_CASE("how a question ends is told, each way by its name") {
    auto s = connected();
    s.step(FromController{1, kAsk});
    SECTION("nothing comes back") {
        s.step(Reached{kRoute, fail(Code::kDeadline, "no answer")});
        CHECK(how_it_ended(s) == Ended::kSilent);
        CHECK(s.last_sent<Relayed>()->text == "no answer");
    }
    SECTION("its machine refuses") {
        s.step(Reached{kRoute, fail(Code::kUnavailable, "Connection refused")});
        CHECK(how_it_ended(s) == Ended::kRefused);
    }
    SECTION("it has another secret") {
        s.step(Reached{kRoute, fail(Code::kRefused, "the secrets differ")});
        CHECK(how_it_ended(s) == Ended::kFailed);
    }
    SECTION("it goes later") {
        s.step(Reached{kRoute, PeerId{9}});
        s.step(NodeGone{9, Ended::kReset});
        CHECK(how_it_ended(s) == Ended::kReset);
        s.step(NodeGone{9, Ended::kReset});
        CHECK(s.count_sent<Relayed>() == 1);
    }
}

TEST_CASE("an end hangs up, also while it is still being dialled") {
    auto s = connected();
    s.step(FromController{1, kAsk});
    SECTION("reached") {
        s.step(Reached{kRoute, PeerId{9}});
        s.step(FromController{1, Forward{kRoute, {}, true}});
    }
    SECTION("reached too late") {
        s.step(FromController{1, Forward{kRoute, {}, true}});
        CHECK(s.count<HangUp>() == 0);
        s.step(Reached{kRoute, PeerId{9}});
    }
    REQUIRE(s.last<HangUp>());
    CHECK(s.last<HangUp>()->peer == 9);
    s.step(FromNode{9, kHello});
    CHECK(s.count_sent<Relayed>() == 0);
}

TEST_CASE("all of it ends with the connection to the controller") {
    auto s = reached();
    SECTION("it goes") { s.disconnect(); }
    SECTION("a newer one takes its place") { s.connect(2); }
    REQUIRE(s.last<HangUp>());
    CHECK(s.last<HangUp>()->peer == 9);
}

TEST_CASE("a node passes on for so many others and says so to the next question") {
    auto s = connected();
    for (std::uint64_t route = 1; route <= limits::kRelays; ++route)
        s.step(FromController{1, Ask{route, "10.0.0.3:3901", 300}});
    CHECK(s.count<Reach>() == limits::kRelays);
    s.step(FromController{1, kAsk});
    CHECK(s.count<Reach>() == limits::kRelays);
    CHECK(how_it_ended(s) == Ended::kFailed);
}

TEST_CASE("a node that is asked about speaks to the controller through the one that dialled it") {
    AgentShell s;
    s.facts.ask_port = 3901;
    s.start();
    s.connect();
    REQUIRE(s.last_sent<Hello>());
    CHECK(s.last_sent<Hello>()->ask_port == 3901);
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    // The connection to the controller hangs; another node dials.
    s.step(Connected{5, true});
    CHECK(s.sent.back().peer == 5);
    CHECK(std::holds_alternative<Hello>(s.sent.back().message));
    s.step(FromController{5, Welcome{kCluster, 1, 200, "10.0.0.1"}});
    const auto before = s.count_sent<Heartbeat>();
    s.run_for(seconds(1));
    CHECK(s.count_sent<Heartbeat>() == before + 5);
    CHECK(s.sent.back().peer == 5);
    CHECK(s.running().size() == 1);
    SECTION("it asks nobody for others, for it reaches the controller by others itself") {
        s.step(FromController{5, kAsk});
        CHECK(s.count<Reach>() == 0);
    }
    SECTION("the way back: the newest welcome wins") {
        s.step(Disconnected{1});
        s.connect(6);
        s.run_for(seconds(1));
        CHECK(s.sent.back().peer == 6);
        s.step(Disconnected{5});
        s.run_for(seconds(1));
        CHECK(s.sent.back().peer == 6);
    }
    SECTION("the other node goes: the old connection is all there is") {
        s.step(Disconnected{5});
        s.run_for(seconds(1));
        CHECK(s.sent.back().peer == 1);
    }
}

TEST_CASE("a reboot is announced as one") {
    auto s = connected();
    s.step(ShutDown{true, true});
    REQUIRE(s.last_sent<Leaving>());
    CHECK(s.last_sent<Leaving>()->waits);
    CHECK(s.last_sent<Leaving>()->reboots);
    s.step(FromController{1, HeartbeatAck{1, {1, 1}, 0, true}});
    CHECK(s.count<MayStop>() == 1);
    CHECK(s.last_sent<Leaving>()->reboots);
    CHECK_FALSE(s.last_sent<Leaving>()->waits);
}
