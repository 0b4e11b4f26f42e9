// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using gantry::Labels;
using gantry::Verdict;
using gantry::testing::ControlCall;
using gantry::testing::FakeHost;
using gantry::testing::ProbeDriver;

namespace {

struct Fixture {
    Fixture() : plugin(host.load(GANTRY_PLUGIN_FILE)), driver(plugin) {
        plugin.start();
        host.tree = [this](ControlCall call) {
            asked.push_back(call.request);
            if (holds)
                held.push_back(std::move(call));
            else
                call.answer(answer);
        };
    }
    gantry::ProbeResult ask(const Labels& params) {
        const auto done = driver.check({"gantry-c1", "127.0.0.1", 0, params}).wait();
        CHECK(done.ok());
        return done.result;
    }
    boost::json::value body() const { return boost::json::parse(asked.at(asked.size() - 1).body); }

    FakeHost host;
    gantry::testing::Instance& plugin;
    ProbeDriver driver;
    gantry::ControlResponse answer{200, 0, R"({"exit_code": 0, "output": "all well", "cut": false})"};
    std::vector<gantry::ControlRequest> asked;
    std::vector<ControlCall> held;
    bool holds = false;
};

const Labels kList{{"command", R"(["/bin/check","-v"])"}};

}  // namespace

TEST_CASE("the command's exit status is the verdict, and its output is kept") {
    Fixture f;
    CHECK(f.ask(kList).verdict == Verdict::kHealthy);
    CHECK(f.ask(kList).detail == "exit status 0: all well");
    f.answer.body = R"({"exit_code": 3, "output": "no drive", "cut": false})";
    CHECK(f.ask(kList).verdict == Verdict::kUnhealthy);
    CHECK(f.ask(kList).detail == "exit status 3: no drive");
    f.answer.body = R"({"exit_code": 1, "output": "", "cut": false})";
    CHECK(f.ask(kList).detail == "exit status 1");
}

TEST_CASE("it asks for the command in the container, within its deadline") {
    Fixture f;
    f.plugin.limit = 2s;
    f.ask(kList);
    CHECK(f.asked.back().method == "POST");
    CHECK(f.asked.back().path == "/v1/node/containers/gantry-c1/exec");
    CHECK(f.asked.back().principal.kind == "plugin");
    CHECK(f.body().at("args") == boost::json::array{"/bin/check", "-v"});
    CHECK(f.body().at("timeout_ms").as_int64() >= 1'700);
    CHECK(f.body().at("timeout_ms").as_int64() < 1'900);
    f.ask({{"command", "check | grep -q ok"}});
    CHECK(f.body().at("args") == boost::json::array{"/bin/sh", "-c", "check | grep -q ok"});
}

TEST_CASE("a command that does not end, or is not there, is the container's fault; what the node cannot do is not") {
    Fixture f;
    const auto says = [&](int code, const std::string& message) {
        f.answer = {code, 0, R"({"error":{"code":"x","message":")" + message + R"("}})"};
        return f.ask(kList);
    };
    CHECK(says(504, "it did not end in 1 s and was killed").verdict == Verdict::kUnhealthy);
    CHECK(says(504, "it did not end in 1 s and was killed").detail == "it did not end in 1 s and was killed");
    CHECK(says(507, "exec: the limit of processes is reached").verdict == Verdict::kUnhealthy);
    CHECK(says(404, "exec: no such file").verdict == Verdict::kUnhealthy);
    for (const int code : {400, 409, 500, 501, 503}) {
        const auto result = says(code, "too much");
        CHECK(result.verdict == Verdict::kUnknown);
        CHECK(result.detail == "cannot ask: too much");
    }
    f.answer = {500, 0, "no json"};
    CHECK(f.ask(kList).detail == "cannot ask: status 500");
}

TEST_CASE("a key that makes no sense is said, and nothing is run") {
    Fixture f;
    const std::vector<std::pair<Labels, std::string>> table = {
        {{}, "`command` is missing"},
        {{{"command", ""}}, "`command` is missing"},
        {{{"command", "[]"}}, "`command` is empty"},
        {{{"command", "[1]"}}, "`command`: expected a list of texts"},
        {{{"comand", "x"}}, "unknown key `comand`, did you mean `command`?"},
    };
    for (const auto& [params, expected] : table) {
        const auto result = f.ask(params);
        CHECK(result.verdict == Verdict::kUnknown);
        CHECK_THAT(result.detail, Contains(expected));
    }
    CHECK(f.asked.empty());
}

TEST_CASE("a node that does not answer in time is found out by the probe, and a late answer changes nothing") {
    Fixture f;
    f.holds = true;
    f.plugin.limit = 1s;
    auto check = f.driver.check({"gantry-c1", "127.0.0.1", 0, kList});
    REQUIRE(f.host.run_until([&] { return !f.held.empty(); }));
    f.host.advance(950ms);
    const auto done = check.wait();
    REQUIRE(done.ok());
    CHECK(done.result.verdict == Verdict::kUnhealthy);
    CHECK(done.result.detail == "did not end in time");
    f.held.at(0).answer(f.answer);
    f.host.turn();
    auto last = f.driver.check({"gantry-c1", "127.0.0.1", 0, kList});
    REQUIRE(f.host.run_until([&] { return f.held.size() == 2; }));
    f.plugin.stop();
    CHECK(last.wait().code != gantry::Code::kDeadline);
}
