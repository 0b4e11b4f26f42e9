// SPDX-License-Identifier: Apache-2.0
//
// The real program against a fake gantryd: what it asks, what it shows, how it ends.
#include <catch2/catch.hpp>
#include <map>

#include "kernel/base/units.hpp"
#include "kernel/cli/trouble.hpp"
#include "tests/unit/kernel/cli/fake_server.hpp"
#include "tests/unit/kernel/cli/image_builder.hpp"
#include "tests/unit/kernel/cli/program.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

const std::map<std::string, std::string> kDocuments = {
    {"GET /v1/cluster", R"({"cluster_id":"c1","term":3,"controller":"SNode1","version":"0.9.0","role":"both"})"},
    {"GET /v1/nodes",
     R"({"items":[{"name":"SNode1","liveness":"ready","intent":"active","copies":2,"cpu_milli":2000,"cpu_used_milli":350,
         "memory_bytes":1073741824,"memory_free_bytes":536870912,"disk_total_bytes":1073741824,"disk_free_bytes":268435456,"sent_bytes_per_s":2048,
         "pressure_io_permille":23,"temperature_celsius":-3,"address":"10.0.0.1","heard_ms":120,"lost_after_ms":1000},
        {"name":"SNode2","liveness":"lost","intent":"cordoned","copies":0,"cpu_milli":2000,"memory_bytes":1,
         "memory_free_bytes":0,"address":"10.0.0.2","heard_ms":61000,"reason":"silent for 61 s"}],"revision":7})"},
    {"GET /v1/nodes/SNode1/load",
     R"({"every_ms":10000,"items":[{"time_ms":1,"cpu_used_milli":0,"memory_free_bytes":1073741824,"temperature_celsius":41},
        {"time_ms":2,"cpu_used_milli":2000,"memory_free_bytes":536870912},
        {"time_ms":3,"cpu_used_milli":1000,"memory_free_bytes":536870912,"temperature_celsius":-3}],"revision":7})"},
    {"GET /v1/instances/axis_server.0/load",
     R"({"every_ms":10000,"items":[{"time_ms":1,"cpu_used_milli":250,"memory_used_bytes":1048576,"pids":3}],"revision":7})"},
    {"GET /v1/nodes/SNode2/load", R"({"every_ms":10000,"items":[],"revision":7})"},
    {"GET /v1/services",
     R"({"items":[{"name":"陀螺仪","revision":4,"image":"axis:1.0","mode":"dynamic","policy":"least-loaded",
         "nodes":["SNode1","SNode2"],"desired":2,"placed":1,"running":1,"ready":1,"state":"pending","reason":"no node fits",
         "endpoints":[{"kind":"vsoa","name":"a","requested":0,"mapped":[20123,20700]},
                      {"kind":"tcp","name":"b","requested":3002,"mapped":[3002,3002]}]},
        {"name":"axis_server","revision":1,"image":"axis:1.0","mode":"static","labels":{"site":"p3"},"desired":1,"ready":1,
         "state":"ready"}],"revision":7})"},
    {"GET /v1/instances",
     R"({"items":[{"instance":"陀螺仪.0","state":"ready","node":"SNode1","epoch":3,"restarts":1,"since_ms":65000,
         "endpoints":[{"kind":"vsoa","name":"a","requested":0,"mapped":20123},
                      {"kind":"tcp","name":"b","requested":3002,"mapped":3002}],
         "cpu_used_milli":125,"memory_used_bytes":8388608,"pids":2},
        {"instance":"陀螺仪.1","state":"pending","epoch":0,"restarts":0,"since_ms":5,
         "endpoints":[{"kind":"vsoa","name":"a","requested":0,"mapped":0},
                      {"kind":"tcp","name":"b","requested":3002,"mapped":0}],
         "pending":[{"node":"SNode1","reason":"port 3002 is taken"},{"node":"SNode2","reason":"it is lost"}]}],"revision":7})"},
    {"GET /v1/services/%E9%99%80%E8%9E%BA%E4%BB%AA/explain",
     R"({"service":"陀螺仪","policy":"least-loaded","instance":"陀螺仪.1","key_names":["copies","free_memory"],
         "nodes":[{"node":"SNode1","rank":1,"keys":[2,-5],"has_image":true,"current":true,
                   "held":"an instance was lost here"},
                  {"node":"SNode2","excluded":"it is lost"}]})"},
    {"GET /v1/images",
     R"({"items":[{"name":"axis:1.0","digest":"sha256:0123456789abcdef","os":"linux","architecture":"amd64",
         "size_bytes":1048576}],"revision":1})"},
    {"GET /v1/secrets", R"({"items":["axis"],"revision":1})"},
    {"GET /v1/plugins",
     R"({"items":[{"role":"runtime","name":"oci","plugin":"oci","version":"0.9.0","state":"loaded","required":true,
         "calls":12,"slow_calls":0,"operations_pending":0}],"revision":1})"},
    {"GET /v1/events?after=0&limit=100",
     R"({"items":[{"number":1,"time":"2026-11-22T12:03:04.123Z","kind":"placed","text":"a.0 placed on SNode1",
         "fields":{"service":"a","node":"SNode1"}},
        {"number":2,"time":"2026-11-22T12:03:05.000Z","kind":"lost","text":"SNode2 is lost","fields":{"node":"SNode2"}}]})"},
    {"GET /v1/events?after=0&limit=10000",
     R"({"items":[{"number":1,"time":"2026-11-22T12:03:01.000Z","kind":"deployed","text":"a revision 1",
         "fields":{"service":"a","by":"unix:root"}},
        {"number":2,"time":"2026-11-22T12:03:02.000Z","kind":"placed","text":"a.0 placed on SNode1",
         "fields":{"service":"a","node":"SNode1"}},
        {"number":3,"time":"2026-11-22T12:03:03.000Z","kind":"lost","text":"SNode2 is lost","fields":{"node":"SNode2"}},
        {"number":4,"time":"2026-11-22T12:03:04.000Z","kind":"lost","text":"SNode3 is lost","fields":{"node":"SNode3"}}]})"},
    {"GET /v1/instances/axis_server.0/logs?tail=2", "one\ntwo\n"},
    {"POST /v1/plugins/probe.tcp/allow", R"({"plugin":"probe.tcp","crashes":3,"allowed":true})"},
    {"POST /v1/plugins/tcp/clear", R"({"plugin":"probe.tcp","crashes":0,"allowed":false})"},
    {"PUT /v1/nodes/SNode1/intent", "{}"},
    {"DELETE /v1/nodes/SNode1?dead=1", "{}"},
    {"POST /v1/nodes/confirm-lost", "{}"},
    {"DELETE /v1/services/axis_server", "{}"},
    {"PUT /v1/secrets/axis", "{}"},
    {"DELETE /v1/images/axis:1.0", "{}"},
};

struct FakeGantryd {
    FakeGantryd()
        : server([](const FakeRequest& request, FakeConnection& connection) {
              const auto found = kDocuments.find(request.text());
              if (found != kDocuments.end()) return connection.answer(200, found->second);
              connection.answer(404, R"({"error":{"code":"not_found","message":"there is no such thing"}})");
          }) {}
    Ran run(std::vector<std::string> arguments, const RunOptions& options = {}) {
        arguments.insert(arguments.end(), {"--socket", server.socket()});
        auto ran = run_gantry(arguments, options);
        UNSCOPED_INFO(ran.out << ran.err);
        return ran;
    }
    FakeServer server;
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::string line_with(const std::string& text, std::string_view part) {
    const auto at = text.find(part);
    if (at == std::string::npos) return {};
    const auto begin = text.rfind('\n', at) + 1;
    return text.substr(begin, text.find('\n', at) - begin);
}

}  // namespace

TEST_CASE("nodes are listed") {
    FakeGantryd gantryd;
    const auto ran = gantryd.run({"nodes"});
    CHECK(ran.status == exit_status::kOk);
    CHECK(line_with(ran.out, "NAME") ==
          "NAME    STATE  INTENT    COPIES  CPU     MEMORY  FREE     ADDRESS   HEARD          LOST AFTER  REASON");
    CHECK(line_with(ran.out, "SNode1") ==
          "SNode1  ready  active    2       0.35/2  1 GiB   512 MiB  10.0.0.1  120 ms ago     1 s");
    CHECK(has(line_with(ran.out, "SNode2"), "1 min 1 s ago"));
    CHECK(has(line_with(ran.out, "SNode2"), "silent for 61 s"));
}

TEST_CASE("what nodes and instances use is shown, and what is not known is not zero") {
    FakeGantryd gantryd;
    const auto ran = gantryd.run({"top"});
    CHECK(ran.status == exit_status::kOk);
    CHECK(
        line_with(ran.out, "NODE") ==
        "NODE    STATE  CPU    MEMORY         DISK           RECEIVED/s  SENT/s  WAITS CPU  WAITS MEMORY  WAITS DISK  "
        "HOTTEST");
    CHECK(
        line_with(ran.out, "SNode1") ==
        "SNode1  ready  17.5%  512 MiB/1 GiB  768 MiB/1 GiB  -           2 KiB   -          -             2.3%        "
        "-3 °C");
    CHECK(line_with(ran.out, "SNode2  lost") ==
          "SNode2  lost   -      -              -              -           -       -          -             -          "
          " -");
    CHECK(line_with(ran.out, "INSTANCE") == "INSTANCE  STATE    NODE    CPU OF A CORE  MEMORY  PROCESSES");
    CHECK(line_with(ran.out, "陀螺仪.0") == "陀螺仪.0  ready    SNode1  12.5%          8 MiB   2");
    CHECK(line_with(ran.out, "陀螺仪.1") == "陀螺仪.1  pending  -       -              -       -");
    const auto served = parse_json(gantryd.run({"--json", "top"}).out);
    REQUIRE(served);
    CHECK(served->at("nodes").as_array().size() == 2);
    CHECK(served->at("instances").as_array().front().at("pids").as_int64() == 2);
}

TEST_CASE("the last hour of a node or an instance is a chart") {
    FakeGantryd gantryd;
    const auto ran = gantryd.run({"top", "SNode1"});
    CHECK(line_with(ran.out, "CPU") == "CPU of a core  100.0%   0.0%     200.0%  ▁█▅");
    CHECK(line_with(ran.out, "free memory") == "free memory    512 MiB  512 MiB  1 GiB   █▅▅");
    CHECK(line_with(ran.out, "hottest") == "hottest        -3 °C    -3 °C    41 °C   █ ▁");
    CHECK_FALSE(has(ran.out, "pids"));
    CHECK(line_with(gantryd.run({"top", "axis_server.0"}).out, "processes") == "processes      3      3      3      █");
    CHECK(has(gantryd.run({"top", "SNode2"}).err, "nothing is remembered of SNode2 yet"));
    CHECK(gantryd.run({"top", "SNode9"}).status == exit_status::kNotFound);
    CHECK(gantryd.run({"top", "nobody.0"}).status == exit_status::kNotFound);
}

TEST_CASE("services and instances align with wide names, and reasons are whole in a pipe") {
    FakeGantryd gantryd;
    const auto services = gantryd.run({"services"});
    CHECK(services.status == exit_status::kOk);
    const auto column = [](const std::string& line, std::string_view word) {
        return display_width(line.substr(0, line.find(word)));
    };
    CHECK(column(line_with(services.out, "陀螺仪"), "pending") == column(line_with(services.out, "NAME"), "STATE"));
    CHECK(column(line_with(services.out, "axis_server"), "ready") == column(line_with(services.out, "NAME"), "STATE"));
    CHECK(has(line_with(services.out, "axis_server"), "site=p3"));
    CHECK(has(line_with(services.out, "陀螺仪"), "  0->20123, 20700 3002  "));

    const auto ps = gantryd.run({"ps"});
    CHECK(line_with(ps.out, "INSTANCE") ==
          "INSTANCE  STATE    NODE    EPOCH  RESTARTS  PORTS          AGE        REASON");
    CHECK(line_with(ps.out, "陀螺仪.0") == "陀螺仪.0  ready    SNode1  3      1         0->20123 3002  1 min 5 s");
    CHECK(has(line_with(ps.out, "陀螺仪.1"), "  0 3002  "));
    CHECK(has(line_with(ps.out, "陀螺仪.1"), "SNode1: port 3002 is taken; SNode2: it is lost"));
}

TEST_CASE("explain shows each node's verdict") {
    FakeGantryd gantryd;
    const auto ran = gantryd.run({"explain", "陀螺仪"});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "COPIES  FREE_MEMORY"));
    CHECK(has(line_with(ran.out, "SNode1"), "rank 1"));
    CHECK(has(line_with(ran.out, "SNode1"), "an instance was lost here"));
    CHECK(has(line_with(ran.out, "SNode2"), "excluded"));
    CHECK(has(line_with(ran.out, "SNode2"), "it is lost"));
}

TEST_CASE("events are shown with milliseconds and selected") {
    FakeGantryd gantryd;
    const auto all = gantryd.run({"events"});
    CHECK(all.out ==
          "2026-11-22 12:03:04.123  placed              a.0 placed on SNode1\n"
          "2026-11-22 12:03:05.000  lost                SNode2 is lost\n");
    CHECK(gantryd.run({"events", "--node", "SNode2"}).out ==
          "2026-11-22 12:03:03.000  lost                SNode2 is lost\n");
}

TEST_CASE("the limit counts the events that are wanted, and who asked for a change is named") {
    FakeGantryd gantryd;
    const std::string deployed = "2026-11-22 12:03:01.000  deployed            a revision 1 (by unix:root)\n";
    const std::string placed = "2026-11-22 12:03:02.000  placed              a.0 placed on SNode1\n";
    CHECK(gantryd.run({"events", "--service", "a"}).out == deployed + placed);
    CHECK(gantryd.run({"events", "--service", "a", "--limit", "1"}).out == placed);
}

TEST_CASE("documents are shown as served with --json") {
    FakeGantryd gantryd;
    for (const char* command : {"nodes", "top", "services", "ps", "plugins", "status", "events"}) {
        INFO(command);
        const auto ran = gantryd.run({"--json", command});
        CHECK(ran.status == exit_status::kOk);
        for (std::size_t at = 0; at < ran.out.size();) {
            const auto end = ran.out.find('\n', at);
            REQUIRE(end != std::string::npos);
            CHECK(parse_json(std::string_view(ran.out).substr(at, end - at)).has_value());
            at = end + 1;
        }
    }
    CHECK(gantryd.run({"nodes", "--json"}).out == to_text(*parse_json(kDocuments.at("GET /v1/nodes"))) + "\n");
    const auto refused = gantryd.run({"--json", "explain", "nobody"});
    CHECK(refused.status == exit_status::kNotFound);
    CHECK(refused.err == "{\"error\":{\"code\":\"not_found\",\"message\":\"there is no such thing\"}}\n");
}

TEST_CASE("colours are for terminals that want them") {
    FakeGantryd gantryd;
    CHECK_FALSE(has(gantryd.run({"nodes"}).out, "\x1b["));
    CHECK(has(gantryd.run({"nodes"}, {.terminal = true}).out, "\x1b[32mready"));
    CHECK_FALSE(has(gantryd.run({"nodes", "--no-color"}, {.terminal = true}).out, "\x1b["));
    CHECK_FALSE(has(gantryd.run({"nodes"}, {.terminal = true, .environment = {"NO_COLOR=1"}}).out, "\x1b["));
}

TEST_CASE("every other command asks what it should") {
    FakeGantryd gantryd;
    CHECK(gantryd.run({"drain", "SNode1"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"intent":"draining"})");
    CHECK(gantryd.run({"cordon", "SNode1"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"intent":"cordoned"})");
    CHECK(gantryd.run({"uncordon", "SNode1"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"intent":"active"})");
    CHECK(gantryd.run({"node", "rm", "SNode1", "--dead"}).status == exit_status::kOk);
    CHECK(gantryd.run({"node", "confirm-lost", "SNode1", "SNode2"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"nodes":["SNode1","SNode2"]})");
    CHECK(gantryd.run({"node", "confirm-lost"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"nodes":[]})");
    CHECK(gantryd.run({"rm", "axis_server"}).status == exit_status::kOk);
    CHECK(gantryd.run({"rm", "axis_server", "--wait"}).out == "service axis_server is removed\n");
    CHECK(gantryd.run({"image", "rm", "axis:1.0"}).status == exit_status::kOk);
    CHECK(has(gantryd.run({"image", "ls"}).out, "axis:1.0  sha256:0123456789ab  linux/amd64  1 MiB"));
    CHECK(has(gantryd.run({"plugins"}).out, "runtime"));
    CHECK(has(gantryd.run({"plugins", "allow", "probe.tcp"}).out, "probe.tcp: its crashes do not count until"));
    CHECK(gantryd.run({"plugins", "clear", "tcp"}).out == "probe.tcp: its crashes are forgotten\n");
    CHECK(gantryd.run({"plugins", "clear"}).status == exit_status::kUsage);
    CHECK(gantryd.run({"plugins", "clear", "udp"}).status == exit_status::kNotFound);
    CHECK(gantryd.run({"--json", "plugins", "clear", "tcp"}).out ==
          "{\"plugin\":\"probe.tcp\",\"crashes\":0,\"allowed\":false}\n");
    CHECK(gantryd.run({"logs", "axis_server.0", "--tail", "2"}).out == "one\ntwo\n");
    const auto status = gantryd.run({"status"});
    CHECK(has(status.out, "nodes       1 lost, 1 ready\n  node SNode2 is lost: silent for 61 s\n"));
    CHECK(has(gantryd.run({"version"}).out, "gantryd 0.9.0"));
}

namespace {

// A service that is in `state` once it was asked to change, after the first look; an instance of attempt 1, then 2.
class Changing {
  public:
    explicit Changing(const std::string& state)
        : state_(state), server([this](const FakeRequest& r, FakeConnection& c) { handle(r, c); }) {}
    Ran run(std::vector<std::string> arguments) {
        arguments.insert(arguments.end(), {"--socket", server.socket()});
        auto ran = run_gantry(arguments);
        UNSCOPED_INFO(ran.out << ran.err);
        return ran;
    }

  private:
    void handle(const FakeRequest& request, FakeConnection& connection) {
        const bool post = request.method == "POST";
        const auto service = request.target.starts_with("/v1/services/axis_server");
        if (post && request.target == "/v1/instances/axis_server.0/restart")
            return looks_ = 0, asked_ = true, connection.answer(200, R"({"instance":"axis_server.0","node":"SNode1"})");
        if (!service || request.target.find(".0") != std::string::npos)
            return connection.answer(404, R"({"error":{"code":"not_found","message":"there is no such service"}})");
        if (post) return looks_ = 0, asked_ = true, connection.answer(200, R"({"service":"axis_server","revision":2})");
        const bool done = asked_ && ++looks_ > 1;
        connection.answer(200, R"({"name":"axis_server","state":")" + (done ? state_ : std::string("ready")) +
                                   R"(","reason":"why","instances":[{"instance":"axis_server.0","epoch":1,"attempt":)" +
                                   (done ? "2" : "1") + R"(,"state":"ready"}]})");
    }

    std::string state_;
    std::atomic<int> looks_{0};
    std::atomic<bool> asked_{false};

  public:
    FakeServer server;
};

}  // namespace

TEST_CASE("stop, start and restart ask for it, and wait where they are told to") {
    Changing stops("stopped");
    CHECK(stops.run({"stop", "axis_server"}).out ==
          "service axis_server is being stopped; gantry start axis_server runs it again\n");
    CHECK(stops.server.requests().back().text() == "POST /v1/services/axis_server/stop");
    CHECK(has(stops.run({"stop", "axis_server", "--wait"}).out, "service axis_server is stopped\n"));
    CHECK(stops.server.count("GET /v1/services/axis_server") == 2);
    const auto late = stops.run({"start", "axis_server", "--wait", "--timeout", "1s"});
    CHECK(late.status == exit_status::kOk);  // it is so already

    Changing starts("pending");
    CHECK(starts.run({"start", "axis_server"}).out == "service axis_server is started\n");
    CHECK(starts.server.requests().back().text() == "POST /v1/services/axis_server/start");
    CHECK(has(starts.run({"restart", "axis_server"}).out, "each instance is replaced as its [update] says"));
    const auto never = starts.run({"stop", "axis_server", "--wait", "--timeout", "300ms"});
    CHECK(never.status == exit_status::kNotReady);
    CHECK(has(never.err, "after 300 ms not yet: service axis_server is stopped"));
}

TEST_CASE("an instance is restarted where it is, and not stopped alone") {
    Changing gantryd("ready");
    CHECK(gantryd.run({"restart", "axis_server.0"}).out == "axis_server.0 on SNode1 is being restarted\n");
    CHECK(gantryd.server.requests().back().text() == "POST /v1/instances/axis_server.0/restart");
    CHECK(has(gantryd.run({"restart", "axis_server.0", "--wait"}).out, "axis_server.0 is ready again\n"));
    const auto alone = gantryd.run({"stop", "axis_server.0"});
    CHECK(alone.status == exit_status::kNotFound);
    CHECK(has(alone.err, "one instance is not stopped alone: gantry pause axis_server.0 has it stand still"));
    CHECK(gantryd.run({"restart", "nobody.0"}).status == exit_status::kNotFound);
    CHECK(gantryd.run({"restart", "nobody"}).status == exit_status::kNotFound);
}

TEST_CASE("a secret comes from a pipe, a file or a terminal, and is not shown") {
    FakeGantryd gantryd;
    CHECK(gantryd.run({"secret", "ls"}).out == "NAME\naxis\n");
    CHECK(gantryd.run({"secret", "set", "axis"}, {.input = "s3cret\n"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"value":"s3cret"})");
    const TempFolder folder;
    write_file(folder.path / "value", "from a file");
    CHECK(gantryd.run({"secret", "set", "axis", "--file", folder.path / "value"}).status == exit_status::kOk);
    CHECK(gantryd.server.requests().back().body == R"({"value":"from a file"})");
    CHECK(gantryd.run({"secret", "set", "axis", "--file", "/nowhere"}).status == exit_status::kNotFound);
    CHECK(gantryd.run({"secret", "set", "axis"}).status == exit_status::kUsage);
    CHECK(gantryd.run({"secret", "set", "axis"}, {.input = std::string(5000, 'x')}).status == exit_status::kUsage);
    CHECK(gantryd.run({"secret", "set", "axis"}, {.input = "\xff\xfe"}).status == exit_status::kUsage);
}

TEST_CASE("exit statuses are as documented") {
    FakeGantryd gantryd;
    CHECK(gantryd.run({"explain", "nobody"}).status == exit_status::kNotFound);
    CHECK(gantryd.run({"logs", "nobody.0"}).status == exit_status::kNotFound);
    CHECK(run_gantry({"ps", "--socket", "/nowhere/api.sock"}).status == exit_status::kUnreachable);
    CHECK(run_gantry({"ps"}, {.environment = {"GANTRY_SOCKET=/nowhere/else.sock"}}).err.find("/nowhere/else.sock") !=
          std::string::npos);
    for (const auto code : {400, 403, 409, 500, 501, 503, 507}) {
        FakeServer refusing([&](const FakeRequest&, FakeConnection& connection) { connection.answer(code, ""); });
        CHECK(run_gantry({"ps", "--socket", refusing.socket()}).status == exit_status::kFailed);
    }
    FakeServer late([](const FakeRequest&, FakeConnection& connection) { connection.answer(504, ""); });
    CHECK(run_gantry({"ps", "--socket", late.socket()}).status == exit_status::kNotReady);
    CHECK(run_gantry({"--help"}).status == exit_status::kOk);
    CHECK(run_gantry({"deploy", "--help"}).status == exit_status::kOk);
    CHECK(run_gantry({"--version"}).out == "gantry 0.9.0\n");
    CHECK(run_gantry({"version", "--socket", "/nowhere/api.sock"}).status == exit_status::kOk);
}

TEST_CASE("a command line that is wrong says what was meant") {
    const auto err = [](std::vector<std::string> arguments) {
        const auto ran = run_gantry(std::move(arguments));
        CHECK(ran.status == exit_status::kUsage);
        CHECK(ran.out.empty());
        return ran.err;
    };
    CHECK(has(err({}), "Usage:"));
    CHECK(has(err({"deply", "x"}), "did you mean `deploy`?"));
    CHECK(has(err({"image", "imprt"}), "did you mean `import`?"));
    CHECK(has(err({"ps", "--jsn"}), "did you mean `--json`?"));
    CHECK(has(err({"deploy", "--dryrun", "x"}), "did you mean `--dry-run`?"));
    CHECK(has(err({"fly"}), "`fly` is no command"));
    CHECK(has(err({"explain"}), "SERVICE"));
    CHECK(has(err({"deploy", "--timeout", "soon", "x"}), "--timeout"));
    CHECK(has(err({"logs", "a.0", "--tail", "-1"}), "--tail"));
    for (const auto* since :
         {"soon", "2026-11-30", "2026-06-31T00:00:00Z", "2026-11-30T14:57:05 Zulu", "0001-01-01T00:00:00Z"})
        CHECK(has(err({"logs", "a.0", "--since", since}), "--since: expected a duration like 90s, 10m"));
    CHECK(has(err({"nodes", "extra"}), "extra"));
}

TEST_CASE("the status of a node without a controller tells what it has") {
    FakeServer agent([](const FakeRequest& request, FakeConnection& connection) {
        if (request.target == "/v1/cluster") return connection.answer(200, R"({"version":"0.9.0","role":"agent"})");
        if (request.target != "/v1/node") return connection.answer(503, "");
        connection.answer(200, R"({"node":"SNode2","connected":false,"copies":[{"copy":"1.0#2","state":"running"}]})");
    });
    const auto ran = run_gantry({"status", "--socket", agent.socket()});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "node        SNode2\n"));
    CHECK(has(ran.out, "not connected"));
    CHECK(has(ran.out, "1 running"));
}

TEST_CASE("what was stopped by hand is counted and no worry, and explain says so first") {
    FakeServer controller([](const FakeRequest& request, FakeConnection& connection) {
        if (request.target == "/v1/cluster")
            return connection.answer(200, R"({"version":"0.9.0","role":"controller"})");
        if (request.target == "/v1/services")
            return connection.answer(200, R"({"items":[{"name":"a","state":"stopped","reason":"by hand"},
                                              {"name":"b","state":"pending","reason":"no node fits"}]})");
        if (request.target == "/v1/services/a/explain")
            return connection.answer(200,
                                     R"({"service":"a","policy":"spread","stopped":true,"key_names":[],"nodes":[]})");
        connection.answer(200, R"({"items":[]})");
    });
    const auto status = run_gantry({"status", "--socket", controller.socket()});
    CHECK(has(status.out, "services    1 pending, 1 stopped\n  service b is pending: no node fits\n"));
    CHECK_FALSE(has(status.out, "by hand"));
    CHECK(has(run_gantry({"explain", "a", "--socket", controller.socket()}).out,
              "service a, policy spread\nit is stopped and runs nowhere: gantry start a;"));
}

TEST_CASE("empty lists say what to do") {
    FakeServer empty(
        [](const FakeRequest&, FakeConnection& connection) { connection.answer(200, R"({"items":[],"revision":0})"); });
    const auto ran = run_gantry({"services", "--socket", empty.socket()});
    CHECK(ran.status == exit_status::kOk);
    CHECK(ran.out.empty());
    CHECK(has(ran.err, "gantry deploy FILE"));
}

TEST_CASE("logs since a time ask for it in milliseconds, and for a duration as one") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) { connection.answer(200, "one\n"); });
    const auto asked = [&](const std::string& since, const std::string& zone) {
        CHECK(run_gantry({"logs", "a.0", "--tail", "3", "--since", since, "--socket", server.socket()},
                         {.environment = {"TZ=" + zone}})
                  .out == "one\n");
        return server.requests().back().target;
    };
    const std::string front = "/v1/instances/a.0/logs?tail=3&since_ms=";
    CHECK(asked("10m", "UTC") == front + "-600000");
    CHECK(asked("1.5s", "UTC") == front + "-1500");
    CHECK(asked("0s", "UTC") == front + "-1");
    CHECK(asked("2026-11-30T14:57:05Z", "CET-1") == front + "1796050625000");
    CHECK(asked("2026-11-30T14:57:05.25+08:00", "CET-1") == front + "1796021825250");
    CHECK(asked("2026-11-30 14:57:05", "CET-1") == front + "1796047025000");
}

TEST_CASE("followed logs and events end with the stream or with Ctrl-C") {
    FakeServer server([&](const FakeRequest& request, FakeConnection& connection) {
        if (request.target == "/v1/events?after=0&limit=20") {
            return connection.answer(200, R"({"items":[{"number":5,"time":"x","kind":"k","text":"before"}]})");
        }
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        if (request.target.starts_with("/v1/instances")) {
            connection.send("6\r\nline1\n\r\n6\r\nline2\n\r\n0\r\n\r\n");
        } else {
            connection.send("2c\r\ndata: {\"number\":6,\"kind\":\"k\",\"text\":\"now\"}\n\n\r\n");
            connection.receive();
        }
    });
    CHECK(run_gantry({"logs", "a.0", "-f", "--socket", server.socket()}).out == "line1\nline2\n");
    const auto ran = run_gantry({"events", "-f", "--socket", server.socket()},
                                {.interrupt_when = [](const std::string& out) { return has(out, "now"); }});
    CHECK(ran.status == 128 + 2);
    CHECK(has(ran.out, "before\n"));
    CHECK(server.count("GET /v1/events?follow=1&after=5") == 1);
}
TEST_CASE("a log that is followed goes on behind what was shown when gantryd comes back") {
    constexpr auto kHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    int asked = 0;
    FakeServer server([&](const FakeRequest&, FakeConnection& connection) {
        switch (++asked) {
            case 1:  // cut in the middle of a line
                connection.send(kHead);
                connection.send("b\r\nline1\nline2\r\n");
                return;
            case 2:
                return connection.answer(503,
                                         R"({"error":{"code":"unavailable","message":"SNode1 is not connected"}})");
            case 3:  // the log has begun before what was asked for
                connection.send(kHead);
                connection.send("18\r\nline0\nline1\nline2\nline3\n\r\n");
                return;
            default:  // and holds none of it any more
                connection.send(kHead);
                connection.send("6\r\nline9\n\r\n0\r\n\r\n");
        }
    });
    const auto ran = run_gantry({"logs", "a.0", "-f", "--tail", "2", "--socket", server.socket()});
    CHECK(ran.out == "line1\nline2\nline3\nline9\n");
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.err, "some of it is missing"));
    CHECK(server.count("GET /v1/instances/a.0/logs?follow=1&tail=2") == 1);
    CHECK(server.count("GET /v1/instances/a.0/logs?follow=1&tail=20000") == 3);
}

TEST_CASE("a command in a container is shown as it speaks, and its status is this program's") {
    const auto frame = [](char kind, const std::string& body) {
        return std::string{kind, '\0', '\0', '\0', static_cast<char>(body.size())} + body;
    };
    std::string frames;
    FakeServer server([&](const FakeRequest& request, FakeConnection& connection) {
        if (request.text() == "GET /v1/instances") {
            return connection.answer(200, R"({"items":[{"instance":"a.0","service":"a","state":"running"},
                {"instance":"a.1","service":"a","state":"ready"},{"instance":"b.0","service":"b","state":"ready"}]})");
        }
        if (request.target == "/v1/instances/gone.0/exec") {
            return connection.answer(404, R"({"error":{"code":"not_found","message":"there is no service gone"}})");
        }
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + frames);
    });
    const auto ran = [&](std::vector<std::string> arguments, const std::string& said) {
        frames = frame('s', R"({"exec":7,"node":"SNode1"})") + said;
        arguments.insert(arguments.begin(), {"--socket", server.socket(), "exec"});
        return run_gantry(arguments);
    };
    const auto good =
        ran({"a", "--", "/bin/x", "-v"}, frame('o', "one\n") + frame('o', "two\n") + frame('e', R"({"exit_code":42})"));
    CHECK(good.out == "one\ntwo\n");
    CHECK(good.err.empty());
    CHECK(good.status == 42);
    CHECK(server.count("POST /v1/instances/a.1/exec") == 1);  // the ready one
    CHECK(ran({"gantry-c1-2.0-1-1", "--", "x"}, frame('e', R"({"exit_code":0})")).status == 0);
    CHECK(server.count("POST /v1/instances/gantry-c1-2.0-1-1/exec") == 1);
    const auto lost =
        ran({"b.0", "--", "x"}, frame('e', R"({"error":{"code":"unavailable","message":"the node was lost"}})"));
    CHECK(has(lost.err, "the node was lost"));
    CHECK(lost.status == exit_status::kFailed);
    const auto cut = ran({"b.0", "--", "x"}, frame('o', "half"));
    CHECK(cut.out == "half");
    CHECK(has(cut.err, "before the command had ended"));
    CHECK(cut.status == exit_status::kFailed);
    CHECK(has(ran({"b.0", "--", "x"}, "o\x7f\xff\xff\xff").err, "cannot be read"));
    CHECK(ran({"gone.0", "--", "x"}, "").status == exit_status::kNotFound);
    CHECK(ran({"nobody", "--", "x"}, "").status == exit_status::kNotFound);
    CHECK(ran({"b.0"}, "").status == exit_status::kUsage);
    CHECK(has(ran({"-t", "b.0", "--", "x"}, "").err, "-t needs a terminal"));
}

TEST_CASE("a log that is read once is not asked for again") {
    FakeServer server([&](const FakeRequest&, FakeConnection& connection) {
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nline1\n\r\n");
    });
    const auto ran = run_gantry({"logs", "a.0", "--socket", server.socket()});
    CHECK(ran.out == "line1\n");
    CHECK(ran.status == exit_status::kFailed);
    CHECK(server.requests().size() == 1);
}
