// SPDX-License-Identifier: Apache-2.0
//
// Endpoints with port 0: whose the number is, who is told, how long it is kept.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

using Ports = std::vector<std::uint16_t>;

std::string name_of(const CopyId& copy, std::uint64_t attempt) { return container_name(kCluster, copy, attempt); }

CopySpec spec(const std::string& service, Ports ports = {0}) {
    auto out = AgentShell::spec(service);
    for (std::size_t i = 0; i < ports.size(); ++i)
        out.spec.endpoints.push_back({"vsoa", service + (i == 0 ? "" : std::to_string(i)), ports[i], ""});
    return out;
}

struct Node : AgentShell {
    explicit Node(std::pair<std::uint16_t, std::uint16_t> range = {20'000, 29'999}) {
        facts.ports = range;
        start();
        connect();
    }
    std::uint16_t port(const CopyId& copy, std::uint64_t attempt = 1) {
        return made.at(name_of(copy, attempt)).spec.endpoints.at(0).port;
    }
    std::string variable(const CopyId& copy, const std::string& name) {
        return value_of(made.at(name_of(copy, 1)).env, name);
    }
};

}  // namespace

TEST_CASE("a port that nobody chose is chosen by the node, tried, saved, and then its container is made") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("axis_server"))});
    const auto port = s.port(kA);
    CHECK(port >= 20'000);
    CHECK(port <= 29'999);
    CHECK(s.last<TryPort>()->port == port);
    bool saved = false;
    for (const auto& e : s.log) {
        const auto* save = std::get_if<Save>(&e);
        saved = saved || (save && save->document.find("\"ports\":[" + std::to_string(port) + "]") != std::string::npos);
        if (std::holds_alternative<Create>(e)) CHECK(saved);
    }
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->ports == Ports{port});
    CHECK(s.names() == std::vector<std::string>{"axis_server=10.0.0.1:" + std::to_string(port)});
    CHECK(s.agent->document().at("copies").at(0).at("ports").at(0) == port);
}

TEST_CASE("a port that the manifest chose is tried by nobody and told all the same") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("axis_server", {3002}))});
    CHECK(s.count<TryPort>() == 0);
    CHECK(s.variable(kA, "GANTRY_PORT_AXIS_SERVER") == "3002");
    CHECK(s.variable(kA, "PORT") == "3002");
    CHECK(s.reported(kA)->ports.empty());
    CHECK(s.disk->find("\"ports\"") == std::string::npos);
}

TEST_CASE("the program is told each port by its name, and the only one, or the only chosen one, as PORT") {
    Node s;
    auto own = spec("own");
    own.spec.env = {{"PORT", "1"}};
    auto nameless = spec("nameless");
    nameless.spec.endpoints[0].name.clear();
    const CopyId c{{14, 0}, 1}, d{{15, 0}, 1}, e{{16, 0}, 1};
    s.give({1, 1}, {s.entry(kA, spec("one", {3002, 0})), s.entry(kB, spec("two", {0, 0})), s.entry(c, own),
                    s.entry(d, spec("fixed", {3003, 3004})), s.entry(e, nameless)});
    const auto chosen = s.reported(kA)->ports;
    REQUIRE(chosen.size() == 2);
    CHECK(chosen[0] == 3002);
    CHECK(s.variable(kA, "GANTRY_PORT_ONE") == "3002");
    CHECK(s.variable(kA, "GANTRY_PORT_ONE1") == std::to_string(chosen[1]));
    CHECK(s.variable(kA, "PORT") == std::to_string(chosen[1]));
    const auto two = s.reported(kB)->ports;
    REQUIRE(two.size() == 2);
    CHECK(two[0] != two[1]);
    CHECK(s.variable(kB, "GANTRY_PORT_TWO1") == std::to_string(two[1]));
    CHECK(s.variable(kB, "PORT") == "(none)");
    CHECK(s.variable(c, "PORT") == "1");  // what the manifest says stays
    CHECK(s.variable(d, "GANTRY_PORT_FIXED1") == "3004");
    CHECK(s.variable(d, "PORT") == "(none)");
    CHECK(s.variable(e, "PORT") == std::to_string(s.port(e)));
}

TEST_CASE("neither another program's port nor one of this list is chosen") {
    Node s({4'000, 4'004});
    s.busy = {4'001};
    s.give({1, 1}, {s.entry(kA, spec("a", {0, 0})), s.entry(kB, spec("b")), s.entry({{14, 0}, 1}, spec("c", {4'003}))});
    std::set<std::uint16_t> used;
    for (const auto& copy : s.report.copies) used.insert(copy.ports.begin(), copy.ports.end());
    CHECK(used == std::set<std::uint16_t>{4'000, 4'002, 4'004});
}

TEST_CASE("where every port is taken a copy says so and takes the first that becomes free") {
    Node s({4'000, 4'001});
    s.busy = {4'000, 4'001};
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    CHECK(s.state(kA) == CopyState::kWaiting);
    CHECK(s.reported(kA)->reason == "no port of [node] ports, 4000 to 4001, is free on SNode1");
    CHECK(s.reported(kA)->crashes == 0);
    s.run_for(seconds(5));
    CHECK(s.count<TryPort>() <= 14);
    s.busy = {4'000};
    CHECK(s.until([&] { return s.state(kA) == CopyState::kReady; }, seconds(2)));
    CHECK(s.port(kA) == 4'001);
}

TEST_CASE("probes ask the port that was chosen, or the one that they name") {
    Node s;
    auto probed = spec("a", {3002, 0});
    probed.spec.probes.resize(2);
    for (auto& probe : probed.spec.probes) probe.endpoint = "a1";
    probed.spec.probes[0].kind = "tcp";
    probed.spec.probes[1].kind = "http";
    probed.spec.probes[1].port = 80;
    s.give({1, 1}, {s.entry(kA, probed)});
    std::map<std::string, std::uint16_t> asked;
    for (const auto& e : s.log)
        if (const auto* check = std::get_if<Check>(&e)) asked[check->kind] = check->port;
    CHECK(asked == std::map<std::string, std::uint16_t>{{"tcp", s.reported(kA)->ports[1]}, {"http", 80}});
}

TEST_CASE("the next attempt chooses again, and names follow it") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    const auto before = s.port(kA);
    s.busy = {before};  // somebody else took it meanwhile
    s.crash(name_of(kA, 1));
    CHECK(s.names().empty());
    REQUIRE(s.until([&] { return s.state(kA) == CopyState::kReady; }));
    const auto after = s.port(kA, 2);
    CHECK(after != before);
    CHECK(s.reported(kA)->ports == Ports{after});
    CHECK(s.names() == std::vector<std::string>{"a=10.0.0.1:" + std::to_string(after)});
}

TEST_CASE("a restarted gantryd adopts a container with its port, which is nobody else's") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    const auto port = s.port(kA);
    // Now there is no other; it does not listen yet, so nothing but what was saved shows that it is taken.
    s.facts.ports = {port, port};
    s.restart();
    s.connect();
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->ports == Ports{port});
    CHECK(s.names() == std::vector<std::string>{"a=10.0.0.1:" + std::to_string(port)});
    CHECK(s.count<Create>() == 1);
    s.give({1, 2}, {s.entry(kA, spec("a")), s.entry(kB, spec("b"))});
    CHECK_THAT(s.reported(kB)->reason, Contains("no port of [node] ports"));
    // It goes with its container.
    s.give({1, 3}, {s.entry(kB, spec("b"))});
    CHECK(s.until([&] { return s.state(kB) == CopyState::kReady; }, seconds(3)));
    CHECK(s.port(kB) == port);
    CHECK(s.disk->find(R"("12.0#1","attempt":1,"runtime":"oci","ports")") == std::string::npos);
}

TEST_CASE("a copy keeps its port while a create of it may still come true") {
    Node s;
    s.hold = holding<Create>();
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    const auto port = std::get<Create>(s.held.back()).wanted.spec.endpoints[0].port;
    // gantryd is killed; the container appears after the first list of the next one.
    s.hold = nullptr;
    s.facts.ports = {port, static_cast<std::uint16_t>(port + 1)};
    s.failures["create"] = kNobodyKnows;
    s.restart();
    s.connect();
    CHECK(s.last<TryPort>()->port == port + 1);
}

TEST_CASE("a state from before there were chosen ports is read, one that makes no sense is not") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    auto old = parse_json(*s.disk).value();
    old.as_object().erase("ports");
    CHECK(Agent::check_saved(to_text(old)));
    for (const auto* ports : {"{}", "[1]", R"([{"copy":"12.0","attempt":1,"runtime":"oci","ports":[1]}])",
                              R"([{"copy":"12.0#1","attempt":1,"ports":[1]}])",
                              R"([{"copy":"12.0#1","attempt":1,"runtime":"oci","ports":[0]}])"}) {
        INFO(ports);
        old.as_object()["ports"] = parse_json(ports).value();
        CHECK_FALSE(Agent::check_saved(to_text(old)));
    }
}

TEST_CASE("a container whose port nobody knows any more is made anew") {
    Node s;
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    s.disk.reset();
    s.state_lost = true;
    s.restart();
    s.connect();
    s.give({1, 1}, {s.entry(kA, spec("a"))});
    CHECK(s.names().empty());
    REQUIRE(s.until([&] { return s.reported(kA) && s.state(kA) == CopyState::kReady; }));
    CHECK(s.running().size() == 1);
    CHECK(s.running()[0] != name_of(kA, 1));
    CHECK(s.reported(kA)->ports == Ports{s.made.at(s.running()[0]).spec.endpoints[0].port});
}

TEST_CASE("two nodes, and two attempts, rarely take the same port") {
    std::set<std::uint16_t> all;
    Node s;
    for (std::uint64_t epoch = 1; epoch <= 20; ++epoch) {
        const CopyId copy{{12, 0}, epoch};
        s.give({1, epoch}, {s.entry(copy, spec("a"))});
        REQUIRE(s.until([&] { return s.state(copy) == CopyState::kReady; }));
        all.insert(s.port(copy));
    }
    CHECK(all.size() >= 18);
}
