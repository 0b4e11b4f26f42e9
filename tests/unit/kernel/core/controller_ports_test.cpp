// SPDX-License-Identifier: Apache-2.0
//
// Endpoints with port 0: placed without a port, named by what their nodes report.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

json::value chosen(std::vector<std::string> nodes, int instances = 1, json::array endpoints = {}) {
    auto out = manifest("s", std::move(nodes), instances);
    endpoints.insert(endpoints.begin(), json::object{{"name", "s"}, {"port", 0}});
    out.as_object()["endpoint"] = std::move(endpoints);
    return out;
}

struct Cluster : ControllerShell {
    void join(const std::string& name) {
        ControllerShell::join(name, [](Hello& hello) { hello.runtimes[0].ports = true; });
    }
    void tells(const std::string& name, const CopyId& copy, std::vector<std::uint16_t> ports) {
        set(name, copy, CopyState::kReady);
        node(name).copies[copy].ports = std::move(ports);
        node(name).applied = node(name).list.no;
        report(name);
    }
    std::vector<std::string> named() const {
        std::vector<std::string> out;
        for (const auto& e : names.entries) out.push_back(e.name + "=" + e.node + ":" + std::to_string(e.port));
        return out;
    }
};

using Named = std::vector<std::string>;

}  // namespace

TEST_CASE("copies with port 0 stand beside each other on one node") {
    Cluster c;
    c.join("a");
    REQUIRE(c.deploy(chosen({"a"}, 3)).has_value());
    CHECK(c.where("s.0") == "a");
    CHECK(c.where("s.1") == "a");
    CHECK(c.where("s.2") == "a");
}

TEST_CASE("a name has the port of which its node has told, and there is none before") {
    Cluster c;
    c.join("a");
    REQUIRE(c.deploy(chosen({"a"}, 2, {json::object{{"name", "fixed"}, {"port", 3002}}})).has_value() == true);
    const auto first = c.copy("s.0");
    c.tells("a", first, {});
    CHECK(c.named() == Named{"fixed=a:3002"});
    c.tells("a", first, {20'123, 3'002});
    CHECK(c.named() == Named{"fixed=a:3002", "s=a:20123"});
    // A new attempt between two reports.
    c.tells("a", first, {20'999, 3'002});
    CHECK(c.named() == Named{"fixed=a:3002", "s=a:20999"});
    c.set("a", first, CopyState::kRunning);
    c.report("a");
    CHECK(c.named().empty());
}

TEST_CASE("what was requested and what it is mapped to is shown of every endpoint") {
    Cluster c;
    c.join("a");
    REQUIRE(c.deploy(chosen({"a"}, 1, {json::object{{"name", "t"}, {"kind", "tcp"}, {"port", 3002}}})).has_value());
    const auto shown = [&] { return to_text(c.instance("s.0").at("endpoints")); };
    CHECK(shown() == R"([{"kind":"vsoa","name":"s","requested":0,"mapped":0},)"
                     R"({"kind":"tcp","name":"t","requested":3002,"mapped":3002}])");
    CHECK(to_text(c.core->services().at(0).at("endpoints").at(0).at("mapped")) == "[]");
    c.tells("a", c.copy("s.0"), {20'123, 3'002});
    CHECK_THAT(shown(), Contains(R"("requested":0,"mapped":20123)"));
    CHECK(to_text(c.core->services().at(0).at("endpoints")) ==
          R"([{"kind":"vsoa","name":"s","requested":0,"mapped":[20123]},)"
          R"({"kind":"tcp","name":"t","requested":3002,"mapped":[3002]}])");
}

TEST_CASE("names outlive a controller's restart with their ports, and a store from before is read") {
    Cluster c;
    c.join("a");
    REQUIRE(c.deploy(chosen({"a"})).has_value());
    c.tells("a", c.copy("s.0"), {20'123});
    c.start();
    CHECK(c.core->names().at(0).at("port") == 20'123);
    // Of a node that has told of no port nothing is named.
    auto& stored = c.store.at("instance/" + std::to_string(c.number_of("s")) + ".0");
    const std::string ports = R"(,"ports":[20123])";
    REQUIRE(stored.find(ports) != std::string::npos);
    stored.erase(stored.find(ports), ports.size());
    c.start();
    CHECK(c.core->names().empty());
}

TEST_CASE("a planned move takes the name over with the next copy's port") {
    Cluster c;
    c.join("a");
    c.join("b");
    REQUIRE(c.deploy(chosen({"a", "b"})).has_value());
    const auto from = c.where("s.0"), to = std::string(from == "a" ? "b" : "a");
    const auto first = c.copy("s.0");
    c.tells(from, first, {20'123});
    REQUIRE(c.api(ApiSetIntent{0, from, "draining"}).has_value());
    CopyId next = first;
    ++next.epoch;
    REQUIRE(c.node(to).list.copies.size() == 1);
    c.tells(to, next, {20'777});
    CHECK(c.named() == Named{"s=" + to + ":20777"});
}

TEST_CASE("a node whose gantryd chooses no ports is no candidate and says why") {
    Cluster c;
    c.ControllerShell::join("old");
    REQUIRE(c.deploy(chosen({"old"})).has_value());
    CHECK(c.where("s.0").empty());
    CHECK(c.reason("s.0", "old") == "its gantryd is older and chooses no port where a manifest says 0");
    REQUIRE(c.deploy(manifest("t", {"old"})).has_value());
    CHECK(c.where("t.0") == "old");
    // It was upgraded.
    c.reset("old");
    c.node("old").id.session += 1;
    c.join("old");
    CHECK(c.where("s.0") == "old");
}
