// SPDX-License-Identifier: Apache-2.0
//
// faults.md 4: liveness.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

ControllerShell watched(int nodes) {
    ControllerShell c;
    for (int i = 1; i <= nodes; ++i) c.join("n" + std::to_string(i));
    return c;
}

}  // namespace

TEST_CASE("4: silence makes a node suspect, then lost; a heartbeat in between cancels") {
    ControllerShell c = watched(2);
    c.wait(milliseconds(700), {"n2"});
    CHECK(c.liveness("n1") == "suspect");
    c.heartbeat("n1");
    CHECK(c.liveness("n1") == "ready");
    // Twice its greatest pause.
    c.wait(milliseconds(900), {"n2"});
    CHECK(c.liveness("n1") == "ready");
    c.wait(milliseconds(400), {"n2"});
    CHECK(c.liveness("n1") == "suspect");
    c.wait(milliseconds(200), {"n2"});
    CHECK(c.liveness("n1") == "lost");
    CHECK(c.node_document("n1").at("reason").as_string() == "silence");
    CHECK(c.closed.size() == 1);
}

TEST_CASE("4: a daemon that announces hold is waited for") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    c.obey("n1", CopyState::kReady);
    c.say("n1", Hold{});
    c.reset("n1");
    c.wait(seconds(29), {"n2"});
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.where("s.0") == "n1");
    SECTION("it comes back: nothing moved") {
        ++c.node("n1").id.session;
        c.node("n1").id.seq = 0;
        c.connect("n1");
        c.report("n1");
        CHECK(c.liveness("n1") == "ready");
        CHECK(c.copy("s.0").epoch == 1);
        // The patience is used up: the next cut is one like any other.
        c.reset("n1");
        c.wait(seconds(1), {"n2"});
        CHECK(c.liveness("n1") == "lost");
    }
    SECTION("it does not come back") {
        c.wait(seconds(2), {"n2"});
        CHECK(c.liveness("n1") == "lost");
        CHECK(c.where("s.0") == "n2");
    }
}

TEST_CASE("4: leaving moves the copies at once, stops what is left, and a return is welcome") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    c.obey("n1", CopyState::kReady);
    c.say("n1", Leaving{});
    CHECK(c.liveness("n1") == "left");
    CHECK(c.where("s.0") == "n2");
    CHECK(c.node("n1").list.copies.empty());
    c.heartbeat("n1");
    c.obey("n1", CopyState::kReady);
    CHECK(c.liveness("n1") == "left");
    c.reset("n1");
    c.wait(seconds(10), {"n2"});
    CHECK(c.liveness("n1") == "left");
    c.reboot("n1");
    c.connect("n1");
    c.report("n1");
    CHECK(c.liveness("n1") == "ready");
    CHECK(c.where("s.0") == "n2");
}

TEST_CASE("4: a controller that was late itself does not lose its fleet") {
    ControllerShell c = watched(3);
    c.now = c.now + seconds(20);
    c.step(LoopLate{seconds(20)});
    c.tick();
    for (const auto* name : {"n1", "n2", "n3"}) CHECK(c.liveness(name) == "ready");
    c.wait(seconds(2), {"n1", "n2"});
    CHECK(c.liveness("n3") == "lost");
}

TEST_CASE("4: more than half of four or more silent together: moves pause") {
    ControllerShell c = watched(5);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2", "n3", "n4", "n5"}, 5)).has_value());
    for (int i = 1; i <= 5; ++i) c.obey("n" + std::to_string(i), CopyState::kReady);
    c.wait(seconds(5), {"n4", "n5"});
    CHECK(c.count("moves-paused") == 1);
    CHECK(c.count("lost") == 0);
    CHECK(c.liveness("n1") == "suspect");
    SECTION("some answer again, and the others are given the same time") {
        c.heartbeat("n1");
        c.wait(seconds(5), {"n1", "n4", "n5"});
        CHECK(c.count("moves-resumed") == 0);
        CHECK(c.liveness("n1") == "ready");
        for (const auto* name : {"n2", "n3"}) CHECK(c.liveness(name) == "suspect");
        c.wait(seconds(26), {"n1", "n4", "n5"});
        CHECK(c.count("moves-resumed") == 1);
        for (const auto* name : {"n2", "n3"}) CHECK(c.liveness(name) == "lost");
    }
    SECTION("all answer again") {
        for (const auto* name : {"n1", "n2", "n3"}) c.heartbeat(name);
        c.wait(milliseconds(300), {"n1", "n2", "n3", "n4", "n5"});
        CHECK(c.count("moves-resumed") == 1);
        CHECK(c.count("lost") == 0);
    }
    SECTION("the pause ends") {
        c.wait(seconds(30), {"n4", "n5"});
        for (const auto* name : {"n1", "n2", "n3"}) CHECK(c.liveness(name) == "lost");
        CHECK(c.count("lost") == 3);
        CHECK(c.count("moves-paused") == 1);
    }
    SECTION("the operator says so") {
        CHECK_FALSE(c.api(ApiConfirmLost{0, {"n4"}}).has_value());
        CHECK_FALSE(c.api(ApiConfirmLost{0, {"n9"}}).has_value());
        REQUIRE(c.api(ApiConfirmLost{0, {"n1"}}).has_value());
        CHECK(c.liveness("n1") == "lost");
        REQUIRE(c.api(ApiConfirmLost{0, {}}).has_value());
        CHECK(c.liveness("n3") == "lost");
        for (int i = 0; i < 5; ++i) CHECK(c.where("s." + std::to_string(i)).size() == 2);
    }
}

TEST_CASE("4: half of the nodes, three nodes, or resets are no reason to pause") {
    SECTION("half") {
        ControllerShell c = watched(4);
        c.wait(seconds(2), {"n3", "n4"});
        CHECK(c.liveness("n1") == "lost");
        CHECK(c.count("moves-paused") == 0);
    }
    SECTION("three nodes") {
        ControllerShell c = watched(3);
        c.wait(seconds(2), {});
        CHECK(c.liveness("n1") == "lost");
        CHECK(c.count("moves-paused") == 0);
    }
    SECTION("resets") {
        ControllerShell c = watched(4);
        for (const auto* name : {"n1", "n2", "n3"}) c.reset(name);
        c.wait(seconds(2), {"n4"});
        CHECK(c.liveness("n1") == "lost");
        CHECK(c.count("moves-paused") == 0);
    }
}

TEST_CASE("4: the node on which an instance was lost is left out for a while, unless it is the only one") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    REQUIRE(c.deploy(manifest("only", {"n1"})).has_value());
    c.obey("n1", CopyState::kReady);
    c.reboot("n1");
    c.connect("n1");
    c.report("n1");
    CHECK(c.where("s.0") == "n2");
    CHECK(c.where("only.0") == "n1");
    // n2 fails within the hold: n1 is all there is.
    c.obey("n2", CopyState::kReady);
    c.reset("n2");
    c.wait(seconds(1), {"n1"});
    CHECK(c.where("s.0") == "n1");
}

TEST_CASE("4: the hold of a return makes the second best node win, and ends") {
    ControllerShell c = watched(3);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2", "n3"})).has_value());
    REQUIRE(c.deploy(manifest("fill2", {"n2"}, 2)).has_value());
    REQUIRE(c.deploy(manifest("fill3", {"n3"}, 3)).has_value());
    CHECK(c.where("s.0") == "n1");
    for (const auto* name : {"n1", "n2", "n3"}) c.obey(name, CopyState::kReady);
    // n1 is back before n2 is lost too: n1 is emptier, but n3 is chosen.
    c.reboot("n1");
    c.connect("n1");
    c.report("n1");
    CHECK(c.where("s.0") == "n2");
    c.obey("n2", CopyState::kReady);
    c.reboot("n2");
    c.connect("n2");
    c.report("n2");
    CHECK(c.where("s.0") == "n3");
    c.obey("n3", CopyState::kReady);
    c.wait_all(seconds(31));
    c.reboot("n3");
    c.connect("n3");
    CHECK(c.where("s.0") == "n1");
}

TEST_CASE("4: after a controller start nodes have a grace to come back, then they are lost") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    c.obey("n1", CopyState::kReady);
    c.start();
    c.connect("n2");
    c.report("n2");
    c.wait(milliseconds(4'800), {"n2"});
    CHECK(c.liveness("n1") == "new");
    CHECK(c.where("s.0") == "n1");
    c.wait(milliseconds(400), {"n2"});
    CHECK(c.liveness("n1") == "lost");
    CHECK(c.where("s.0") == "n2");
    // Lost nodes are lost after the next start as well; nothing waits for them.
    c.start();
    CHECK(c.liveness("n1") == "lost");
}

TEST_CASE("4: a node with a new boot id after a controller start has lost its copies") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    c.obey("n1", CopyState::kReady);
    c.start();
    c.connect("n2");
    c.report("n2");
    c.reboot("n1");
    c.connect("n1");
    CHECK(c.where("s.0") == "n2");
}

TEST_CASE("4: a node is removed only when it is lost or said to be dead") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"})).has_value());
    c.obey("n1", CopyState::kReady);
    CHECK_FALSE(c.api(ApiRemoveNode{0, "n1", false}).has_value());
    CHECK_FALSE(c.api(ApiRemoveNode{0, "n1", true}).has_value());  // it is there
    c.reset("n1");
    const auto refused = c.api(ApiRemoveNode{0, "n1", false});
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.find("--dead") != std::string::npos);
    REQUIRE(c.api(ApiRemoveNode{0, "n1", true}).has_value());
    CHECK(c.liveness("n1") == "(none)");
    CHECK(c.where("s.0") == "n2");
    CHECK_FALSE(c.api(ApiRemoveNode{0, "n1", true}).has_value());
    CHECK(c.store.count("node/n1") == 0);
}

TEST_CASE("4: links that end by a timeout are silence: the pause lasts its thirty seconds") {
    ControllerShell c = watched(5);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2", "n3", "n4", "n5"}, 5)).has_value());
    for (int i = 1; i <= 5; ++i) c.obey("n" + std::to_string(i), CopyState::kReady);
    const auto time_out = [&] {
        for (int i = 1; i <= 5; ++i) c.drop("n" + std::to_string(i), Down::kTimeout);
    };
    SECTION("during the pause") {
        c.wait(milliseconds(2'500), {});
        CHECK(c.count("moves-paused") == 1);
        time_out();
    }
    SECTION("before it") {
        c.wait(milliseconds(700), {});
        time_out();
    }
    CHECK(c.count("node-suspect") == 5);
    c.wait(seconds(25), {});
    CHECK(c.count("moves-paused") == 1);
    CHECK(c.count("lost") == 0);
    CHECK(c.liveness("n1") == "suspect");
    // The cable is back: nothing has moved.
    for (int i = 1; i <= 5; ++i) {
        c.connect("n" + std::to_string(i));
        c.report("n" + std::to_string(i));
    }
    CHECK(c.count("lost") == 0);
    CHECK(c.copy("s.0").epoch == 1);
    c.drop("n1", Down::kTimeout);
    c.wait(seconds(2), {"n2", "n3", "n4", "n5"});
    CHECK(c.node_document("n1").at("reason").as_string() == "silence");
}

TEST_CASE("4: the hold of a return outlives the controller") {
    ControllerShell c = watched(3);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2", "n3"})).has_value());
    REQUIRE(c.deploy(manifest("fill2", {"n2"}, 2)).has_value());
    REQUIRE(c.deploy(manifest("fill3", {"n3"}, 3)).has_value());
    for (const auto* name : {"n1", "n2", "n3"}) c.obey(name, CopyState::kReady);
    c.reboot("n1");
    c.connect("n1");
    c.report("n1");
    REQUIRE(c.where("s.0") == "n2");
    c.start();
    for (const auto* name : {"n1", "n2", "n3"}) {
        c.connect(name);
        c.report(name);
        c.obey(name, CopyState::kReady);
    }
    c.reboot("n2");
    c.connect("n2");
    CHECK(c.where("s.0") == "n3");  // though n1 is emptier
    const auto told = c.core->explain(
        "s", c.now, [](const Rank& rank) -> Result<std::vector<Keys>> { return least_loaded(rank); },
        [](const std::string&) { return std::vector<std::string>{}; });
    REQUIRE(told.has_value());
    const auto& rows = told->at("nodes").as_array();
    CHECK(rows[0].at("node").as_string() == "n3");
    CHECK(rows[1].at("node").as_string() == "n1");
    CHECK(rows[1].at("held").as_string() == "an instance was lost there less than 30 s ago");
}

TEST_CASE("4: a node that is forgotten ends the moves from it") {
    ControllerShell c = watched(2);
    REQUIRE(c.deploy(manifest("s", {"n1"}, 2)).has_value());
    c.obey("n1", CopyState::kReady);
    REQUIRE(c.deploy(manifest("s", {"n1", "n2"}, 2)).has_value());
    REQUIRE(c.api(ApiSetIntent{0, "n1", "draining"}).has_value());
    REQUIRE(c.store.at("instance/1.0").find("\"moving_from\":\"n1\"") != std::string::npos);
    c.reset("n1");
    REQUIRE(c.api(ApiRemoveNode{0, "n1", true}).has_value());
    CHECK(c.where("s.0") == "n2");
    CHECK(c.store.at("instance/1.0").find("\"moving_from\":\"\"") != std::string::npos);
    // Under the same name it can be drained again.
    c.nodes.erase("n1");
    c.join("n1");
    REQUIRE(c.api(ApiSetIntent{0, "n2", "draining"}).has_value());
    for (int i = 0; i < 10; ++i)
        for (const auto* name : {"n1", "n2"}) c.obey(name, CopyState::kReady);
    CHECK(c.where("s.0") == "n1");
    REQUIRE(c.api(ApiSetIntent{0, "n2", "active"}).has_value());
    REQUIRE(c.api(ApiSetIntent{0, "n1", "draining"}).has_value());
    for (int i = 0; i < 10; ++i)
        for (const auto* name : {"n1", "n2"}) c.obey(name, CopyState::kReady);
    CHECK(c.where("s.0") == "n2");
    CHECK(c.where("s.1") == "n2");
}
