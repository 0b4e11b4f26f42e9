// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/spec.hpp"

#include <catch2/catch.hpp>
#include <functional>

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

namespace {

json::value with_settings() {
    auto d = document(kFull);
    auto& top = d.as_object();
    auto& container = top["container"].as_object();
    container["user"] = "worker:extra";
    container["stop_signal"] = "SIGINT";
    container["capabilities"] = document(R"({"add": ["SYS_NICE", "CAP_NET_RAW", "NET_RAW"], "drop": ["ALL"]})");
    container["read_only"] = true;
    container["rlimits"] = document(R"({"nofile": 1024, "core": [0, "unlimited"]})");
    container["oom_score_adj"] = -5;
    auto& resources = top["resources"].as_object();
    resources["swap"] = "16MiB";
    resources["cpu_shares"] = 512;
    resources["cpus"] = "0-2,5";
    resources["io_weight"] = 100;
    top["tmpfs"] =
        document(R"([{"target": "/tmp"}, {"target": "/run", "size": "1MiB", "mode": "0700", "access": "rwx"}])");
    top["device"] =
        document(R"([{"path": "/dev/ttyS0"}, {"path": "/dev/i2c-1", "target": "/dev/bus", "access": "r"}])");
    top["mount"].as_array().push_back(document(R"({"source": "/a", "target": "/b", "access": "rw"})"));
    return d;
}

Error spoilt(const std::function<void(json::object&)>& change) {
    auto d = with_settings();
    change(d.as_object());
    const auto spec = parse_service(d);
    REQUIRE_FALSE(spec);
    CHECK(spec.error().code == Code::kInvalid);
    return spec.error();
}
Error spoilt(const char* table, const char* key, json::value value) {
    return spoilt([&](json::object& top) { top[table].as_object()[key] = std::move(value); });
}
Error spoilt_first(const char* list, const char* key, json::value value) {
    return spoilt([&](json::object& top) { top[list].as_array()[0].as_object()[key] = std::move(value); });
}

}  // namespace

TEST_CASE("what only runtimes act on is checked, brought into one form and passed on") {
    const auto s = parse_service(with_settings()).value();
    CHECK(s.user == "worker:extra");
    CHECK(s.stop_signal == 2);
    CHECK(json::value(s.settings) == document(R"({
        "container": {"capabilities": {"add": ["CAP_NET_RAW", "CAP_SYS_NICE"], "drop": ["ALL"]}, "read_only": true,
                      "rlimits": {"core": [0, "unlimited"], "nofile": [1024, 1024]}, "oom_score_adj": -5},
        "resources": {"swap": 16777216, "cpu_shares": 512, "cpus": "0-2,5", "io_weight": 100},
        "tmpfs": [{"target": "/tmp", "size": 67108864, "mode": "1777", "access": "rw"},
                  {"target": "/run", "size": 1048576, "mode": "0700", "access": "rwx"}],
        "device": [{"path": "/dev/ttyS0", "target": "/dev/ttyS0", "access": "rw"},
                   {"path": "/dev/i2c-1", "target": "/dev/bus", "access": "r"}]})"));
    CHECK(s.mounts.at(0) == MountSpec{"/data", "/srv/data", true});
    CHECK(s.mounts.at(1) == MountSpec{"/a", "/b", false, true});
    CHECK(s.setting_names() ==
          std::vector<std::string>{"resources.cpu_shares", "resources.io_weight", "resources.cpus", "resources.swap",
                                   "container.capabilities", "container.read_only", "container.rlimits",
                                   "container.oom_score_adj", "[[tmpfs]]", "[[device]]", "mount.access"});
    CHECK(parse_service(to_json(s)).value() == s);
    const auto part = parse_container_part(container_part_to_json(s)).value();
    CHECK(part.settings == s.settings);
    CHECK(to_text(container_part_to_json(part)) == to_text(container_part_to_json(s)));
}

TEST_CASE("a manifest without settings is described as before there were any") {
    const auto s = full();
    CHECK(s.settings.empty());
    CHECK(s.setting_names().empty());
    CHECK(to_text(container_part_to_json(s)).find("settings") == std::string::npos);
    // As it was before there were any: a copy is replaced if this changes.
    CHECK(to_text(json::value(to_json(s).as_object().at("container"))) ==
          R"({"args":["/bin/axis","-v"],"env":{"A":"1","B":"2"},"cwd":"/srv","user":"10:20","hostname":"axis",)"
          R"("stop_grace":"1500ms"})");
}

TEST_CASE("a network of its own keeps the endpoints only if it publishes them") {
    auto d = document(kFull);
    d.as_object()["container"].as_object()["network"] = "bridge";
    const auto s = parse_service(d).value();
    CHECK(json::value(s.settings) == document(R"({"container": {"network": "bridge"}})"));
    CHECK(parse_service(to_json(s)).value() == s);
    d.as_object()["container"].as_object()["network"] = "host";
    CHECK(parse_service(d).value() == full());
}

TEST_CASE("what is mounted is a path of the node or a volume by its name") {
    auto d = document(kFull);
    d.as_object()["mount"] = document(R"([{"source": "axis-data_1.x", "target": "/data"}])");
    const auto s = parse_service(d).value();
    CHECK(s.mounts == std::vector<MountSpec>{{"axis-data_1.x", "/data", false}});
    CHECK(s.setting_names() == std::vector<std::string>{"mount.source (a volume)"});
    CHECK(parse_service(to_json(s)).value() == s);
    for (const char* bad : {"", ".", "..", ".hidden", "a b", "a/b", "陀", "a\n"})
        CHECK(with_first("mount", "source", bad).where == "mount[0].source");
    CHECK(with_first("mount", "source", json::string(64, 'a')).where == "mount[0].source");
    CHECK(with_first("mount", "source", "/a/../b").where == "mount[0].source");
}

TEST_CASE("a setting that cannot be is refused by its field, with what was meant") {
    CHECK(spoilt("container", "capabilities", document(R"({"add": ["NET_RAV"]})")).text() ==
          "container.capabilities.add[0]: expected a capability (\"NET_RAW\"), got \"NET_RAV\"; did you mean "
          "\"NET_RAW\"?");
    CHECK(spoilt("container", "capabilities", document(R"({"add": ["ALL"]})")).where ==
          "container.capabilities.add[0]");
    CHECK(spoilt("container", "capabilities", document(R"({"grant": []})")).where == "container.capabilities.grant");
    CHECK(spoilt("container", "capabilities", 7).where == "container.capabilities");
    CHECK(spoilt("container", "rlimits", document(R"({"nofiles": 1})")).text() ==
          "container.rlimits.nofiles: expected a limit as ulimit knows it (nofile, core, memlock), got \"nofiles\"; "
          "did you mean \"nofile\"?");
    for (const char* bad : {R"({"core": -1})", R"({"core": "much"})", R"({"core": [1]})", R"({"core": [2, 1]})",
                            R"({"core": ["unlimited", 1]})", R"({"core": {}})", R"({"core": [null, 1]})"})
        CHECK(spoilt("container", "rlimits", document(bad)).where == "container.rlimits.core");
    CHECK(spoilt("container", "rlimits", "1024").where == "container.rlimits");
    CHECK(spoilt("container", "oom_score_adj", 1001).where == "container.oom_score_adj");
    CHECK(spoilt("container", "read_only", "yes").where == "container.read_only");
    CHECK(spoilt("container", "stop_signal", "SIGINTR").where == "container.stop_signal");
    CHECK(spoilt("container", "stop_signal", 65).where == "container.stop_signal");
    CHECK(spoilt("container", "stop_signal", 0).where == "container.stop_signal");
    for (const char* bad : {"", ":", "a:", "a b", "-a", "1234567890", "a:b:c"})
        if (*bad) CHECK(spoilt("container", "user", bad).where == "container.user");
    CHECK(spoilt("container", "network", "bridged").where == "container.network");
    CHECK(spoilt("container", "network", "none").text() ==
          "container.network: \"none\" and an [[endpoint]]: nobody could reach it; leave one of them out");
    for (const char* bad : {"", "x", "1-", "-1", "2-1", "1,", ",1", "1 2", "0-1024", "99999999999999999999"})
        CHECK(spoilt("resources", "cpus", bad).where == "resources.cpus");
    CHECK(spoilt("resources", "cpu_shares", 1).where == "resources.cpu_shares");
    CHECK(spoilt("resources", "io_weight", 1001).where == "resources.io_weight");
    CHECK(spoilt([](json::object& top) { top["resources"].as_object().erase("memory"); }).where == "resources.swap");
    CHECK(spoilt_first("tmpfs", "target", "tmp").where == "tmpfs[0].target");
    CHECK(spoilt_first("tmpfs", "target", "/").where == "tmpfs[0].target");
    CHECK(spoilt_first("tmpfs", "target", "/run").where == "tmpfs[1].target");
    CHECK(spoilt_first("tmpfs", "target", "/b").where == "tmpfs[0].target");
    CHECK(spoilt_first("tmpfs", "mode", "0800").where == "tmpfs[0].mode");
    CHECK(spoilt_first("tmpfs", "mod", "0700").where == "tmpfs[0].mod");
    CHECK(spoilt_first("device", "path", "/etc/passwd").where == "device[0].path");
    CHECK(spoilt_first("device", "target", "/dev/bus").where == "device[1].path");
    CHECK(spoilt_first("device", "access", "x").where == "device[0].access");
    CHECK(spoilt_first("mount", "access", "rw").where == "mount[0].access");
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
    CHECK(with_first("endpoint", "port", -1).where == "endpoint[0].port");
    CHECK_THAT(with_first("endpoint", "port", 65536).text(), Contains("0 to 65535"));
    CHECK(with_first("endpoint", "port", "any").where == "endpoint[0].port");
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

TEST_CASE("port 0 is a port that the node chooses, once or by name") {
    const auto spec = [](json::array endpoints) {
        auto value = document(kFull);
        value.as_object()["endpoint"] = std::move(endpoints);
        value.as_object().erase("probe");
        return parse_service(value);
    };
    const auto one = spec({json::object{{"port", 0}}, json::object{{"name", "web"}, {"port", 80}}});
    REQUIRE(one);
    CHECK(one->endpoints[0].port == 0);
    CHECK(parse_service(to_json(*one)).value() == *one);
    CHECK(one->port(0, {}) == 0);
    CHECK(one->port(0, {20123, 80}) == 20123);
    CHECK(one->port(1, {}) == 80);
    CHECK(one->ports_to_choose() == 1);
    CHECK(spec({json::object{{"name", "a"}, {"port", 0}}, json::object{{"name", "b"}, {"port", 0}}}));
    const auto nameless = spec({json::object{{"name", "a"}, {"port", 0}}, json::object{{"port", 0}}});
    REQUIRE_FALSE(nameless);
    CHECK(nameless.error().where == "endpoint[1].name");
    CHECK_THAT(nameless.error().message, Contains("expected a name of each"));
    // Where the program knows its ports by itself, nobody minds what a variable is called.
    CHECK(spec({json::object{{"name", "a-b"}, {"port", 1}}, json::object{{"name", "a_b"}, {"port", 2}}}));
    const auto alike = spec({json::object{{"name", "a-b"}, {"port", 1}}, json::object{{"name", "A_b"}, {"port", 0}}});
    REQUIRE_FALSE(alike);
    CHECK(alike.error().where == "endpoint[1].name");
    CHECK_THAT(alike.error().message, Contains("GANTRY_PORT_A_B"));
    CHECK(with_first("probe", "port", 0).where == "probe[0].port");
}

TEST_CASE("the variable of an endpoint is one that a shell can name") {
    const auto variable = [](const char* name) { return EndpointSpec{"tcp", name, 0, ""}.variable(); };
    CHECK(variable("axis_server") == "GANTRY_PORT_AXIS_SERVER");
    CHECK(variable("Web-2.api") == "GANTRY_PORT_WEB_2_API");
    CHECK(variable("größe") == "GANTRY_PORT_GR__E");
    CHECK(variable("陀螺仪") == "GANTRY_PORT____");
}

TEST_CASE("paths are absolute and mounted once") {
    CHECK(with_first("mount", "source", "data/x").where == "mount[0].source");
    CHECK(with_first("mount", "target", "/a/../etc").where == "mount[0].target");
    CHECK(with_first("mount", "target", "/").where == "mount[0].target");
    CHECK(with("container", "cwd", "x").where == "container.cwd");
    CHECK(refused([](json::object& d) {
              d["mount"].as_array().push_back(json::object{{"source", "/b"}, {"target", "/srv/data"}});
          }).where == "mount[1].target");
    CHECK(with("container", "user", "ro ot").where == "container.user");
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
