// SPDX-License-Identifier: Apache-2.0
//
// The main paths: deploy, place, ready, lost, placed again.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

json::value axis() {
    return json::object{
        {"service", {{"name", "axis_server"}, {"image", "app:1"}}},
        {"placement", {{"nodes", {"SNode1", "SNode2"}}}},
        {"endpoint", json::array{json::object{{"kind", "vsoa"}, {"name", "axis_server"}, {"port", 3002}}}}};
}

}  // namespace

TEST_CASE("a service is placed, its node is cut off, and it runs again elsewhere") {
    ControllerShell c;
    c.join("SNode1");
    c.join("SNode2");
    REQUIRE(c.deploy(axis()).has_value());
    CHECK(c.where("axis_server.0") == "SNode1");
    REQUIRE(c.node("SNode1").list.copies.size() == 1);
    CHECK(c.names.entries.empty());

    c.obey("SNode1", CopyState::kReady);
    CHECK(c.instance("axis_server.0").at("state").as_string() == "ready");
    REQUIRE(c.names.entries.size() == 1);
    CHECK(c.names.entries[0].node == "SNode1");
    CHECK(c.names.entries[0].port == 3002);
    CHECK(c.names.entries[0].address == "10.0.0.1");

    c.wait(milliseconds(1'100), {"SNode2"});
    CHECK(c.liveness("SNode1") == "lost");
    CHECK(c.names.entries.empty());
    CHECK(c.where("axis_server.0") == "SNode2");
    CHECK(c.instance("axis_server.0").at("epoch").to_number<int>() == 2);
    c.obey("SNode2", CopyState::kReady);
    REQUIRE(c.names.entries.size() == 1);
    CHECK(c.names.entries[0].node == "SNode2");

    // It comes back, only cut off: what it still runs is stopped, the service stays where it is.
    c.connect("SNode1");
    c.report("SNode1");
    CHECK(c.last("node-returned") == "SNode1 is back");
    CHECK(c.node("SNode1").list.copies.empty());
    CHECK(c.where("axis_server.0") == "SNode2");
    CHECK(c.count("stale") == 1);
    c.obey("SNode1", CopyState::kReady);
    CHECK(c.count("stale-stopped") == 1);
    CHECK(c.where("axis_server.0") == "SNode2");
}

TEST_CASE("a new boot id loses the copies of the old boot at once") {
    ControllerShell c;
    c.join("SNode1");
    c.join("SNode2");
    REQUIRE(c.deploy(axis()).has_value());
    c.obey("SNode1", CopyState::kReady);
    c.reboot("SNode1");
    c.connect("SNode1");
    CHECK(c.where("axis_server.0") == "SNode2");
    CHECK(c.last("node-lost").find("new boot id") != std::string::npos);
    c.report("SNode1");
    CHECK(c.liveness("SNode1") == "ready");
    CHECK(c.where("axis_server.0") == "SNode2");
}

TEST_CASE("a reset connection loses the node after its grace, unless it comes back") {
    ControllerShell c;
    c.join("SNode1");
    c.join("SNode2");
    REQUIRE(c.deploy(axis()).has_value());
    c.obey("SNode1", CopyState::kReady);
    c.reset("SNode1");
    CHECK(c.liveness("SNode1") == "suspect");
    c.wait(milliseconds(500), {"SNode2"});
    CHECK(c.liveness("SNode1") == "suspect");
    c.connect("SNode1");
    CHECK(c.liveness("SNode1") == "ready");
    c.reset("SNode1");
    c.wait(milliseconds(700), {"SNode2"});
    CHECK(c.liveness("SNode1") == "lost");
    CHECK(c.where("axis_server.0") == "SNode2");
}

TEST_CASE("the controller is started again: names stay, nothing moves") {
    ControllerShell c;
    c.join("SNode1");
    c.join("SNode2");
    REQUIRE(c.deploy(axis()).has_value());
    c.obey("SNode1", CopyState::kReady);
    const auto before = c.core->term();
    c.start();
    CHECK(c.core->term() == before + 1);
    CHECK(c.core->names().size() == 1);
    for (const auto* name : {"SNode1", "SNode2"}) {
        c.connect(name);
        CHECK(c.node(name).list.no.term == before);
        c.report(name);
        CHECK(c.node(name).list.no.term == before + 1);
        c.obey(name, CopyState::kReady);
    }
    c.wait_all(seconds(10));
    CHECK(c.where("axis_server.0") == "SNode1");
    CHECK(c.copy("axis_server.0").epoch == 1);
    CHECK(c.instance("axis_server.0").at("state").as_string() == "ready");
    CHECK(c.count("lost") == 0);
}
