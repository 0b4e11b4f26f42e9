// SPDX-License-Identifier: Apache-2.0
//
// `gantry deploy` with the real program: how it follows, what it shows, how it ends.
#include <catch2/catch.hpp>
#include <chrono>

#include "kernel/cli/trouble.hpp"
#include "tests/unit/kernel/cli/fake_server.hpp"
#include "tests/unit/kernel/cli/image_builder.hpp"
#include "tests/unit/kernel/cli/program.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string service(const std::string& state, const std::string& instance_members) {
    return R"({"name":"axis_server","revision":4,"desired":1,"ready":)" + std::string(state == "ready" ? "1" : "0") +
           R"(,"state":")" + state + R"(","instances":[{"instance":"axis_server.0","revision":4,)" + instance_members +
           "}]}";
}

// A gantryd for one deployment. The service looks like `looks[0]`, after each event it sends like the next.
class FakeDeployment {
  public:
    explicit FakeDeployment(std::vector<std::string> looks)
        : looks_(std::move(looks)), server([this](const FakeRequest& r, FakeConnection& c) { handle(r, c); }) {
        write_file(
            folder.path / "axis.toml",
            "[service]\nname = \"axis_server\"\nimage = \"axis:1.0\"\n\n[placement]\nnodes = [\n  \"SNode1\",\n  7]\n");
    }

    Ran deploy(std::vector<std::string> more = {}, const RunOptions& options = {}) {
        std::vector<std::string> arguments{"deploy", folder.path / "axis.toml", "--socket", server.socket()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        auto ran = run_gantry(arguments, options);
        UNSCOPED_INFO(ran.out << ran.err);
        return ran;
    }

    std::string answer =
        R"({"service":"axis_server","revision":4,"changed":true,"instances":1,"warnings":["no probe"]})";
    int code = 200;
    std::string manifest() const { return folder.path / "axis.toml"; }

  private:
    void handle(const FakeRequest& request, FakeConnection& connection) {
        if (request.method == "PUT") return connection.answer(code, answer);
        if (request.target == "/v1/events?limit=1")
            return connection.answer(200, R"({"items":[{"number":41}],"revision":9})");
        if (request.target == "/v1/events?follow=1&after=41") return stream(connection);
        if (request.target != "/v1/services/axis_server") return connection.answer(404, "");
        const auto look = std::min(at_.load(), looks_.size() - 1);
        looked_ = look;
        connection.answer(looks_[look].empty() ? 404 : 200, looks_[look]);
    }

    void stream(FakeConnection& connection) {
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for (std::size_t i = 1; i < looks_.size(); ++i) {
            while (looked_ + 1 < i && !server.stopping()) std::this_thread::yield();
            at_ = i;
            const auto number = std::to_string(41 + i);
            connection.send("data: {\"number\":" + number +
                            ",\"time\":\"2026-11-22T12:03:04.123Z\",\"kind\":\"k\",\"text\":\"happening " + number +
                            "\",\"fields\":{\"service\":\"axis_server\"}}\n\ndata: {\"number\":" + number +
                            ",\"text\":\"elsewhere\",\"fields\":{\"service\":\"other\"}}\n\n");
        }
        connection.receive();
    }

    std::vector<std::string> looks_;
    std::atomic<std::size_t> at_{0}, looked_{0};
    TempFolder folder;

  public:
    FakeServer server;
};

std::vector<std::string> good_looks() {
    return {service("deploying", R"("state":"creating","node":"SNode1","epoch":1)"),
            service("deploying", R"("state":"running","node":"SNode1","epoch":1)"),
            service("ready", R"("state":"ready","node":"SNode1","epoch":1)")};
}

}  // namespace

TEST_CASE("deploy follows until ready, in plain lines in a pipe") {
    FakeDeployment gantryd(good_looks());
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "12:03:04.123 happening 42\n"));
    CHECK(has(ran.out, "12:03:04.123 happening 43\n"));
    CHECK_FALSE(has(ran.out, "elsewhere"));
    CHECK_FALSE(has(ran.out, "\x1b"));
    CHECK(has(ran.out, "service axis_server is ready: axis_server.0 on SNode1 ("));
    CHECK(has(ran.err, "warning: no probe"));
}

TEST_CASE("deploy rewrites one line per instance on a terminal") {
    FakeDeployment gantryd(good_looks());
    const auto ran = gantryd.deploy({}, {.terminal = true});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "axis_server revision 4: 0 of 1 ready"));
    CHECK(has(ran.out, "axis_server.0  creating  SNode1"));
    CHECK(has(ran.out, "\x1b[3A"));  // headline, headers, one instance
    CHECK(has(ran.out, "service axis_server is ready: axis_server.0 on SNode1 ("));
}

TEST_CASE("deploy gives documents, one per line, with --json") {
    FakeDeployment gantryd(good_looks());
    const auto ran = gantryd.deploy({"--json"});
    CHECK(ran.status == exit_status::kOk);
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < ran.out.size(); at = ran.out.find('\n', at) + 1) {
        lines.push_back(ran.out.substr(at, ran.out.find('\n', at) - at));
        CHECK(parse_json(lines.back()).has_value());
    }
    REQUIRE(lines.size() == 4);
    CHECK(has(lines[0], "\"changed\":true"));
    CHECK(has(lines[1], "\"number\":42"));
    CHECK(has(lines[3], "\"state\":\"ready\""));
}

TEST_CASE("a deployment of what is stopped ends at once, and says how it is run") {
    FakeDeployment gantryd(
        {R"({"name":"axis_server","revision":4,"desired":1,"ready":0,"state":"stopped","stopped":true,
        "instances":[{"instance":"axis_server.0","revision":4,"state":"stopped","node":"","epoch":1}]})"});
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "service axis_server is deployed and stays stopped: gantry start axis_server runs it\n"));
}

TEST_CASE("the same manifest again is no change") {
    FakeDeployment gantryd({""});
    gantryd.answer = R"({"service":"axis_server","revision":4,"changed":false})";
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kOk);
    CHECK(ran.out == "service axis_server: no change\n");
    CHECK(gantryd.server.count("GET /v1/services/axis_server") == 0);
}

TEST_CASE("a dry run shows the difference and the placement") {
    FakeDeployment gantryd({""});
    gantryd.answer = R"({"service":"axis_server","difference":[{"field":"service.instances","from":1,"to":2}],
        "placement":[{"instance":"axis_server.1","node":"SNode2","reason":"fewest copies"}]})";
    const auto ran = gantryd.deploy({"--dry-run"});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "service.instances  1     2\n"));
    CHECK(has(ran.out, "axis_server.1  SNode2  fewest copies\n"));
    REQUIRE(gantryd.server.requests().size() == 1);
    CHECK(gantryd.server.requests()[0].text() == "PUT /v1/services/axis_server?dry_run=1");
}

TEST_CASE("what gantryd refuses is shown at the manifest's line") {
    FakeDeployment gantryd({""});
    gantryd.code = 400;
    gantryd.answer = R"({"error":{"code":"invalid","message":"expected text, got 7","field":"placement.nodes[1]"}})";
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kBadData);
    CHECK(ran.err == "gantry: " + gantryd.manifest() + ":8:3: placement.nodes[1]: expected text, got 7\n");
    write_file(gantryd.manifest(), "[service\n");
    const auto broken = gantryd.deploy();
    CHECK(broken.status == exit_status::kBadData);
    CHECK(has(broken.err, gantryd.manifest() + ":1:"));
}

TEST_CASE("a deployment that is pending ends with each node's reason") {
    FakeDeployment gantryd(
        {service("pending", R"("state":"pending","pending":[{"node":"SNode1","reason":"4 cores wanted, 2 free"},
        {"node":"SNode2","reason":"it is lost"}])")});
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kNotReady);
    CHECK(has(ran.err, "axis_server.0 is pending\n  SNode1: 4 cores wanted, 2 free\n  SNode2: it is lost\n"));
    CHECK(has(ran.err, "it stays deployed"));
}

TEST_CASE("a deployment that crashes ends with where to look") {
    FakeDeployment gantryd(
        {service("failing", R"("state":"failing","node":"SNode1","crashes":3,"exit_code":1,"reason":"exited")")});
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kNotReady);
    CHECK(has(ran.err, "crashed 3 times in a row, exit code 1; see `gantry logs axis_server.0`"));
}

TEST_CASE("crashes of an older revision are not held against the new one") {
    auto old = service("deploying", R"("state":"failing","node":"SNode1","crashes":9)");
    old.replace(old.rfind("\"revision\":4"), 12, "\"revision\":3");
    FakeDeployment gantryd({old, service("ready", R"("state":"ready","node":"SNode1")")});
    CHECK(gantryd.deploy().status == exit_status::kOk);
}

TEST_CASE("a deployment that takes too long ends at its timeout") {
    FakeDeployment gantryd({service("deploying", R"("state":"creating","node":"SNode1")")});
    const auto ran = gantryd.deploy({"--timeout", "300ms"});
    CHECK(ran.status == exit_status::kNotReady);
    CHECK(has(ran.err, "is not ready after 300 ms"));
    FakeDeployment pending({service("pending", R"("state":"pending")")});
    CHECK(pending.deploy({"--wait", "--timeout", "300ms"}).status == exit_status::kNotReady);
}

TEST_CASE("a service that is removed meanwhile ends its deployment") {
    FakeDeployment gantryd({service("deploying", R"("state":"creating")"), ""});
    const auto ran = gantryd.deploy();
    CHECK(ran.status == exit_status::kFailed);
    CHECK(has(ran.err, "was removed while it was deployed"));
}

TEST_CASE("Ctrl-C leaves the deployment running and says so") {
    FakeDeployment gantryd({service("deploying", R"("state":"creating","node":"SNode1")"),
                            service("deploying", R"("state":"creating","node":"SNode1")")});
    const auto ran =
        gantryd.deploy({}, {.interrupt_when = [](const std::string& out) { return has(out, "happening"); }});
    CHECK(ran.status == exit_status::kInterrupted);
    CHECK(has(ran.err, "goes on without this command"));
}
