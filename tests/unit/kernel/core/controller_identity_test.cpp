// SPDX-License-Identifier: Apache-2.0
//
// faults.md 1: identity and order.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

TEST_CASE("1: messages of a lower session or sequence number are dropped") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    auto old = c.node("a").id;
    Report stale;
    stale.applied = c.node("a").applied;
    stale.id = old;  // the number of the last message again
    c.step(PeerMessage{c.node("a").peer, "", stale});
    CHECK(c.instance("s.0").at("state").as_string() == "ready");
    stale.id.seq = old.seq + 1;
    stale.id.session = old.session - 1;
    c.step(PeerMessage{c.node("a").peer, "", stale});
    CHECK(c.instance("s.0").at("state").as_string() == "ready");
    stale.id.session = old.session;
    stale.id.boot_id = "another";
    c.step(PeerMessage{c.node("a").peer, "", stale});
    CHECK(c.instance("s.0").at("state").as_string() == "ready");
    stale.id.boot_id = old.boot_id;
    c.step(PeerMessage{c.node("a").peer, "", stale});
    CHECK(c.instance("s.0").at("state").as_string() == "waiting");
}

TEST_CASE("1: the same boot in a new session is adopted and nothing moves") {
    ControllerShell c;
    c.join("a");
    c.join("b");
    REQUIRE(c.deploy(manifest("s", {"a", "b"})).has_value());
    c.obey("a", CopyState::kReady);
    c.reset("a");
    ++c.node("a").id.session;
    c.node("a").id.seq = 0;
    c.connect("a");
    CHECK(c.liveness("a") == "ready");
    c.report("a");
    CHECK(c.where("s.0") == "a");
    CHECK(c.copy("s.0").epoch == 1);
    CHECK(c.count("lost") == 0);
    // The session before says hello on a connection that was slow: it is over.
    auto late = c.hello_of("a");
    late.id = {"id-a", "boot-1-a", 1, 100};
    c.step(PeerMessage{77, "10.0.0.1", late});
    CHECK(c.closed.at(77).starts_with("a hello of session 1 of a, expected session 2"));
    c.heartbeat("a");
    CHECK(c.liveness("a") == "ready");
}

TEST_CASE("1: the newest connection of a node wins") {
    ControllerShell c;
    c.join("a");
    const PeerId old = c.node("a").peer;
    c.connect("a");
    CHECK(c.closed.contains(old));
    c.step(PeerDown{old, Down::kReset});
    CHECK(c.liveness("a") == "ready");
}

TEST_CASE("1: a second machine under one name is refused while the first is not lost") {
    ControllerShell c;
    c.join("a");
    const auto twin = [&](PeerId peer) {
        auto hello = c.hello_of("a");
        hello.id = {"id-of-another", "boot-x", 1, 1};
        c.step(PeerMessage{peer, "10.0.0.9", hello});
    };
    twin(500);
    CHECK(c.closed.contains(500));
    CHECK(c.count("name-taken") == 1);
    twin(501);
    CHECK(c.count("name-taken") == 1);  // told once a minute
    c.wait(seconds(61), {"a"});
    twin(502);
    CHECK(c.count("name-taken") == 2);
    c.wait(seconds(2), {});
    CHECK(c.liveness("a") == "lost");
    twin(503);
    CHECK_FALSE(c.closed.contains(503));
    CHECK(c.node_document("a").at("node_id").as_string() == "id-of-another");
}

TEST_CASE("1: a node of another cluster is refused, with a reason, and its copies are not counted") {
    ControllerShell c;
    c.connect("a", [](Hello& hello) { hello.cluster_id = "another-cluster"; });
    REQUIRE(c.node("a").refused.size() == 1);
    CHECK(c.node("a").refused[0].find("belongs to cluster another-cluster") != std::string::npos);
    CHECK(c.count("foreign-cluster") == 1);
    c.connect("a", [](Hello& hello) { hello.cluster_id = "another-cluster"; });
    CHECK(c.count("foreign-cluster") == 1);
    CHECK(c.core->nodes(c.now).empty());
}

TEST_CASE("1: names that no node may have are refused") {
    ControllerShell c;
    c.connect("a b");
    CHECK(c.node("a b").refused.size() == 1);
    c.connect("");
    CHECK(c.core->nodes(c.now).empty());
}

TEST_CASE("1: the term grows at every start, and every list after it carries it") {
    ControllerShell c;
    CHECK(c.core->term() == 1);
    c.join("a");
    CHECK(c.node("a").list.no.term == 1);
    c.start();
    c.start();
    CHECK(c.core->term() == 3);
    c.connect("a");
    c.report("a");
    CHECK(c.node("a").list.no.term == 3);
    CHECK(c.node("a").list.cluster_id == kClusterId);
}

TEST_CASE("1: a node gets nothing before its first full report of the term") {
    ControllerShell c;
    c.connect("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.heartbeat("a");
    c.say("a", PullList{});
    CHECK(c.node("a").list.no == ListNo{});
    CHECK(c.where("s.0") == "");
    CHECK(c.reason("s.0", "a").find("first report") != std::string::npos);
    c.report("a");
    CHECK(c.node("a").list.copies.size() == 1);
}

TEST_CASE("1: an epoch is greater than every stored and every reported one") {
    ControllerShell c;
    c.join("a");
    c.join("b");
    REQUIRE(c.deploy(manifest("s", {"a", "b"})).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(c.copy("s.0").epoch == 1);
    // As after a restore of an older database: the node knows of epochs that the controller has forgotten.
    c.set("b", {c.copy("s.0").instance, 7}, CopyState::kRunning);
    c.report("b");
    CHECK(c.copy("s.0").epoch == 1);
    CHECK(c.node_document("b").at("stale").as_array().size() == 1);
    c.start();
    c.reboot("a");
    c.connect("a");
    c.report("a");
    CHECK(c.copy("s.0").epoch == 8);
}

TEST_CASE("1: epochs and service numbers are never used twice, even when names and slots are") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"}, 3)).has_value());
    c.obey("a", CopyState::kReady);
    const auto third = c.copy("s.2");
    REQUIRE(c.deploy(manifest("s", {"a"}, 2)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(manifest("s", {"a"}, 3)).has_value());
    CHECK(c.copy("s.2").epoch > third.epoch);
    const auto number = c.number_of("s");
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    CHECK(c.number_of("s") > number);
    c.start();
    REQUIRE(c.deploy(manifest("t", {"a"})).has_value());
    CHECK(c.number_of("t") > c.number_of("s"));
}

TEST_CASE("1: a list that got lost is pulled") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto list = std::exchange(c.node("a").list, NodeList{});
    c.say("a", PullList{});
    CHECK(c.node("a").list == list);
}

TEST_CASE("1: a node that was forgotten and comes back gets lists that it accepts") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    const auto applied = c.node("a").applied;
    c.reset("a");
    REQUIRE(c.api(ApiRemoveNode{0, "a", true}).has_value());
    c.connect("a", [&](Hello& hello) { hello.applied = applied; });
    c.report("a");
    CHECK(c.node("a").list.no > applied);
    CHECK(c.where("s.0") == "a");
}

TEST_CASE("1: a controller whose database is older than the fleet raises its term above the fleet's") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    c.join("b");
    c.connect("b", [&](Hello& hello) { hello.applied = {9, 4}; });
    CHECK(c.core->term() == 10);
    CHECK(c.count("term-raised") == 1);
    c.report("b");
    CHECK(c.node("b").list.no.term == 10);
    CHECK(c.node("a").list.no.term == 10);
    CHECK(c.node("a").list.copies.size() == 1);
    c.start();
    CHECK(c.core->term() == 11);
}

TEST_CASE("1: a late hello of the boot before is closed and says why") {
    ControllerShell c;
    c.join("a");
    const auto before = c.node("a").id;
    c.reboot("a");
    c.connect("a");
    c.report("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    auto hello = c.hello_of("a");
    hello.id = before;
    hello.id.seq += 1;
    c.step(PeerMessage{900, "10.0.0.1", hello});
    CHECK(c.closed.at(900).find("a hello of session 1 of a, expected session 2") != std::string::npos);
    CHECK(c.copy("s.0").epoch == 1);
    CHECK(c.liveness("a") == "ready");
}

TEST_CASE("1: a node that has applied more of this very term than was given raises the term too") {
    ControllerShell c;
    c.join("a");
    const auto term = c.core->term();
    // The same backup was restored twice: both reigns count from the same term.
    c.connect("a", [&](Hello& hello) { hello.applied = {term, 50}; });
    CHECK(c.core->term() == term + 1);
    c.report("a");
    CHECK(c.node("a").list.no > ListNo{term, 50});
    CHECK(c.names.term == term + 1);
}

TEST_CASE("a hello that comes twice leaves its connection as it is") {
    ControllerShell c;
    c.join("SNode1");
    Hello hello = c.hello_of("SNode1");
    hello.id = c.node("SNode1").id;
    c.step(PeerMessage{c.node("SNode1").peer, "10.0.0.1", hello});
    CHECK(c.closed.empty());
    CHECK(c.liveness("SNode1") == "ready");
}
