// SPDX-License-Identifier: Apache-2.0
//
// Services that are stopped, started and restarted by hand.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

using Action = ApiRollout::Action;

Result<json::value> order(ControllerShell& c, Action action) { return c.api(ApiRollout{0, "s", action, 0}); }

std::string text(const json::value& value) { return std::string(value.as_string()); }
std::string state_of(ControllerShell& c) { return text(c.core->service("s")->at("state")); }
std::string state_of(ControllerShell& c, const std::string& instance) { return text(c.instance(instance).at("state")); }

std::size_t listed(ControllerShell& c) {
    std::size_t out = 0;
    for (const auto& [name, node] : c.nodes) out += node.list.copies.size();
    return out;
}

void obey_all(ControllerShell& c, CopyState state = CopyState::kReady) {
    for (const auto& [name, node] : std::map(c.nodes))
        if (node.peer != 0) c.obey(name, state);
}

void start_anew(ControllerShell& c) {
    c.start();
    for (const auto& [name, node] : std::map(c.nodes)) {
        c.connect(name);
        c.report(name);
    }
}

// Three instances of revision 1 are ready on two nodes.
ControllerShell three_ready(json::object changes = {}) {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    auto document = manifest("s", {"a", "b"}, 3);
    for (const auto& change : changes) document.as_object()[change.key()] = change.value();
    REQUIRE(c.deploy(document).has_value());
    obey_all(c);
    REQUIRE(state_of(c) == "ready");
    return c;
}

}  // namespace

TEST_CASE("what is stopped runs nowhere, keeps its revision and instances, and runs again when it is started") {
    auto c = three_ready();
    const auto answer = order(c, Action::kStop);
    REQUIRE(answer.has_value());
    CHECK(answer->at("stopped").as_bool());
    const auto none = [](const Rank&) -> Result<std::vector<Keys>> { return fail(Code::kFailed, "not asked"); };
    const auto names = [](const std::string&) { return std::vector<std::string>(); };
    CHECK(c.core->explain("s", c.now, none, names)->at("stopped").as_bool());
    CHECK(listed(c) == 0);
    CHECK(state_of(c) == "stopping");
    CHECK(text(c.core->service("s")->at("reason")) == "its copies are being stopped on a, b");
    CHECK(state_of(c, "s.0") == "stopping");
    obey_all(c);
    CHECK(state_of(c) == "stopped");
    CHECK(state_of(c, "s.0") == "stopped");
    CHECK(c.core->service("s")->at("revision") == 1);
    CHECK(c.core->instances().size() == 3);
    CHECK(c.instance("s.0").at("pending").as_array().empty());
    CHECK(order(c, Action::kStop).has_value());
    CHECK(c.count("service-stopped") == 1);
    c.wait_all(seconds(60));
    CHECK(listed(c) == 0);
    CHECK(c.count("move-slow") == 0);

    REQUIRE(order(c, Action::kStart).has_value());
    CHECK(listed(c) == 3);
    obey_all(c);
    CHECK(state_of(c) == "ready");
    CHECK(c.core->service("s")->at("revision") == 1);
    CHECK(c.instance("s.0").at("epoch") == 2);
    CHECK(order(c, Action::kStart).has_value());
    CHECK(c.count("service-started") == 1);
    // The time in between is no move's cost.
    CHECK(c.core->service("s")->at("moves").at("last").is_null());
}

TEST_CASE("a stop outlives the controller, whether or not it was confirmed before") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    const bool confirmed = GENERATE(true, false);
    if (confirmed) obey_all(c);
    start_anew(c);
    CHECK(state_of(c) == (confirmed ? "stopped" : "stopping"));
    obey_all(c);
    CHECK(listed(c) == 0);
    CHECK(state_of(c) == "stopped");
    c.wait_all(seconds(60));
    CHECK(listed(c) == 0);
    CHECK(c.count("move-slow") == 0);
    REQUIRE(order(c, Action::kStart).has_value());
    CHECK(c.store.at("service/s").find("stopped") == std::string::npos);  // an older gantryd can read it again
    obey_all(c);
    CHECK(state_of(c) == "ready");
}

TEST_CASE("a start before the stop is confirmed makes no second copy beside the one that ends") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    REQUIRE(order(c, Action::kStart).has_value());
    CHECK(listed(c) == 0);
    CHECK(state_of(c, "s.0") == "pending");
    CHECK_THAT(text(c.instance("s.0").at("reason")), Contains("to stop epoch 1"));
    obey_all(c);
    CHECK(listed(c) == 3);
    obey_all(c);
    CHECK(state_of(c) == "ready");
}

TEST_CASE("a deployment changes what is stopped and does not start it") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    obey_all(c);
    auto changed = manifest("s", {"a", "b"}, 4);
    changed.as_object()["container"] = json::object{{"args", {"two"}}};
    const auto answer = c.deploy(changed);
    REQUIRE(answer.has_value());
    CHECK_THAT(text(answer->at("warnings").at(0)), Contains("s is stopped and stays so: gantry start s"));
    CHECK(c.core->service("s")->at("revision") == 2);
    CHECK(listed(c) == 0);
    CHECK(state_of(c) == "stopped");
    CHECK(state_of(c, "s.3") == "stopped");
    REQUIRE(c.api(ApiRollout{0, "s", Action::kRollBack, 1}).has_value());
    CHECK(listed(c) == 0);
    REQUIRE(order(c, Action::kStart).has_value());
    obey_all(c);
    CHECK(state_of(c) == "ready");
    CHECK(c.core->service("s")->at("revision") == 3);
    CHECK(c.core->service("s")->at("ready") == 3);
}

TEST_CASE("a planned move ends with a stop, next copy and all") {
    auto c = three_ready();
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    REQUIRE(c.instance("s.0").contains("next"));
    REQUIRE(order(c, Action::kStop).has_value());
    CHECK(listed(c) == 0);
    CHECK_FALSE(c.instance("s.0").contains("next"));
    obey_all(c);
    CHECK(state_of(c) == "stopped");
    REQUIRE(order(c, Action::kStart).has_value());
    CHECK(c.node("a").list.copies.empty());
    CHECK(c.node("b").list.copies.size() == 3);
}

TEST_CASE("a node that was lost does not bring back what was stopped meanwhile") {
    auto c = three_ready();
    const auto on_b = c.node("b").copies;
    REQUIRE_FALSE(on_b.empty());
    c.reset("b");
    c.wait(seconds(5), {"a"});
    REQUIRE(c.liveness("b") == "lost");
    REQUIRE(order(c, Action::kStop).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(state_of(c) == "stopped");
    CHECK_THAT(text(c.core->service("s")->at("reason")), Contains("it may run on b until that is back"));
    c.connect("b");
    c.report("b");
    CHECK(c.count("returned") == 0);
    CHECK(listed(c) == 0);
    CHECK(state_of(c) == "stopping");
    c.obey("b", CopyState::kReady);
    CHECK(state_of(c) == "stopped");
    CHECK(text(c.core->service("s")->at("reason")).empty());
}

TEST_CASE("a node that is lost before it has stopped its copies ends no stop") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    c.obey("a", CopyState::kReady);
    c.reset("b");
    c.wait(seconds(5), {"a"});
    REQUIRE(c.liveness("b") == "lost");
    CHECK(state_of(c) == "stopped");
    CHECK(listed(c) == 0);
    c.connect("b");
    c.report("b");
    c.obey("b", CopyState::kReady);
    CHECK(listed(c) == 0);
    CHECK(state_of(c) == "stopped");
}

TEST_CASE("who starts after a stopped service waits for it and says so") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    obey_all(c);
    auto other = manifest("t", {"a", "b"});
    other.as_object()["service"].as_object()["after"] = json::array{"s"};
    REQUIRE(c.deploy(other).has_value());
    CHECK(c.reason("t.0", "*") == "starts after s, which is stopped");
    REQUIRE(order(c, Action::kStart).has_value());
    obey_all(c);
    CHECK_FALSE(c.where("t.0").empty());
}

TEST_CASE("under forbid what is started waits until what was stopped has ended, or its lease is over") {
    ControllerShell c;
    const auto guarded = [](Hello& hello) { hello.runtimes.at(0).guarded = true; };
    c.join("a", guarded);
    auto document = manifest("s", {"a", "b"});
    document.as_object()["placement"].as_object()["overlap"] = "forbid";
    REQUIRE(c.deploy(document).has_value());
    c.obey("a", CopyState::kReady);
    c.join("b", guarded);
    c.heartbeat("a");
    REQUIRE(order(c, Action::kStop).has_value());
    REQUIRE(order(c, Action::kStart).has_value());
    CHECK(listed(c) == 0);
    const bool ends = GENERATE(true, false);
    if (ends) {
        c.obey("a", CopyState::kReady);
    } else {
        c.reset("a");
        const Instant until = c.now + lease_span(Timing{});
        c.wait(until - c.now - milliseconds(1), {"b"});
        CHECK(c.node("b").list.copies.empty());
        c.wait(milliseconds(2), {"b"});
    }
    CHECK(listed(c) == 1);
}

TEST_CASE("what keeps crashing is tried anew when it is started") {
    Timing timing;
    timing.crashes_to_move = 2;
    ControllerShell c(timing);
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kRunning);
    c.set("a", c.copy("s.0"), CopyState::kWaiting, 2);
    c.report("a");
    REQUIRE(state_of(c) == "failing");
    REQUIRE(order(c, Action::kStop).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(state_of(c) == "stopped");
    REQUIRE(order(c, Action::kStart).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(state_of(c) == "ready");
    CHECK(c.core->history("s")->at(0).at("failed_on").as_array().empty());
}

TEST_CASE("a restart of a service replaces every copy as an update would, and is refused while it is stopped") {
    auto c = three_ready({{"update", {{"max_surge", 1}}}});
    REQUIRE(order(c, Action::kRestart).has_value());
    CHECK(c.core->service("s")->at("revision") == 2);
    CHECK(c.count("gap-planned") == 0);
    for (int i = 0; i < 10 && state_of(c) != "ready"; ++i) {
        CHECK(c.core->service("s")->at("ready").to_number<int>() == 3);  // one after the other, without a gap
        obey_all(c);
    }
    CHECK(state_of(c) == "ready");
    for (const auto* name : {"s.0", "s.1", "s.2"}) {
        CHECK(c.instance(name).at("epoch") == 2);
        CHECK(c.instance(name).at("revision") == 2);
    }
    REQUIRE(order(c, Action::kStop).has_value());
    const auto refused = order(c, Action::kRestart);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Code::kConflict);
    CHECK(refused.error().message == "s is stopped: gantry start s runs it");
    const auto nowhere = c.core->place("s.0");
    REQUIRE_FALSE(nowhere.has_value());
    CHECK(nowhere.error().message == "s.0 is on no node: it is stopped; gantry start s runs it");
}

TEST_CASE("what is stopped can be removed, and one of that name deployed anew runs") {
    auto c = three_ready();
    REQUIRE(order(c, Action::kStop).has_value());
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    obey_all(c);
    CHECK(c.core->services().empty());
    REQUIRE(c.deploy(manifest("s", {"a", "b"})).has_value());
    obey_all(c);
    CHECK(state_of(c) == "ready");
}
