// SPDX-License-Identifier: Apache-2.0
//
// Announced reboots: a node that is usually back in time keeps what can wait for it (docs/detection.md).
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

json::value patient(const std::string& name, const std::string& max_gap,
                    std::vector<std::string> nodes = {"n1", "n2"}) {
    auto document = manifest(name, std::move(nodes));
    document.at("service").as_object()["max_gap"] = max_gap;
    return document;
}

// It says that it reboots, is told that it may, and is gone.
void go(ControllerShell& c, const std::string& name) {
    c.say(name, Leaving{{}, true, true});
    for (int i = 0; i < 4; ++i)
        for (const auto* other : {"n1", "n2"})
            if (c.node(other).peer != 0) c.obey(other, CopyState::kReady);
    c.heartbeat(name);
    c.say(name, Leaving{{}, false, true});
    c.drop(name, Down::kClosed);
}

void back(ControllerShell& c, const std::string& name) {
    c.reboot(name);
    c.connect(name);
    c.report(name);
    c.obey(name, CopyState::kReady);
}

// n1 has s.0, and took 20 s for its last reboot.
ControllerShell learned(const std::string& max_gap) {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    go(c, "n1");
    REQUIRE(c.liveness("n1") == "left");
    c.wait(seconds(20), {"n2"});
    back(c, "n1");
    REQUIRE(c.node_document("n1").at("usual_reboot_ms").to_number<int>() == 20'000);
    REQUIRE(c.deploy(patient("fill", "0s", {"n2"})).has_value());
    REQUIRE(c.deploy(patient("s", max_gap)).has_value());
    for (const auto* name : {"n1", "n2"}) c.obey(name, CopyState::kReady);
    REQUIRE(c.where("s.0") == "n1");
    REQUIRE(c.instance("s.0").at("state").as_string() == "ready");
    return c;
}

bool named(const ControllerShell& c) { return c.core->service("s")->at("ready").to_number<int>() == 1; }

}  // namespace

TEST_CASE("a node that is usually back within max_gap is not emptied: its copies start there again") {
    ControllerShell c = learned("30s");
    const auto copy = c.copy("s.0");
    go(c, "n1");
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.node_document("n1").at("reason").as_string() == "reboots, usually back in 20 s");
    CHECK(c.count("node-rebooting") == 1);
    CHECK_FALSE(named(c));
    c.wait(seconds(19), {"n2"});
    CHECK(c.where("s.0") == "n1");
    back(c, "n1");
    CHECK(c.liveness("n1") == "ready");
    CHECK(c.copy("s.0") == copy);
    CHECK(c.node("n1").list.copies.size() == 1);
    CHECK(named(c));
    CHECK(c.count("lost") == 0);
    CHECK(c.count("node-rebooted") == 2);
    CHECK(c.node_document("n1").at("usual_reboot_ms").to_number<int>() == 20'000);  // the greatest of the last ones
}

TEST_CASE("a node that is usually not back within max_gap is emptied") {
    for (const auto* max_gap : {"20s", "5s", "0s"}) {
        INFO(max_gap);
        ControllerShell c = learned(max_gap);
        go(c, "n1");
        CHECK(c.liveness("n1") == "left");
        CHECK(c.where("s.0") == "n2");
        CHECK(c.count("lost") == 0);
    }
}

TEST_CASE("one that comes back late is given up after twice its usual time, or at max_gap") {
    ControllerShell c = learned(GENERATE("30s", "10min"));
    const bool short_budget = c.core->service("s")->at("document").at("service").at("max_gap").as_string() == "30s";
    go(c, "n1");
    c.wait(seconds(short_budget ? 29 : 39), {"n2"});
    CHECK(c.where("s.0") == "n1");
    c.wait(seconds(2), {"n2"});
    CHECK(c.liveness("n1") == "lost");
    CHECK_THAT(c.last("node-lost"), Contains("not back from its reboot"));
    CHECK(c.where("s.0") == "n2");
    // It took longer than usual, and that counts the next time.
    c.wait(seconds(60), {"n2"});
    back(c, "n1");
    CHECK(c.node_document("n1").at("usual_reboot_ms").to_number<int>() > 80'000);
}

TEST_CASE("a reboot that was announced for the first time, or not announced, is as any other") {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    REQUIRE(c.deploy(patient("s", "10min")).has_value());
    c.obey("n1", CopyState::kReady);
    SECTION("the first one") {
        go(c, "n1");
        CHECK(c.liveness("n1") == "left");
    }
    SECTION("not announced as one") {
        c = learned("10min");
        c.say("n1", Leaving{{}, true, false});
        for (const auto* name : {"n2", "n1"}) c.obey(name, CopyState::kReady);
        c.heartbeat("n1");
        CHECK(c.liveness("n1") == "left");
    }
    SECTION("not announced at all") {
        c = learned("10min");
        c.reset("n1");
        c.wait(seconds(1), {"n2"});
        CHECK(c.liveness("n1") == "lost");
    }
    CHECK(c.where("s.0") == "n2");
}

TEST_CASE("how long reboots took outlives the controller") {
    ControllerShell c = learned("30s");
    c.start();
    for (const auto* name : {"n1", "n2"}) {
        c.connect(name);
        c.report(name);
        c.obey(name, CopyState::kReady);
    }
    go(c, "n1");
    CHECK(c.count("node-rebooting") == 1);
    CHECK(c.where("s.0") == "n1");
}

TEST_CASE("a reboot under way outlives the controller: what waits for the node goes on waiting") {
    ControllerShell c = learned("30s");
    const auto copy = c.copy("s.0");
    go(c, "n1");
    c.wait(seconds(10), {"n2"});
    c.start();
    const auto others = [&] {
        c.connect("n2");
        c.report("n2");
        c.obey("n2", CopyState::kReady);
    };
    others();
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.node_document("n1").at("reason").as_string() == "reboots, usually back in 20 s");
    SECTION("it is back") {
        c.wait(seconds(15), {"n2"});  // longer than any other node would have had
        CHECK(c.where("s.0") == "n1");
        SECTION("and the controller was away once more") {
            c.start();
            others();
            c.wait(seconds(20), {"n2"});
        }
        back(c, "n1");
        CHECK(c.copy("s.0") == copy);
        CHECK(named(c));
        CHECK(c.count("lost") == 0);
        CHECK(c.last("node-rebooted") == "n1 is back from its reboot");
        // How long it took nobody knows.
        CHECK(c.node_document("n1").at("usual_reboot_ms").to_number<int>() == 20'000);
        CHECK(c.store.at("node/n1").find("reboot_waits_ms") == std::string::npos);
    }
    SECTION("it is not back in time, which counts anew") {
        c.wait(seconds(29), {"n2"});
        CHECK(c.where("s.0") == "n1");
        c.wait(seconds(2), {"n2"});
        CHECK(c.where("s.0") == "n2");
        CHECK_THAT(c.last("node-lost"), Contains("not back from its reboot"));
        CHECK(c.store.at("node/n1").find("reboot_waits_ms") == std::string::npos);
    }
}

TEST_CASE("a controller that was late itself does not take a reboot for a shorter one") {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    go(c, "n1");
    c.wait(seconds(2), {"n2"});
    c.step(LoopLate{seconds(10)});
    back(c, "n1");
    CHECK(c.node_document("n1").at("usual_reboot_ms").to_number<int>() == 2'000);
}

TEST_CASE("a drain empties a node that is about to reboot all the same") {
    ControllerShell c = learned("30s");
    REQUIRE(c.api(ApiSetIntent{0, "n1", "draining"}).has_value());
    go(c, "n1");
    CHECK(c.where("s.0") == "n2");
}

TEST_CASE("a node that did not reboot after all goes on with what it has") {
    ControllerShell c = learned("30s");
    const auto copy = c.copy("s.0");
    go(c, "n1");
    c.wait(seconds(2), {"n2"});
    ++c.node("n1").id.session;
    c.node("n1").id.seq = 0;
    c.connect("n1");
    c.report("n1");
    CHECK(c.liveness("n1") == "ready");
    CHECK(c.copy("s.0") == copy);
    CHECK(named(c));
    CHECK(c.count("node-rebooted") == 1);
    c.wait_all(seconds(60));
    CHECK(c.liveness("n1") == "ready");
}

TEST_CASE("max_gap is no part of the container: a change of it replaces nothing") {
    ControllerShell c = learned("30s");
    const auto copy = c.copy("s.0");
    REQUIRE(c.deploy(patient("s", "31s")).has_value());
    for (int i = 0; i < 3; ++i)
        for (const auto* name : {"n1", "n2"}) c.obey(name, CopyState::kReady);
    CHECK(c.copy("s.0") == copy);
    const auto refused = c.deploy(patient("s", "soon"));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().where == "service.max_gap");
}
