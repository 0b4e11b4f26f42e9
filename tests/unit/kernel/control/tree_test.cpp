// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/tree.hpp"

#include <catch2/catch.hpp>

using namespace gantry;
using control::parse_route;

TEST_CASE("a path is taken apart, escapes and query included") {
    const auto route = parse_route("/v1/services/%E9%99%80%E8%9E%BA%E4%BB%AA/explain?dry_run=1&after=5&flag");
    REQUIRE(route);
    CHECK(route->parts == std::vector<std::string>{"services", "陀螺仪", "explain"});
    CHECK(route->flag("dry_run"));
    CHECK(route->flag("flag"));
    CHECK_FALSE(route->flag("absent"));
    CHECK(route->argument("after") == "5");
}

TEST_CASE("an escaped slash stays inside its part") {
    CHECK(parse_route("/v1/images/a%2Fb:1.0")->parts == std::vector<std::string>{"images", "a/b:1.0"});
}

TEST_CASE("a path elsewhere or with a broken escape is refused") {
    CHECK(parse_route("/v2/services").error().code == Code::kNotFound);
    CHECK(parse_route("/v1x").error().code == Code::kNotFound);
    CHECK(parse_route("").error().code == Code::kNotFound);
    CHECK(parse_route("/v1/services/%zz").error().code == Code::kInvalid);
    CHECK(parse_route("/v1/services/%e").error().code == Code::kInvalid);
}

TEST_CASE("a failure is answered with its code, its words and its field") {
    const auto answer = control::to_response(fail(Code::kInvalid, "expected a name", "service.name"));
    CHECK(answer.code == 400);
    CHECK(answer.body == R"({"error":{"code":"invalid","message":"expected a name","field":"service.name"}})");
    CHECK(control::to_response(fail(Code::kFull, "")).code == 507);
    CHECK(control::to_response(json::object{{"revision", 7}}).revision == 7);
}
