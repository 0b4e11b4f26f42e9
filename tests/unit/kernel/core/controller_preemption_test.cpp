// SPDX-License-Identifier: Apache-2.0
//
// Preemption: who leaves for whom, how few, and that nothing follows from it.
#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

struct Wants {
    int priority = 0, mib = 0, cores = 0, port = 0, instances = 1;
    bool preempt = false;
    std::vector<std::string> nodes = {"a", "b"};
};

json::value service(const std::string& name, const Wants& w) {
    auto out = manifest(name, w.nodes, w.instances);
    auto& object = out.as_object();
    object["service"].as_object()["priority"] = w.priority;
    if (w.preempt) object["placement"].as_object()["preempt"] = true;
    json::object resources;
    if (w.mib) resources["memory"] = std::int64_t{w.mib} << 20;
    if (w.cores) resources["cpu"] = w.cores;
    object["resources"] = std::move(resources);
    if (w.port) object["endpoint"] = json::array{json::object{{"name", name}, {"port", w.port}}};
    return out;
}

// Nodes have 1 GiB and four cores.
struct Shell : ControllerShell {
    explicit Shell(const std::vector<std::string>& of = {"a", "b"}) {
        for (const auto& name : of) join(name);
    }
    void deployed(const std::string& name, const Wants& w) {
        REQUIRE(deploy(service(name, w)).has_value());
        all();
    }
    void all() {
        for (int i = 0; i < 4; ++i)
            for (auto& [name, node] : nodes)
                if (node.peer != 0) obey(name, CopyState::kReady);
    }
    std::set<std::string> preempted() const {
        std::set<std::string> out;
        for (const auto& event : events)
            if (event.kind == "preempted") out.insert(std::string(event.fields.at("instance").as_string()));
        return out;
    }
};

using Who = std::set<std::string>;

}  // namespace

TEST_CASE("by default nothing is stopped for an instance that finds no room") {
    Shell c;
    c.deployed("low", {.mib = 1000, .instances = 2});
    c.deployed("high", {.priority = 10, .mib = 500});
    CHECK(c.where("high.0") == "");
    CHECK(c.preempted().empty());
}

TEST_CASE("with preempt what is of less priority leaves, and waits with a reason") {
    Shell c;
    c.deployed("low", {.priority = -1, .mib = 1000, .instances = 2});
    REQUIRE(c.deploy(service("high", {.mib = 500, .preempt = true})).has_value());
    CHECK(c.preempted() == Who{"low.0"});
    CHECK(c.last("preempted") == "low.0 is stopped on a: high.0 needs its room, of priority 0 over -1");
    // Its copy has to be gone first.
    CHECK(c.where("high.0") == "");
    CHECK(c.instance("high.0").at("reason").as_string() == "waits for a, where room is made for it");
    CHECK(c.instance("low.0").at("reason").as_string() == "displaced by high.0");
    CHECK(c.node("a").list.copies.empty());
    c.all();
    CHECK(c.where("high.0") == "a");
    CHECK(c.where("low.0") == "");
    CHECK(c.where("low.1") == "b");
    CHECK(c.count("preempted") == 1);
    SECTION("it comes back when there is room again") {
        REQUIRE(c.api(ApiRemoveService{0, "high"}).has_value());
        c.all();
        CHECK(c.where("low.0") == "a");
        CHECK(c.instance("low.0").at("reason").as_string() != "displaced by high.0");
        CHECK(c.store.at("instance/1.0").find("displaced_by") == std::string::npos);
    }
    SECTION("who displaced it is remembered by the next controller") {
        c.start();
        CHECK(c.instance("low.0").at("reason").as_string() == "displaced by high.0");
    }
}

TEST_CASE("who leaves: as little as can be, of the least priority") {
    struct Row {
        const char* about;
        std::vector<std::pair<std::string, Wants>> there;
        Wants wants;
        Who leave;
    };
    const Row row = GENERATE(values<Row>({
        {"nobody of the same priority", {{"x", {.priority = 5, .mib = 1000, .instances = 2}}}, {5, 500}, {}},
        {"nobody of a greater one", {{"x", {.priority = 6, .mib = 1000, .instances = 2}}}, {5, 500}, {}},
        {"nobody where it would not help: a node is too small for it", {{"x", {.mib = 1000}}}, {5, 1100}, {}},
        {"nobody outside of the pool",
         {{"x", {.mib = 1000, .nodes = {"a"}}}, {"y", {.priority = 9, .mib = 1000, .nodes = {"b"}}}},
         {.priority = 5, .mib = 500, .nodes = {"b"}},
         {}},
        {"who stands in the way of its port, and not its neighbour",
         {{"x", {.mib = 100, .port = 80, .nodes = {"a"}}},
          {"y", {.mib = 100, .nodes = {"a"}}},
          {"z", {.priority = 9, .port = 80, .nodes = {"b"}}}},
         {.priority = 5, .port = 80},
         {"x.0"}},
        {"one that is large enough instead of two",
         {{"x", {.priority = 1, .mib = 400, .nodes = {"a"}}},
          {"y", {.priority = 1, .mib = 600, .nodes = {"a"}}},
          {"z", {.priority = 9, .mib = 1000, .nodes = {"b"}}}},
         {5, 550},
         {"y.0"}},
        {"of two that are large enough the one of less priority",
         {{"x", {.priority = 1, .mib = 500, .nodes = {"a"}}},
          {"y", {.priority = 2, .mib = 500, .nodes = {"a"}}},
          {"z", {.priority = 9, .mib = 1000, .nodes = {"b"}}}},
         {5, 450},
         {"x.0"}},
        {"the node on which less priority is lost, though more have to leave",
         {{"x", {.priority = 1, .mib = 500, .instances = 2, .nodes = {"a"}}},
          {"z", {.priority = 2, .mib = 1000, .nodes = {"b"}}}},
         {5, 900},
         {"x.0", "x.1"}},
        {"else the one where fewer have to leave",
         {{"x", {.priority = 1, .mib = 500, .instances = 2, .nodes = {"a"}}},
          {"z", {.priority = 1, .mib = 1000, .nodes = {"b"}}}},
         {5, 900},
         {"z.0"}},
        {"by cores as by memory",
         {{"x", {.cores = 3, .nodes = {"a"}}}, {"z", {.priority = 9, .cores = 4, .nodes = {"b"}}}},
         {.priority = 5, .cores = 2},
         {"x.0"}},
        {"for each of two instances what it needs, on both nodes",
         {{"x", {.mib = 600, .instances = 2}}, {"y", {.mib = 300, .instances = 2}}},
         {.priority = 5, .mib = 600, .instances = 2},
         {"x.0", "x.1"}},
    }));
    INFO(row.about);
    Shell c;
    for (const auto& [name, wants] : row.there) c.deployed(name, wants);
    Wants wants = row.wants;
    wants.preempt = true;
    // A dry run says the same and does nothing.
    const auto dry = c.deploy(service("high", wants), true);
    REQUIRE(dry.has_value());
    std::string told;
    for (const auto& entry : dry->at("placement").as_array()) told += std::string(entry.at("reason").as_string()) + " ";
    CHECK(c.preempted().empty());
    REQUIRE(c.deploy(service("high", wants)).has_value());
    CHECK(c.preempted() == row.leave);
    CHECK((told.find("displaces") != std::string::npos) == !row.leave.empty());
    for (const auto& name : row.leave) CHECK(told.find(name) != std::string::npos);
    c.all();
    c.wait_all(seconds(5));
    CHECK(c.preempted() == row.leave);
    for (int i = 0; i < wants.instances; ++i) CHECK((c.where("high." + std::to_string(i)) != "") == !row.leave.empty());
}

TEST_CASE("while room is made nobody else of the same priority or less takes it") {
    Shell c({"a"});
    c.deployed("x", {.mib = 500, .instances = 2, .nodes = {"a"}});
    REQUIRE(c.deploy(service("high", {.priority = 5, .mib = 900, .preempt = true, .nodes = {"a"}})).has_value());
    CHECK(c.preempted() == Who{"x.0", "x.1"});
    // One of them is gone, the other one stops slowly.
    auto& node = c.node("a");
    node.applied = node.list.no;
    node.copies.erase(node.copies.begin());
    node.copies.begin()->second.state = CopyState::kStopping;
    c.report("a");
    REQUIRE(c.deploy(service("same", {.priority = 5, .mib = 400, .nodes = {"a"}})).has_value());
    CHECK(c.where("same.0") == "");
    CHECK(c.reason("same.0", "a") == "its room is promised to high.0");
    CHECK(c.where("x.0") == "");
    REQUIRE(c.deploy(service("higher", {.priority = 6, .mib = 400, .nodes = {"a"}})).has_value());
    CHECK(c.where("higher.0") == "a");
    // Nobody of less priority is left there: no room is to be made any more, and others may have what there is.
    node.copies.clear();
    c.all();
    CHECK(c.where("high.0") == "");
    CHECK(c.where("same.0") == "a");
    CHECK(c.preempted() == Who{"x.0", "x.1"});
}

TEST_CASE("one displacement leads to no other") {
    Shell c;
    c.deployed("low", {.priority = 1, .mib = 1000, .nodes = {"b"}});
    c.deployed("middle", {.priority = 2, .mib = 1000, .preempt = true, .nodes = {"a", "b"}});
    CHECK(c.where("middle.0") == "a");
    SECTION("what was displaced displaces nobody") {
        c.deployed("high", {.priority = 3, .mib = 1000, .preempt = true, .nodes = {"a"}});
        c.wait_all(seconds(5));
        CHECK(c.preempted() == Who{"middle.0"});
        CHECK(c.where("low.0") == "b");
        CHECK(c.where("middle.0") == "");
    }
    SECTION("what keeps crashing displaces nobody") {
        const CopyId copy = c.copy("middle.0");
        c.set("a", copy, CopyState::kWaiting, c.timing.crashes_to_move);
        c.report("a");
        c.all();
        CHECK(c.preempted().empty());
        CHECK(c.where("low.0") == "b");
    }
    SECTION("but what lost its node does") {
        c.reset("a");
        c.wait(seconds(1), {"b"});
        CHECK(c.preempted() == Who{"low.0"});
        c.all();
        CHECK(c.where("middle.0") == "b");
    }
}

TEST_CASE("a node that may be back in a moment may have room: nobody leaves before that is known") {
    Shell c;
    c.deployed("low", {.mib = 1000, .nodes = {"b"}});
    SECTION("after a start of the controller") {
        c.start();
        c.connect("b");
        c.report("b");
        REQUIRE(c.deploy(service("high", {.priority = 5, .mib = 900, .preempt = true})).has_value());
        CHECK(c.preempted().empty());
        c.connect("a");
        c.report("a");
        c.all();
        CHECK(c.where("high.0") == "a");
        CHECK(c.preempted().empty());
    }
    SECTION("while it is suspect, until it is lost") {
        c.reset("a");
        REQUIRE(c.liveness("a") == "suspect");
        REQUIRE(c.deploy(service("high", {.priority = 5, .mib = 900, .preempt = true})).has_value());
        CHECK(c.preempted().empty());
        c.wait(seconds(1), {"b"});
        REQUIRE(c.liveness("a") == "lost");
        CHECK(c.preempted() == Who{"low.0"});
    }
}

TEST_CASE("what cannot be stopped holds its room, and room is made elsewhere") {
    Shell c;
    c.deployed("x", {.mib = 1000, .instances = 2});
    REQUIRE(c.deploy(service("high", {.priority = 5, .mib = 900, .preempt = true})).has_value());
    REQUIRE(c.preempted() == Who{"x.0"});
    auto& node = c.node("a");
    node.applied = node.list.no;
    node.copies.begin()->second.state = CopyState::kRunning;
    node.copies.begin()->second.cannot_stop = true;
    c.report("a");
    CHECK(c.preempted() == Who{"x.0", "x.1"});
    c.obey("b", CopyState::kReady);
    CHECK(c.where("high.0") == "b");
}

TEST_CASE("explain says who would leave") {
    Shell c;
    c.deployed("low", {.mib = 1000, .instances = 2});
    const auto text = [&](bool preempt) {
        REQUIRE(c.deploy(service("high", {.priority = 5, .mib = 100, .preempt = preempt})).has_value());
        const auto told = c.core->explain(
            "high", c.now, [](const Rank& rank) { return Result<std::vector<Keys>>(least_loaded(rank)); },
            [](const std::string&) { return std::vector<std::string>{"copies"}; });
        REQUIRE(told.has_value());
        return to_text(told->at("nodes"));
    };
    CHECK(text(false).find("displaces") == std::string::npos);
    CHECK_THAT(text(true), Contains("an instance without room displaces low.1"));
}
