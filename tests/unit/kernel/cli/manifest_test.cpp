// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/manifest.hpp"

#include <catch2/catch.hpp>

using namespace gantry;
using namespace gantry::cli;

namespace {

constexpr const char* kAxis = R"(# the gyroscope
[service]
name = "陀螺仪"
image = "axis_server:1.0"
instances = 1

[placement]
mode = "dynamic"
nodes = ["SNode1",
         "SNode2"]
labels = { "a.b" = "x" }

[resources]
cpu = 0.5

[[endpoint]]
kind = "vsoa"
port = 3002
password = { secret = "axis" }

[[probe]]
kind = "vsoa"

[[probe]]
kind = "tcp"
interval = "1s"
)";

Trouble refused(Code code, std::string field) { return Error{code, "is wrong", std::move(field)}; }

}  // namespace

TEST_CASE("a manifest becomes the document of the API") {
    const auto manifest = Manifest::parse(kAxis, "axis.toml");
    REQUIRE(manifest);
    CHECK(manifest->name() == "陀螺仪");
    const json::value expected = {
        {"service", {{"name", "陀螺仪"}, {"image", "axis_server:1.0"}, {"instances", 1}}},
        {"placement", {{"mode", "dynamic"}, {"nodes", {"SNode1", "SNode2"}}, {"labels", {{"a.b", "x"}}}}},
        {"resources", {{"cpu", 0.5}}},
        {"endpoint", json::array{{{"kind", "vsoa"}, {"port", 3002}, {"password", {{"secret", "axis"}}}}}},
        {"probe", json::array{{{"kind", "vsoa"}}, {{"kind", "tcp"}, {"interval", "1s"}}}},
    };
    CHECK(manifest->document() == expected);
}

TEST_CASE("a field that gantryd refuses is shown where it was written") {
    const auto manifest = Manifest::parse(kAxis, "axis.toml");
    REQUIRE(manifest);
    CHECK(manifest->place("service.name") == "axis.toml:3:1");
    CHECK(manifest->place("service.instances") == "axis.toml:5:1");
    CHECK(manifest->place("placement.nodes") == "axis.toml:9:1");
    CHECK(manifest->place("placement.nodes[1]") == "axis.toml:10:10");
    CHECK(manifest->place("placement.labels.a.b") == "axis.toml:11:12");
    CHECK(manifest->place("endpoint[0].port") == "axis.toml:18:1");
    CHECK(manifest->place("endpoint[0].password.secret") == "axis.toml:19:14");
    CHECK(manifest->place("probe[1].interval") == "axis.toml:26:1");
}

TEST_CASE("a field that is missing is shown at the table that lacks it") {
    const auto manifest = Manifest::parse(kAxis, "axis.toml");
    REQUIRE(manifest);
    CHECK(manifest->place("placement.policy") == "axis.toml:7:2");
    CHECK(manifest->place("probe[1].port") == "axis.toml:24:1");
    CHECK(manifest->place("container.args[3]") == "axis.toml:1:1");
    CHECK(manifest->place("") == "axis.toml:1:1");
}

TEST_CASE("what gantryd refuses because of the manifest is bad data, anything else keeps its status") {
    const auto manifest = Manifest::parse(kAxis, "axis.toml");
    REQUIRE(manifest);
    const auto wrong = manifest->explain(refused(Code::kInvalid, "service.instances"));
    CHECK(wrong.status == exit_status::kBadData);
    CHECK(wrong.error.text() == "axis.toml:5:1: service.instances: is wrong");
    CHECK(manifest->explain(refused(Code::kUnsupported, "placement.overlap")).status == exit_status::kBadData);
    CHECK(manifest->explain(refused(Code::kNotFound, "service.image")).status == exit_status::kNotFound);
    CHECK(manifest->explain(refused(Code::kNotFound, "service.image")).error.where == "axis.toml:4:1");
    CHECK(manifest->explain(refused(Code::kUnavailable, "")).error.where.empty());
}

TEST_CASE("what is no TOML is shown with line and column") {
    const auto manifest = Manifest::parse("[service]\nname = \"a\nimage = 1\n", "m.toml");
    REQUIRE_FALSE(manifest);
    CHECK(manifest.error().status == exit_status::kBadData);
    CHECK(manifest.error().error.where.starts_with("m.toml:2:"));

    const auto twice = Manifest::parse("[service]\nname = \"a\"\nname = \"b\"\n", "m.toml");
    REQUIRE_FALSE(twice);
    CHECK(twice.error().error.where.starts_with("m.toml:3:"));
}

TEST_CASE("a manifest needs a name that can be one") {
    const auto place_of = [](const char* text) {
        const auto manifest = Manifest::parse(text, "m.toml");
        REQUIRE_FALSE(manifest);
        CHECK(manifest.error().status == exit_status::kBadData);
        return manifest.error().error.where;
    };
    CHECK(place_of("") == "m.toml:1:1");
    CHECK(place_of("\n[service]\nimage = \"x\"\n") == "m.toml:2:2");
    CHECK(place_of("[service]\nname = 7\n") == "m.toml:2:1");
    CHECK(place_of("[service]\nname = \"a/b\"\n") == "m.toml:2:1");
    CHECK(place_of("service = 1\n") == "m.toml:1:1");
}

TEST_CASE("what JSON cannot say is refused where it stands") {
    const auto date = Manifest::parse("[service]\nname = \"a\"\nimage = 2026-01-01\n", "m.toml");
    REQUIRE_FALSE(date);
    CHECK(date.error().error.where == "m.toml:3:9");
    const auto infinite = Manifest::parse("[service]\nname = \"a\"\n[resources]\ncpu = inf\n", "m.toml");
    REQUIRE_FALSE(infinite);
    CHECK(infinite.error().error.where == "m.toml:4:7");
}

TEST_CASE("a file that is not there is not found, a long one is refused") {
    CHECK(Manifest::read("/nowhere/axis.toml").error().status == exit_status::kNotFound);
    CHECK_FALSE(Manifest::read("/"));
    CHECK(Manifest::parse(std::string(2 << 20, '#'), "m.toml").error().status == exit_status::kBadData);
}
