// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/schema.hpp"

#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

// Lets the table be checked against the schema of the plugin "actor" and gives the error's text.
std::string refusal(json::object values) {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "actor", std::move(values)));
    const Status status = bench.make().configure(std::move(tables));
    return status ? "" : status.error().text();
}

elf::ConfigKey key(std::string name, elf::ValueType type) {
    elf::ConfigKey out;
    out.name = std::move(name);
    out.type = type;
    out.doc = "what it is";
    return out;
}

}  // namespace

TEST_CASE("a wrong value is told with its place, what was expected and what was got") {
    CHECK(refusal({{"count", 0}}) == "gantry.toml:11:8: `count` in [probe.actor] must be at least 1, got 0");
    CHECK(refusal({{"loud", true}, {"count", 10}}) ==
          "gantry.toml:12:8: `count` in [probe.actor] must be at most 9, got 10");
    CHECK(refusal({{"count", "3"}}) == "gantry.toml:11:8: `count` in [probe.actor] must be an integer, got \"3\"");
    CHECK(refusal({{"count", 2.5}}).find("must be an integer, got 2.5") != std::string::npos);
    CHECK(refusal({{"count", UINT64_MAX}}).find("must be an integer") != std::string::npos);
    CHECK(refusal({{"ratio", 2}}).find("must be at most 1, got 2") != std::string::npos);
    CHECK(refusal({{"ratio", "x"}}).find("must be a number, got \"x\"") != std::string::npos);
    CHECK(refusal({{"loud", 1}}).find("must be true or false, got 1") != std::string::npos);
    CHECK(refusal({{"wait", 5}}).find("must be a duration (\"200ms\"), got 5") != std::string::npos);
    CHECK(refusal({{"wait", "5"}}).starts_with("gantry.toml:11:8: `wait` in [probe.actor]: not a duration"));
    CHECK(refusal({{"wait", "2m"}}).find("must be at most 1 min, got \"2m\"") != std::string::npos);
    CHECK(refusal({{"room", "1 elephant"}}).find("not a size") != std::string::npos);
    CHECK(refusal({{"names", json::array{"a", 1}}}).find("must be a list of strings") != std::string::npos);
    CHECK(refusal({{"fail_in", "sleep"}}).find("must be one of \"never\", \"init\", \"start\", \"stop\", \"hang\"") !=
          std::string::npos);
}

TEST_CASE("an unknown key is told with what may have been meant") {
    CHECK(refusal({{"cuont", 1}}) == "gantry.toml:11:8: unknown key `cuont` in [probe.actor], did you mean `count`?");
    CHECK(refusal({{"requierd", true}}).find("did you mean `required`?") != std::string::npos);
    CHECK(refusal({{"zzzzzzz", 1}}) == "gantry.toml:11:8: unknown key `zzzzzzz` in [probe.actor]");
}

TEST_CASE("a secret is never in a message") {
    CHECK(refusal({{"token", 4711}}) ==
          "gantry.toml:11:8: `token` in [probe.actor] must be a string (\"...\"), got something else");
}

TEST_CASE("right values are accepted") {
    CHECK(refusal({{"count", 9}, {"ratio", 1}, {"wait", "1.5s"}, {"room", 4096}, {"names", json::array{}}}) == "");
}

TEST_CASE("a required key that is missing is told at the table") {
    elf::ConfigKey secret_file = key("secret_file", elf::ValueType::kString);
    secret_file.required = true;
    const auto checked = check_table(table("transport", "vsoa"), {secret_file});
    REQUIRE_FALSE(checked);
    CHECK(checked.error().text() ==
          "gantry.toml:10:1: `secret_file` is required in [transport.vsoa]: a string (\"...\") (what it is)");
}

TEST_CASE("defaults are filled in and marked as not given") {
    elf::ConfigKey wait = key("wait", elf::ValueType::kDuration), names = key("names", elf::ValueType::kList),
                   plain = key("plain", elf::ValueType::kString);
    wait.default_value = "1500000000";
    names.default_list = std::vector<std::string>{"x"};
    const auto checked = check_table(table("probe", "p", {{"names", json::array{"y"}}}), {wait, names, plain});
    REQUIRE(checked);
    REQUIRE(checked->size() == 2);
    CHECK(checked->at(0).list == std::vector<std::string>{"y"});
    CHECK(checked->at(0).given);
    CHECK(checked->at(1).integer == 1'500'000'000);
    CHECK_FALSE(checked->at(1).given);
}

}  // namespace gantry::host
