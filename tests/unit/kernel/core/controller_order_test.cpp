// SPDX-License-Identifier: Apache-2.0
//
// Start order, instances that keep away from each other, priorities, and rebalancing.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

json::value after(const std::string& name, std::vector<std::string> others, int instances = 1) {
    auto out = manifest(name, {"a", "b", "c"}, instances);
    out.at("service").as_object()["after"] = json::array(others.begin(), others.end());
    return out;
}

json::value placed(const std::string& key, const std::string& value, int instances) {
    auto out = manifest("s", {"a", "b", "c", "d"}, instances);
    out.at("placement").as_object()[key] = value;
    if (key == "spread_mode") out.at("placement").as_object()["spread"] = "rack";
    return out;
}

ControllerShell fleet(std::vector<std::string> names = {"a", "b", "c"}) {
    ControllerShell c;
    for (const auto& name : names) c.join(name);
    return c;
}

std::map<std::string, int> per_node(const ControllerShell& c) {
    std::map<std::string, int> out;
    for (const auto& instance : c.core->instances())
        if (const auto node = std::string(instance.at("node").as_string()); !node.empty()) ++out[node];
    return out;
}

void settle(ControllerShell& c) {
    for (int i = 0; i < 20; ++i)
        for (auto& [name, node] : c.nodes)
            if (node.peer != 0) c.obey(name, CopyState::kReady);
}

}  // namespace

TEST_CASE("after: a service is placed when the other is ready as a whole, and says what it waits for") {
    ControllerShell c = fleet();
    const auto deployed = c.deploy(after("web", {"db"}));
    REQUIRE(deployed.has_value());
    CHECK_THAT(std::string(deployed->at("warnings").as_array().at(0).as_string()), Contains("there is no service db"));
    CHECK(c.where("web.0") == "");
    CHECK(c.reason("web.0", "*") == "starts after db, which is not ready");
    REQUIRE(c.deploy(manifest("db", {"a", "b"}, 2)).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(c.where("web.0") == "");
    c.obey("b", CopyState::kReady);
    CHECK_FALSE(c.where("web.0").empty());
    settle(c);
    SECTION("later one instance of it will do") {
        const std::string here = c.where("web.0");
        for (const auto* name : {"a", "b", "c"})
            if (name == here || (name != std::string("c") && c.where("db.0") == name)) c.reset(name);
        std::vector<std::string> left;
        for (auto& [name, node] : c.nodes)
            if (node.peer != 0) left.push_back(name);
        c.wait(seconds(1), left);
        CHECK_FALSE(c.where("web.0").empty());
    }
    SECTION("an order that is taken back holds nothing") {
        REQUIRE(c.deploy(after("late", {"nobody"})).has_value());
        CHECK(c.where("late.0") == "");
        REQUIRE(c.deploy(manifest("late", {"a", "b", "c"})).has_value());
        CHECK_FALSE(c.where("late.0").empty());
    }
    SECTION("the controller starts again while something waits") {
        REQUIRE(c.deploy(after("late", {"nobody"})).has_value());
        c.start();
        for (const auto* name : {"a", "b", "c"}) {
            c.connect(name);
            c.report(name);
        }
        CHECK(c.where("late.0") == "");
        REQUIRE(c.deploy(manifest("nobody", {"a"})).has_value());
        settle(c);
        CHECK_FALSE(c.where("late.0").empty());
    }
}

TEST_CASE("after: a cycle is refused with its members, whoever closes it") {
    ControllerShell c = fleet();
    CHECK(c.deploy(after("s", {"s"})).error().message ==
          "none of these would ever start: s after s; take one of them out");
    REQUIRE(c.deploy(after("x", {"y"})).has_value());
    REQUIRE(c.deploy(after("y", {"other", "z"})).has_value());
    const auto refused = c.deploy(after("z", {"x"}));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().where == "service.after");
    CHECK(refused.error().message == "none of these would ever start: z after x after y after z; take one of them out");
    CHECK(c.deploy(after("z", {"other"})).has_value());
}

TEST_CASE("hard anti-affinity: no two instances on one node, and the one too many is pending") {
    ControllerShell c = fleet();
    REQUIRE(c.deploy(placed("anti_affinity", "hard", 4)).has_value());
    CHECK(per_node(c) == std::map<std::string, int>{{"a", 1}, {"b", 1}, {"c", 1}});
    CHECK_THAT(c.reason("s.3", "a"), Contains("anti_affinity is hard"));
    c.join("d");
    CHECK(c.where("s.3") == "d");
}

TEST_CASE("soft anti-affinity: apart while there is a choice, whatever the policy prefers") {
    ControllerShell c = fleet();
    c.score = [](const Rank& rank) {
        std::vector<Keys> keys;
        for (const auto& candidate : rank.candidates) keys.push_back({candidate.node == "a" ? 0 : 1, 0, 0, 0});
        return keys;
    };
    REQUIRE(c.deploy(placed("anti_affinity", "soft", 4)).has_value());
    CHECK(per_node(c) == std::map<std::string, int>{{"a", 2}, {"b", 1}, {"c", 1}});
}

TEST_CASE("spread over a label: as many in each group, hard or while there is a choice") {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.labels[name] = {{"rack", "1"}};
    c.labels["d"] = {{"rack", "2"}};
    for (const auto* name : {"a", "b", "c", "d"}) c.join(name);
    SECTION("soft") {
        REQUIRE(c.deploy(placed("spread", "rack", 4)).has_value());
        CHECK(per_node(c).at("d") == 2);
    }
    SECTION("hard") {
        REQUIRE(c.deploy(placed("spread_mode", "hard", 4)).has_value());
        CHECK(per_node(c).at("d") == 2);
        c.reset("d");
        c.wait(seconds(1), {"a", "b", "c"});
        CHECK(per_node(c).size() + 2 >= 4);  // with one rack left there is no other to be behind
        c.join("e");
    }
    SECTION("a node without the label is none for it") {
        c.join("e");
        auto document = placed("spread_mode", "hard", 1);
        document.at("placement").as_object()["nodes"] = json::array{"e"};
        REQUIRE(c.deploy(document).has_value());
        CHECK(c.reason("s.0", "e") == "has no label rack, and spread is hard");
    }
}

TEST_CASE("of services that wait for room the one with the greater priority is placed first") {
    ControllerShell c;
    const auto wants = [](const std::string& name, int priority) {
        auto out = manifest(name, {"a"});
        out.at("service").as_object()["priority"] = priority;
        out.as_object()["resources"] = json::object{{"memory", "700MiB"}};
        return out;
    };
    REQUIRE(c.deploy(wants("low", 0)).has_value());
    REQUIRE(c.deploy(wants("high", 10)).has_value());
    c.join("a");
    CHECK(c.where("high.0") == "a");
    CHECK(c.where("low.0") == "");
    // Nothing is taken away for it.
    REQUIRE(c.deploy(wants("highest", 100)).has_value());
    CHECK(c.where("high.0") == "a");
}

TEST_CASE("rebalance: shows its plan, moves so many at a time, and everything stays ready") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"}, 6)).has_value());
    settle(c);
    REQUIRE(c.deploy(manifest("s", {"a", "b", "c"}, 6)).has_value());
    for (const auto* name : {"b", "c"}) c.join(name);
    const auto plan = c.api(ApiRebalance{0, 2, true});
    REQUIRE(plan.has_value());
    CHECK(plan->at("moves").as_array().size() == 4);
    CHECK(plan->at("before").at("most").to_number<int>() == 6);
    CHECK(plan->at("after").at("most").to_number<int>() == 2);
    CHECK(plan->at("after").at("least").to_number<int>() == 2);
    CHECK(c.count("moving") == 0);
    REQUIRE(c.api(ApiRebalance{0, 2, false}).has_value());
    CHECK(c.count("moving") == 2);
    for (int i = 0; i < 10; ++i)
        for (const auto* name : {"a", "b", "c"}) {
            c.obey(name, CopyState::kReady);
            CHECK(c.core->service("s")->at("ready").to_number<int>() == 6);
        }
    CHECK(c.count("moving") == 4);
    CHECK(per_node(c) == std::map<std::string, int>{{"a", 2}, {"b", 2}, {"c", 2}});
    CHECK(c.api(ApiRebalance{0, 2, false})->at("moves").as_array().empty());
    CHECK_FALSE(c.api(ApiRebalance{0, 0, false}).has_value());
}

TEST_CASE("a rebalance outlives the controller: what is left of it goes on when the nodes are back") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"}, 6)).has_value());
    settle(c);
    REQUIRE(c.deploy(manifest("s", {"a", "b", "c"}, 6)).has_value());
    for (const auto* name : {"b", "c"}) c.join(name);
    REQUIRE(c.api(ApiRebalance{0, 1, false}).has_value());
    CHECK(c.count("moving") == 1);
    c.start();
    std::vector<const char*> there = {"a", "b", "c"};
    SECTION("all of them") {}
    SECTION("but one, which is lost meanwhile: what should have moved there stays") { there.pop_back(); }
    for (const auto* name : there) {
        CHECK(c.count("moving") == 1);  // one at a time, and the one that was under way counts
        c.connect(name);
        c.report(name);
    }
    for (int i = 0; i < 10; ++i) {
        c.wait_all(seconds(1));
        for (const auto* name : there) c.obey(name, CopyState::kReady);
    }
    CHECK(c.store.count("rebalance") == 0);
    if (there.size() == 3) {
        CHECK(c.count("moving") == 4);
        CHECK(per_node(c) == std::map<std::string, int>{{"a", 2}, {"b", 2}, {"c", 2}});
    } else {
        CHECK(per_node(c)["a"] == 4);
        CHECK(per_node(c)["b"] == 2);
    }
    CHECK(c.core->service("s")->at("ready").to_number<int>() == 6);
}
