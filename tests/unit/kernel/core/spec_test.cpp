// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/spec.hpp"

#include <catch2/catch.hpp>

#include "kernel/base/limits.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

constexpr std::string_view kFull = R"({
  "service": {"name": "axis_server", "image": "axis_server:1.0", "instances": 2, "runtime": "oci", "cut_off": "start",
              "prepull": false},
  "placement": {"mode": "dynamic", "nodes": ["SNode1", "SNode2"], "constraints": {"gpu": "yes"}, "policy": "spread",
                "overlap": "allow"},
  "update": {"max_surge": 2, "max_unavailable": 1, "canary": 1, "gate": "5s", "deadline": "60s", "on_failure": "stay"},
  "resources": {"cpu": 0.5, "memory": "64MiB", "pids": 20},
  "container": {"args": ["/bin/axis", "-v"], "env": {"B": "2", "A": "1"}, "cwd": "/srv", "user": "10:20",
                "hostname": "axis", "stop_grace": "1500ms"},
  "mount": [{"source": "/data", "target": "/srv/data", "read_only": true}],
  "endpoint": [{"kind": "vsoa", "name": "axis_server", "port": 3002, "password": {"secret": "axis"}}],
  "probe": [{"kind": "vsoa", "interval": "2s", "timeout": "500ms", "endpoint": "axis_server", "success_threshold": 2,
             "failure_threshold": 4, "path": "/x", "deep": true, "size": 3}]
})";

json::value document(std::string_view text) {
    auto value = parse_json(text);
    INFO((value ? "" : value.error().text()));
    REQUIRE(value);
    return *value;
}

// The full document after `change` was made to it.
template <class Change>
Error refused(Change change) {
    auto value = document(kFull);
    change(value.as_object());
    const auto spec = parse_service(value);
    REQUIRE_FALSE(spec);
    return spec.error();
}

Error with(std::string_view table, std::string_view key, json::value value) {
    return refused([&](json::object& d) { d[table].as_object()[key] = std::move(value); });
}

Error with_first(std::string_view list, std::string_view key, json::value value) {
    return refused([&](json::object& d) { d[list].as_array()[0].as_object()[key] = std::move(value); });
}

ServiceSpec full() { return parse_service(document(kFull)).value(); }

}  // namespace

TEST_CASE("every member of a manifest is read") {
    const auto s = full();
    CHECK(s.name == "axis_server");
    CHECK(s.instances == 2);
    CHECK(s.cut_off_start);
    CHECK_FALSE(s.prepull);
    CHECK(s.nodes == std::vector<std::string>{"SNode1", "SNode2"});
    CHECK(s.constraints == Labels{{"gpu", "yes"}});
    CHECK(s.cpu_milli == 500);
    CHECK(s.memory_bytes == 64 << 20);
    CHECK(s.pids == 20);
    CHECK(s.update == UpdateSpec{2, 1, 1, seconds(5), seconds(60), false});
    CHECK(s.args.size() == 2);
    CHECK(s.env == Labels{{"A", "1"}, {"B", "2"}});
    CHECK(s.stop_grace == milliseconds(1500));
    CHECK(s.mounts == std::vector<MountSpec>{{"/data", "/srv/data", true}});
    CHECK(s.endpoints.at(0).secret == "axis");
    CHECK(s.probes.at(0).params == Labels{{"deep", "true"}, {"path", "/x"}, {"size", "3"}});
    CHECK(s.probes.at(0).failure_threshold == 4);
}

TEST_CASE("a spec survives being written and read again") {
    const auto s = full();
    CHECK(parse_service(to_json(s)).value() == s);
    const auto small = document(R"({"service": {"name": "陀螺仪", "image": "a"}, "placement": {"labels": {"x": ""}}})");
    const auto spec = parse_service(small).value();
    CHECK(to_json(spec) == small);
    const auto fixed =
        document(R"({"service": {"name": "a", "image": "a"}, "placement": {"mode": "static", "nodes": ["x", "y"]}})");
    CHECK(parse_service(fixed).value().instances == 2);
    CHECK(to_json(parse_service(fixed).value()) == fixed);
}

TEST_CASE("the container part leaves out where, how many and how to update") {
    auto s = full();
    const auto part = parse_container_part(container_part_to_json(s)).value();
    s.nodes.clear();
    s.constraints.clear();
    s.policy.clear();
    s.update = {};
    s.instances = 1;
    CHECK(part == s);
}

TEST_CASE("quantities are numbers or texts") {
    auto d = document(kFull);
    auto& r = d.as_object()["resources"].as_object();
    r["cpu"] = "250m";
    r["memory"] = 1024;
    CHECK(parse_service(d)->cpu_milli == 250);
    CHECK(parse_service(d)->memory_bytes == 1024);
    r["cpu"] = 3;
    CHECK(parse_service(d)->cpu_milli == 3000);
    CHECK(with("resources", "cpu", -1).where == "resources.cpu");
    CHECK(with("resources", "cpu", 1e300).where == "resources.cpu");
    CHECK(with("resources", "cpu", 0.0001).where == "resources.cpu");
    CHECK(with("resources", "cpu", "many").where == "resources.cpu");
    CHECK(with("resources", "cpu", true).where == "resources.cpu");
    CHECK(with("resources", "memory", -1).where == "resources.memory");
    CHECK(with("resources", "memory", "64MiBs").where == "resources.memory");
    CHECK(with("resources", "pids", -1).where == "resources.pids");
    CHECK(with("container", "stop_grace", 10).where == "container.stop_grace");
    CHECK(with("container", "stop_grace", "2h").where == "container.stop_grace");
    CHECK(with_first("probe", "interval", "1ms").where == "probe[0].interval");
}

TEST_CASE("an unknown key is refused with a guess") {
    CHECK(with("service", "instnaces", 2).text() ==
          "service.instnaces: unknown key `instnaces`, did you mean `instances`?");
    CHECK(refused([](json::object& d) { d["resource"] = json::object(); }).text() ==
          "resource: unknown key `resource`, did you mean `resources`?");
    CHECK_THAT(with_first("endpoint", "prot", 2).text(), Contains("did you mean `port`?"));
    CHECK_THAT(with_first("probe", "intervall", "1s").text(),
               Contains("probe[0].intervall") && Contains("`interval`?"));
    CHECK_THAT(with("placement", "mode", "statik").text(), Contains("placement.mode") && Contains("\"static\"?"));
}

TEST_CASE("names are checked where they stand") {
    CHECK(with("service", "name", "a b").where == "service.name");
    CHECK(with("service", "name", "").where == "service.name");
    CHECK(with("service", "image", "").where == "service.image");
    CHECK(with("service", "runtime", "a/b").where == "service.runtime");
    CHECK(with("placement", "policy", "a/b").where == "placement.policy");
    CHECK(with("placement", "nodes", json::array{"SNode1", "S 2"}).where == "placement.nodes[1]");
    CHECK_THAT(with("placement", "nodes", json::array{"a", "b", "a"}).text(), Contains("named twice"));
    CHECK(with("placement", "labels", json::object{{"", "x"}}).where == "placement.labels");
    CHECK(with_first("endpoint", "name", "a%b").where == "endpoint[0].name");
    CHECK(refused([](json::object& d) { d["service"].as_object().erase("name"); }).text() ==
          "service.name: is missing, expected a text");
    CHECK(refused([](json::object& d) { d.erase("service"); }).where == "service.name");
    CHECK_FALSE(parse_service(json::value(3)));
    CHECK_FALSE(parse_service(json::array{}));
    CHECK(refused([](json::object& d) { d["service"] = "axis"; }).text() == "service: expected an object");
}

TEST_CASE("a pool is nodes or labels, and static mode wants nodes") {
    CHECK_THAT(refused([](json::object& d) { d.erase("placement"); }).text(), Contains("placement.nodes: is missing"));
    CHECK(with("placement", "labels", json::object{{"a", "b"}}).where == "placement.labels");
    CHECK(refused([](json::object& d) {
              d["placement"] = json::object{{"mode", "static"}, {"labels", json::object{{"a", "b"}}}};
          }).where == "placement.nodes");
    CHECK(refused([](json::object& d) {
              d["placement"].as_object()["mode"] = "static";
              d["service"].as_object()["instances"] = 3;
          }).where == "service.instances");
}

TEST_CASE("overlap forbid is no part of the container, and goes with no start without a controller") {
    const auto error = with("placement", "overlap", "forbid");  // cut_off is "start"
    CHECK(error.where == "service.cut_off");
    CHECK(with("placement", "overlap", "never").where == "placement.overlap");
    const auto spec = parse_service(json::object{{"service", {{"name", "s"}, {"image", "i:1"}}},
                                                 {"placement", {{"nodes", {"a"}}, {"overlap", "forbid"}}}});
    REQUIRE(spec);
    CHECK(spec->forbid);
    CHECK(parse_service(to_json(*spec)) == *spec);
    CHECK_FALSE(parse_container_part(container_part_to_json(*spec))->forbid);
}

TEST_CASE("a password is the name of a secret and is never shown") {
    const auto error = with_first("endpoint", "password", "hunter2");
    CHECK(error.where == "endpoint[0].password");
    CHECK_THAT(error.message, Contains("secret") && !Contains("hunter2"));
    CHECK(with_first("endpoint", "password", json::object{{"secrte", "x"}}).where == "endpoint[0].password.secret");
    CHECK(with_first("endpoint", "password", json::object{{"secret", ""}}).where == "endpoint[0].password.secret");
}

TEST_CASE("ports and names of endpoints are in range and unique") {
    CHECK(with_first("endpoint", "port", 0).where == "endpoint[0].port");
    CHECK(with_first("endpoint", "port", 65536).where == "endpoint[0].port");
    CHECK_THAT(with_first("endpoint", "port", nullptr).text(), Contains("endpoint[0].port: is missing"));
    const auto twice = [](json::object second) {
        return refused([&](json::object& d) { d["endpoint"].as_array().push_back(second); });
    };
    CHECK(twice({{"name", "b"}, {"port", 3002}}).where == "endpoint[1].port");
    CHECK(twice({{"name", "axis_server"}, {"port", 3003}}).where == "endpoint[1].name");
    CHECK_THAT(with_first("probe", "endpoint", "axis_sever").text(),
               Contains("probe[0].endpoint") && Contains("\"axis_server\"?"));
}

TEST_CASE("paths are absolute and mounted once") {
    CHECK(with_first("mount", "source", "data").where == "mount[0].source");
    CHECK(with_first("mount", "target", "/a/../etc").where == "mount[0].target");
    CHECK(with_first("mount", "target", "/").where == "mount[0].target");
    CHECK(with("container", "cwd", "x").where == "container.cwd");
    CHECK(refused([](json::object& d) {
              d["mount"].as_array().push_back(json::object{{"source", "/b"}, {"target", "/srv/data"}});
          }).where == "mount[1].target");
    CHECK(with("container", "user", "root").where == "container.user");
    CHECK(with("container", "hostname", "a_b").where == "container.hostname");
}

TEST_CASE("the environment may stand in a table of its own") {
    auto d = document(kFull);
    d.as_object()["env"] = json::object{{"C", "3"}};
    CHECK(parse_service(d)->env == Labels{{"A", "1"}, {"B", "2"}, {"C", "3"}});
    CHECK(refused([](json::object& o) { o["env"] = json::object{{"A", "3"}}; }).where == "env.A");
    CHECK(refused([](json::object& o) { o["env"] = json::object{{"A=B", "3"}}; }).where == "env");
    CHECK(refused([](json::object& o) { o["env"] = 3; }).where == "env");
}

TEST_CASE("what exceeds a limit is refused with both numbers") {
    json::array nodes;
    for (std::size_t i = 0; i <= limits::kPool; ++i) nodes.push_back(json::string("n" + std::to_string(i)));
    CHECK_THAT(with("placement", "nodes", nodes).text(), Contains("has 10001 entries, expected at most 10000"));
    CHECK_THAT(with("container", "args", json::array{json::string(limits::kSpec, 'x')}).text(),
               Contains("expected at most 65536"));
    CHECK_THAT(with("service", "instances", 100001).text(), Contains("from 1 to 100000"));
    json::array endpoints;
    for (std::size_t i = 0; i <= limits::kEndpoints; ++i) endpoints.push_back(json::object{{"port", 100 + i}});
    CHECK(refused([&](json::object& d) { d["endpoint"] = endpoints; }).where == "endpoint");
}

TEST_CASE("a probe says what it decides, and lists of texts travel to its plugin as they are") {
    auto d = document(kFull);
    auto& probe = d.as_object()["probe"].as_array()[0].as_object();
    probe["purpose"] = "liveness";
    probe["start_period"] = "5s";
    probe["success_threshold"] = 1;
    probe["command"] = json::array{"/bin/check", "-v"};
    const auto spec = parse_service(d).value();
    CHECK(spec.probes.at(0).purpose == Purpose::kLiveness);
    CHECK(spec.probes.at(0).start_period == seconds(5));
    CHECK(spec.probes.at(0).params.front() == std::pair<std::string, std::string>("command", R"(["/bin/check","-v"])"));
    CHECK(parse_service(to_json(spec)).value() == spec);
    CHECK(with_first("probe", "purpose", "lifeness").text() ==
          "probe[0].purpose: expected \"readiness\" or \"liveness\" or \"startup\", got \"lifeness\"; did you mean "
          "\"liveness\"?");
    CHECK_THAT(with_first("probe", "purpose", "startup").text(),
               Contains("probe[0].success_threshold") && Contains("expects 1, got 2"));
    CHECK_THAT(with_first("probe", "failure_treshold", 3).text(), Contains("`failure_threshold`?"));
    CHECK_THAT(with_first("probe", "command", json::array{"a", 1}).text(), Contains("a list of texts"));
}

TEST_CASE("thresholds under their names of before are read from stores of then") {
    auto d = document(kFull);
    auto& probe = d.as_object()["probe"].as_array()[0].as_object();
    probe.erase("success_threshold");
    probe.erase("failure_threshold");
    probe["healthy_after"] = 2;
    probe["unhealthy_after"] = 4;
    CHECK(parse_service(d).value() == full());
    CHECK(to_json(full()).at("probe").as_array().at(0).as_object().contains("success_threshold"));
}

TEST_CASE("what a node without the image is worth can be left to the policy") {
    auto d = document(kFull);
    CHECK(full().image_first);
    d.as_object()["placement"].as_object()["image"] = "policy";
    const auto spec = parse_service(d).value();
    CHECK_FALSE(spec.image_first);
    CHECK(parse_service(to_json(spec)).value() == spec);
    CHECK_THAT(with("placement", "image", "never").text(), Contains("placement.image"));
}
