// SPDX-License-Identifier: Apache-2.0
//
// faults.md 6: return, drain, changed manifests, failures.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

json::value version(int v, std::vector<std::string> nodes, int instances = 1) {
    auto out = manifest("s", std::move(nodes), instances);
    out.as_object()["container"] = json::object{{"args", {"run", std::to_string(v)}}};
    return out;
}

std::string state(const ControllerShell& c, const std::string& instance) {
    return std::string(c.instance(instance).at("state").as_string());
}

void crash(ControllerShell& c, const std::string& node, const CopyId& copy, std::uint32_t times) {
    for (std::uint32_t i = 1; i <= times; ++i) {
        c.set(node, copy, CopyState::kWaiting, i);
        c.report(node);
    }
}

std::string next_of(const ControllerShell& c, const std::string& instance) {
    const auto found = c.instance(instance);
    const auto* next = found.if_contains("next");
    return next ? std::string(next->at("node").as_string()) : "";
}

bool lists(ControllerShell& c, const std::string& node, const CopyId& copy) {
    const auto& copies = c.node(node).list.copies;
    return std::any_of(copies.begin(), copies.end(), [&](const ListEntry& entry) { return entry.copy == copy; });
}

// The node does what its list says, and its copies from this epoch on get `state`; those before are ready.
void obey_some(ControllerShell& c, const std::string& node, CopyState state, std::uint64_t epoch) {
    auto& peer = c.node(node);
    peer.applied = peer.list.no;
    std::map<CopyId, CopyReport> has;
    for (const auto& entry : peer.list.copies) {
        has[entry.copy] = peer.copies[entry.copy];
        has[entry.copy].copy = entry.copy;
        has[entry.copy].state = entry.copy.epoch >= epoch ? state : CopyState::kReady;
    }
    peer.copies = std::move(has);
    c.report(node);
}

}  // namespace

TEST_CASE("6: a copy that returns while its instance is pending is current again, and no epoch is used up") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(version(1, {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    c.reset("a");
    c.wait(seconds(1), {});
    CHECK(c.where("s.0") == "");
    CHECK(state(c, "s.0") == "pending");
    c.connect("a");
    c.report("a");
    CHECK(c.where("s.0") == "a");
    CHECK(c.copy("s.0").epoch == 1);
    CHECK(state(c, "s.0") == "ready");
    CHECK(c.count("returned") == 1);
}

TEST_CASE("6: a copy that returns is not taken back to a node that is none for it any more") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(version(1, {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    c.reset("a");
    c.wait(seconds(1), {});
    REQUIRE(c.deploy(version(1, {"b"})).has_value());
    c.connect("a");
    c.report("a");
    CHECK(c.where("s.0") == "");
    CHECK(c.node_document("a").at("stale").as_array().size() == 1);
}

TEST_CASE("6: a changed manifest replaces one instance at a time: the next copy is ready before the old one stops") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b", "c"}, 3)).has_value());
    for (const auto* name : {"a", "b", "c"}) c.obey(name, CopyState::kReady);
    const auto same = c.deploy(version(1, {"a", "b", "c"}, 3));
    CHECK(same->at("changed").as_bool() == false);
    CHECK(c.count("moving") == 0);

    REQUIRE(c.deploy(version(2, {"a", "b", "c"}, 3)).has_value());
    for (std::uint32_t i = 0; i < 3; ++i) {
        const std::string instance = "s." + std::to_string(i);
        CHECK(c.count("moving") == std::size_t(i) + 1);
        const std::string old = i == 0 ? "a" : i == 1 ? "b" : "c";
        CHECK(c.where(instance) == old);
        CHECK(state(c, instance) == "ready");
        const std::string there = next_of(c, instance);
        REQUIRE_FALSE(there.empty());
        obey_some(c, there, CopyState::kRunning, 2);
        CHECK(c.copy(instance).epoch == 1);
        CHECK(lists(c, old, c.copy(instance)));
        CHECK(c.count("moving") == std::size_t(i) + 1);
        obey_some(c, there, CopyState::kReady, 2);
        CHECK(c.where(instance) == there);
        CHECK(c.copy(instance).epoch == 2);
        CHECK_FALSE(lists(c, old, {c.copy(instance).instance, 1}));
    }
    CHECK(c.count("gap-planned") == 0);
    for (const auto* name : {"a", "b", "c"}) c.obey(name, CopyState::kReady);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(c.core->service("s")->at("revision").to_number<int>() == 2);
}

TEST_CASE("6: in the table of names the new copy replaces the old one in one step, before the old one is stopped") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    auto document = version(1, {"a", "b"});
    document.as_object()["endpoint"] = json::array{json::object{{"name", "s"}, {"port", 3000}}};
    REQUIRE(c.deploy(document).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.names.entries.size() == 1);
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    CHECK(next_of(c, "s.0") == "b");
    REQUIRE(c.node("b").list.copies.size() == 1);
    CHECK(c.node("b").list.copies[0].is_next);
    const auto before = c.names.names_no;
    c.obey("b", CopyState::kReady);
    CHECK(c.names.names_no == before + 1);
    REQUIRE(c.names.entries.size() == 1);
    CHECK(c.names.entries[0].node == "b");
    CHECK(c.node("a").list.copies.empty());
    CHECK_FALSE(c.node("b").list.copies.at(0).is_next);
    CHECK(c.count("moving") == 1);
    c.obey("a", CopyState::kReady);
    CHECK(c.count("drained") == 1);
}

TEST_CASE("6: the current copy is lost during a move: next becomes current when it is ready") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"})).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    c.obey("b", CopyState::kRunning);
    c.reset("a");
    c.wait(seconds(1), {"b"});
    CHECK(c.where("s.0") == "b");
    CHECK(c.copy("s.0").epoch == 2);
    CHECK(state(c, "s.0") == "running");
    SECTION("ready") {
        c.set("b", c.copy("s.0"), CopyState::kReady);
        c.report("b");
        CHECK(state(c, "s.0") == "ready");
        c.connect("a");
        c.report("a");
        CHECK(c.copy("s.0").epoch == 2);
        CHECK(c.count("returned") == 0);
    }
    SECTION("it returns before: it is current again until next is ready, and no epoch is used up") {
        c.connect("a");
        c.report("a");
        CHECK(c.count("returned") == 1);
        CHECK(c.where("s.0") == "a");
        CHECK(c.copy("s.0").epoch == 1);
        CHECK(next_of(c, "s.0") == "b");
        c.obey("b", CopyState::kReady);
        CHECK(c.where("s.0") == "b");
        CHECK(c.copy("s.0").epoch == 2);
        CHECK(c.node("a").list.copies.empty());
    }
    SECTION("the controller starts again meanwhile") {
        c.start();
        c.connect("b");
        c.report("b");
        CHECK(c.where("s.0") == "b");
        c.set("b", c.copy("s.0"), CopyState::kReady);
        c.report("b");
        CHECK(state(c, "s.0") == "ready");
        CHECK(c.copy("s.0").epoch == 2);
    }
}

TEST_CASE("6: a node that returns before the replacement is ready keeps its copy until then") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"})).has_value());
    c.obey("a", CopyState::kReady);
    c.reset("a");
    c.wait(seconds(1), {"b"});
    REQUIRE(c.where("s.0") == "b");
    c.connect("a");
    c.report("a");
    CHECK(c.where("s.0") == "a");
    CHECK(state(c, "s.0") == "ready");
    CHECK(lists(c, "a", {c.copy("s.0").instance, 1}));
    c.obey("b", CopyState::kReady);
    CHECK(c.where("s.0") == "b");
    c.obey("a", CopyState::kReady);
    CHECK(c.node("a").copies.empty());
}

TEST_CASE("6: the next copy is lost: the move is planned again and the current one stays") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b", "c"})).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    REQUIRE(next_of(c, "s.0") == "b");
    c.reset("b");
    c.wait(seconds(1), {"a", "c"});
    CHECK(c.where("s.0") == "a");
    CHECK(state(c, "s.0") == "ready");
    CHECK(next_of(c, "s.0") == "c");
    c.obey("c", CopyState::kReady);
    CHECK(c.where("s.0") == "c");
    CHECK(c.copy("s.0").epoch == 3);
}

TEST_CASE("6: a next copy that keeps crashing is tried elsewhere; at the end the current one stays") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    auto changed = version(2, {"a", "b", "c"});
    changed.as_object()["update"] = json::object{{"on_failure", "stay"}};
    REQUIRE(c.deploy(changed).has_value());
    std::set<std::string> tried;
    for (int i = 0; i < 3; ++i) {
        const std::string there = next_of(c, "s.0");
        REQUIRE_FALSE(there.empty());
        CHECK(tried.insert(there).second);
        const CopyId next{c.copy("s.0").instance, static_cast<std::uint64_t>(i) + 2};
        obey_some(c, there, CopyState::kRunning, 1 + i);
        crash(c, there, next, 5);
        CHECK(state(c, "s.0") == "ready");
        CHECK(c.where("s.0") == "a");
    }
    CHECK(next_of(c, "s.0").empty());
    CHECK(c.count("failing") == 1);
    CHECK(c.core->service("s")->at("state").as_string() == "failing");
    CHECK(c.instance("s.0").at("reason").as_string() == "stays at its revision: the new one keeps crashing");
    c.wait_all(seconds(60));
    CHECK(next_of(c, "s.0").empty());
    REQUIRE(c.deploy(version(3, {"a", "b", "c"})).has_value());
    CHECK_FALSE(next_of(c, "s.0").empty());
}

TEST_CASE("6: where only the old copy's room is left a gap is planned, and said") {
    ControllerShell c;
    c.join("a");
    const auto fixed_port = [](int v) {
        auto document = version(v, {"a"});
        document.as_object()["endpoint"] = json::array{json::object{{"name", "s"}, {"port", 3000}}};
        return document;
    };
    REQUIRE(c.deploy(fixed_port(1)).has_value());
    c.obey("a", CopyState::kReady);
    const auto dry = c.deploy(fixed_port(2), true);
    CHECK(dry->at("placement").as_array().at(0).at("reason").as_string() ==
          "runs now; replaced when its turn comes, with a gap: no second copy fits beside it");
    REQUIRE(c.deploy(fixed_port(2)).has_value());
    CHECK(c.count("gap-planned") == 1);
    CHECK(c.where("s.0") == "");
    CHECK(c.instance("s.0").at("reason").as_string().starts_with("waits for a to stop"));
    CHECK(c.names.entries.empty());
    SECTION("stopped, confirmed, started") {
        c.obey("a", CopyState::kReady);
        CHECK(c.where("s.0") == "a");
        CHECK(state(c, "s.0") == "ready");
        CHECK(c.copy("s.0").epoch == 2);
    }
    SECTION("also over a start of the controller") {
        c.start();
        c.connect("a");
        c.report("a");
        CHECK(c.where("s.0") == "");
        c.obey("a", CopyState::kReady);
        CHECK(state(c, "s.0") == "ready");
    }
}

TEST_CASE("4: a node that goes down keeps its copies until others are ready, then it has left") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a"}, 3)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(version(1, {"a", "b", "c"}, 3)).has_value());
    c.say("a", Leaving{{}, true});
    CHECK(c.liveness("a") == "ready");
    // All at once.
    for (int i = 0; i < 3; ++i) CHECK_FALSE(next_of(c, "s." + std::to_string(i)).empty());
    CHECK(c.core->service("s")->at("ready").to_number<int>() == 3);
    SECTION("they move") {
        for (const auto* name : {"b", "c"}) c.obey(name, CopyState::kReady);
        CHECK(c.core->service("s")->at("ready").to_number<int>() == 3);
        CHECK(c.liveness("a") == "ready");
        c.obey("a", CopyState::kReady);
        c.heartbeat("a");
        CHECK(c.liveness("a") == "left");
        CHECK(c.count("lost") == 0);
    }
    SECTION("they do not get ready in time") {
        c.wait_all(seconds(19));
        CHECK(c.liveness("a") == "ready");
        c.wait_all(seconds(2));
        CHECK(c.liveness("a") == "left");
        CHECK(c.count("lost") == 3);
    }
    SECTION("it does not wait for the end") {
        c.say("a", Leaving{});
        CHECK(c.liveness("a") == "left");
    }
    SECTION("it comes back after all") {
        ++c.node("a").id.session;
        c.node("a").id.seq = 0;
        c.connect("a");
        c.report("a");
        c.wait_all(seconds(30));
        CHECK(c.liveness("a") == "ready");
    }
}

TEST_CASE("4: a node that goes down waits for nothing that cannot move") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    c.say("a", Leaving{{}, true});
    CHECK(c.liveness("a") == "left");
}

TEST_CASE("6: another number or another pool replaces no copy that may stay") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"}, 2)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    REQUIRE(c.deploy(version(1, {"a", "b"}, 4)).has_value());
    CHECK(c.count("moving") == 0);
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    CHECK(c.core->service("s")->at("ready").to_number<int>() == 4);
    REQUIRE(c.deploy(version(1, {"b"}, 4)).has_value());
    // Those on a move, one after the other.
    for (int i = 0; i < 20; ++i)
        for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    CHECK(c.count("gap-planned") == 0);
    for (int i = 0; i < 4; ++i) CHECK(c.where("s." + std::to_string(i)) == "b");
    CHECK(c.count("moving") == 2);
    REQUIRE(c.deploy(version(1, {"b"}, 1)).has_value());
    CHECK(c.core->instances().size() == 1);
    CHECK(c.node("b").list.copies.size() == 1);
}

TEST_CASE("6: a revision that fits no node replaces nothing") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(version(1, {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    auto greedy = version(2, {"a"});
    greedy.as_object()["resources"] = json::object{{"memory", "4GiB"}};
    REQUIRE(c.deploy(greedy).has_value());
    CHECK(c.where("s.0") == "a");
    CHECK(state(c, "s.0") == "ready");
    CHECK(c.instance("s.0").at("reason").as_string() == "stays at its revision: the new one fits no node");
    REQUIRE(c.deploy(version(3, {"a"})).has_value());
    CHECK(c.count("moving") == 1);
    c.obey("a", CopyState::kReady);
    CHECK(state(c, "s.0") == "ready");
}

TEST_CASE("6: a revision that does not get ready stops the rollout at its first instance; the next one goes on") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"}, 2)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    REQUIRE(c.deploy(version(2, {"a", "b"}, 2)).has_value());
    const std::string there = next_of(c, "s.0");
    obey_some(c, there, CopyState::kRunning, 2);
    c.wait_all(seconds(60));
    CHECK(c.count("moving") == 1);
    CHECK(c.core->service("s")->at("ready").to_number<int>() == 2);
    CHECK(next_of(c, "s.1").empty());
    REQUIRE(c.deploy(version(3, {"a", "b"}, 2)).has_value());
    CHECK(c.count("moving") == 2);
    for (int i = 0; i < 20; ++i)
        for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
}

TEST_CASE("6: the controller starts again in the middle of a replacement and finishes it") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"}, 2)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    REQUIRE(c.deploy(version(2, {"a", "b"}, 2)).has_value());
    const std::string there = next_of(c, "s.0");
    c.start();
    for (const auto* name : {"a", "b"}) {
        c.connect(name);
        c.report(name);
    }
    CHECK(c.where("s.0") == "a");
    CHECK(next_of(c, "s.0") == there);
    for (int i = 0; i < 20; ++i)
        for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(c.copy("s.0").epoch == 2);
    CHECK(c.copy("s.1").epoch == 2);
}

TEST_CASE("6: a drain moves one instance at a time and ends; active ends it early") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(manifest("s", {"a"}, 3)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(manifest("s", {"a", "b"}, 3)).has_value());
    REQUIRE(c.deploy(manifest("fixed", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    CHECK_FALSE(c.api(ApiSetIntent{0, "a", "asleep"}).has_value());
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    CHECK(c.count("moving") == 1);
    CHECK(c.where("s.0") == "a");
    CHECK(next_of(c, "s.0") == "b");
    obey_some(c, "b", CopyState::kReady, 1);
    CHECK(c.where("s.0") == "b");
    CHECK(c.count("moving") == 2);
    SECTION("to its end: what has no other candidate stays, with the reason") {
        for (int i = 0; i < 10; ++i)
            for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
        for (int i = 0; i < 3; ++i) CHECK(c.where("s." + std::to_string(i)) == "b");
        CHECK(c.where("fixed.0") == "a");
        CHECK(c.instance("fixed.0").at("reason").as_string() ==
              "stays on the draining node: no other node can take it");
        CHECK(c.count("drained") == 0);
        REQUIRE(c.api(ApiRemoveService{0, "fixed"}).has_value());
        c.obey("a", CopyState::kReady);
        CHECK(c.count("drained") == 1);
    }
    SECTION("called off") {
        REQUIRE(c.api(ApiSetIntent{0, "a", "active"}).has_value());
        for (int i = 0; i < 10; ++i)
            for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
        CHECK(c.count("moving") == 2);
        CHECK(c.where("s.1") == "b");
        CHECK(c.where("s.2") == "a");
        CHECK(c.core->service("s")->at("ready").to_number<int>() == 3);
    }
}

TEST_CASE("6: five crashes in a row move an instance; where every candidate failed it stays and is failing") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"})).has_value());
    c.obey("a", CopyState::kRunning);
    crash(c, "a", c.copy("s.0"), 4);
    CHECK(c.where("s.0") == "a");
    crash(c, "a", c.copy("s.0"), 5);
    CHECK(c.where("s.0") == "b");
    CHECK(c.count("gives-up-node") == 1);
    c.obey("a", CopyState::kRunning);
    c.obey("b", CopyState::kRunning);
    crash(c, "b", c.copy("s.0"), 5);
    CHECK(c.where("s.0") == "b");
    CHECK(state(c, "s.0") == "failing");
    CHECK(c.core->service("s")->at("state").as_string() == "failing");
    CHECK(c.count("failing") == 1);
    crash(c, "b", c.copy("s.0"), 9);
    CHECK(c.count("failing") == 1);
    SECTION("it is remembered") {
        c.start();
        CHECK(c.core->service("s")->at("state").as_string() == "failing");
    }
    SECTION("a new revision begins anew") {
        REQUIRE(c.deploy(version(2, {"a", "b"})).has_value());
        for (int i = 0; i < 10; ++i)
            for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
        CHECK(c.core->service("s")->at("state").as_string() == "ready");
    }
    SECTION("it runs after all") {
        c.set("b", c.copy("s.0"), CopyState::kReady, 0);
        c.report("b");
        CHECK(c.core->service("s")->at("state").as_string() == "ready");
    }
    SECTION("a new candidate is tried at the next crash") {
        REQUIRE(c.deploy(version(1, {"a", "b", "d"})).has_value());
        c.join("d");
        crash(c, "b", c.copy("s.0"), 6);
        CHECK(c.where("s.0") != "b");
    }
}

TEST_CASE("6: three nodes are enough to give up") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c", "d", "e"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b", "c", "d", "e"})).has_value());
    for (const auto* name : {"a", "b", "c"}) {
        REQUIRE(c.where("s.0") == name);
        for (const auto* other : {"a", "b", "c"}) c.obey(other, CopyState::kRunning);
        crash(c, name, c.copy("s.0"), 5);
    }
    CHECK(c.where("s.0") == "c");
    CHECK(state(c, "s.0") == "failing");
}

TEST_CASE("static mode: one instance on every listed node, and it never moves") {
    ControllerShell c;
    c.join("a");
    c.join("b");
    auto document = manifest("s", {"a", "b", "z"});
    document.as_object()["service"].as_object().erase("instances");
    document.at("placement").as_object()["mode"] = "static";
    const auto deployed = c.deploy(document);
    REQUIRE(deployed.has_value());
    CHECK(deployed->at("instances").to_number<int>() == 3);
    CHECK(deployed->at("warnings").as_array().size() == 1);
    c.obey("a", CopyState::kReady);
    c.obey("b", CopyState::kReady);
    CHECK(c.where("s.0") == "a");
    CHECK(c.where("s.1") == "b");
    CHECK(c.where("s.2") == "");
    CHECK(c.node("a").list.copies.at(0).is_static);
    c.wait(seconds(2), {"b"});
    CHECK(c.where("s.0") == "");
    crash(c, "b", c.copy("s.1"), 6);
    CHECK(c.where("s.1") == "b");
    CHECK(state(c, "s.1") == "failing");
    c.join("z");
    CHECK(c.where("s.2") == "z");
    c.reboot("a");
    c.connect("a");
    c.report("a");
    CHECK(c.where("s.0") == "a");
    CHECK(c.questions == 0);
    // Another list of nodes: what stays is not touched.
    document.at("placement").as_object()["nodes"] = {"z", "b"};
    REQUIRE(c.deploy(document).has_value());
    CHECK(c.where("s.1") == "b");
    CHECK(c.where("s.2") == "z");
    CHECK(c.where("s.0") == "(none)");
    c.start();
    CHECK(c.where("s.1") == "b");
}

TEST_CASE("6: a healthy instance on the same node does not undo that another one failed there") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b"}, 2)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    crash(c, "a", c.copy("s.0"), 5);
    REQUIRE(c.where("s.0") == "b");
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    // s.1 is well on b, where s.0 now fails too.
    crash(c, "b", c.copy("s.0"), 5);
    CHECK(c.where("s.0") == "b");
    CHECK(state(c, "s.0") == "failing");
    c.report("b");
    CHECK(state(c, "s.0") == "failing");
    CHECK(c.count("failing") == 1);
    CHECK(c.count("gives-up-node") == 1);
    SECTION("it recovers while the controller is away") {
        c.start();
        for (const auto* name : {"a", "b"}) c.connect(name);
        c.report("a");
        c.set("b", c.copy("s.0"), CopyState::kReady, 0);
        c.report("b");
        CHECK(c.core->service("s")->at("state").as_string() == "ready");
    }
}

TEST_CASE("6: nodes that are no candidates now do not count as failed") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c", "d"}) c.join(name);
    REQUIRE(c.deploy(version(1, {"a", "b", "c", "d"})).has_value());
    for (const auto* name : {"a", "b"}) {
        REQUIRE(c.where("s.0") == name);
        for (const auto* other : {"a", "b"}) c.obey(other, CopyState::kRunning);
        crash(c, name, c.copy("s.0"), 5);
    }
    REQUIRE(c.where("s.0") == "c");
    c.obey("b", CopyState::kRunning);
    c.obey("c", CopyState::kRunning);
    c.reset("a");
    c.reset("b");
    c.wait(seconds(1), {"c", "d"});
    crash(c, "c", c.copy("s.0"), 5);
    CHECK(c.where("s.0") == "d");  // c is the first of the two that are left
}

TEST_CASE("6: a node that takes an instance only while that stays where it is is no other node to be tried") {
    ControllerShell c;
    c.labels["a"] = {{"rack", "1"}};
    c.labels["b"] = {{"rack", "2"}};
    for (const auto* name : {"a", "b"}) c.join(name);
    auto document = manifest("s", {"a", "b"}, 2);
    document.at("placement").as_object()["spread"] = "rack";
    document.at("placement").as_object()["spread_mode"] = "hard";
    REQUIRE(c.deploy(document).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    const std::string node = c.where("s.0");
    const CopyId copy = c.copy("s.0");
    crash(c, node, copy, 5);
    CHECK(c.copy("s.0") == copy);
    CHECK(state(c, "s.0") == "failing");
    CHECK(c.count("gives-up-node") == 0);
}

TEST_CASE("6: a static instance that kept crashing is placed on its node again") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    auto document = manifest("s", {"a", "b"});
    document.as_object()["service"].as_object().erase("instances");
    document.at("placement").as_object()["mode"] = "static";
    REQUIRE(c.deploy(document).has_value());
    for (const auto* name : {"a", "b"}) {
        c.obey(name, CopyState::kRunning);
        crash(c, name, c.copy(name == std::string("a") ? "s.0" : "s.1"), 5);
    }
    c.set("b", c.copy("s.1"), CopyState::kReady, 0);
    c.report("b");
    CHECK(c.core->service("s")->at("state").as_string() == "failing");
    SECTION("after a reboot") {
        c.reboot("a");
        c.connect("a");
        c.report("a");
        CHECK(c.where("s.0") == "a");
    }
    SECTION("it comes back") {
        c.reset("a");
        c.wait(seconds(1), {"b"});
        CHECK(c.where("s.0") == "");
        c.connect("a");
        c.report("a");
        CHECK(c.where("s.0") == "a");
        CHECK(c.copy("s.0").epoch == 1);
    }
}

TEST_CASE("6: one bad instance does not hold a drain back for ever") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(manifest("s", {"a"}, 3)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(manifest("s", {"a", "b"}, 3)).has_value());
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    SECTION("it never gets ready") {
        c.obey("a", CopyState::kReady);
        c.obey("b", CopyState::kRunning);
        REQUIRE(c.where("s.0") == "a");
    }
    SECTION("the controller starts again meanwhile") {
        c.obey("a", CopyState::kReady);
        c.obey("b", CopyState::kRunning);
        c.start();
        for (const auto* name : {"a", "b"}) {
            c.connect(name);
            c.report(name);
        }
    }
    c.wait_all(seconds(29));
    CHECK(c.count("moving") == 1);
    c.wait_all(seconds(2));
    CHECK(c.count("moving") == 2);
    CHECK(c.count("move-slow") == 1);
    CHECK(c.instance("s.0").at("reason").as_string().ends_with(
        "is not ready 30 s after its move from a began: a drain there goes on without it"));
}
