// SPDX-License-Identifier: Apache-2.0
#include <gantry/abi/host.h>
#include <gantry/abi/probe.h>
#include <unistd.h>

#include "kernel/base/limits.hpp"
#include "kernel/host/border.hpp"
#include "kernel/host/context.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

template <class T>
const T& service(const char* id) {
    const auto* table = static_cast<const T*>(service_table(id));
    REQUIRE(table != nullptr);
    return *table;
}

// A tree that answers at once and keeps its watchers.
class Tree final : public ResourceTree {
  public:
    void request(ControlRequest request, std::function<void(ControlResponse)> done) override {
        done({200, 7, request.method + " " + request.path + " by " + request.principal.text()});
    }
    void open(ControlRequest, int fd, std::function<void(ControlResponse)> done) override {
        CHECK(::write(fd, "bytes", 5) == 5);
        ::close(fd);
        done({200, 0, ""});
    }
    std::uint64_t watch(Principal, std::string, std::uint64_t after,
                        std::function<void(std::uint64_t, const std::string&)> fn) override {
        CHECK(after == 10);
        REQUIRE(followers.size() < limits::kWatchers);
        tell = fn;
        followers[++last] = std::move(fn);
        return last;
    }
    void unwatch(std::uint64_t id) override {
        ended.push_back(id);
        followers.erase(id);
        tell = {};
    }

    using Tell = std::function<void(std::uint64_t, const std::string&)>;
    Tell tell;
    std::map<std::uint64_t, Tell> followers;
    std::uint64_t last = 4;
    std::vector<std::uint64_t> ended;
};

}  // namespace

TEST_CASE("timers, watches, jobs and posted calls of a plugin meet on the loop") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "actor"));
    Host& host = bench.start(std::move(tables));
    const auto answer = bench.wait<ProbeAnswer>(
        [&](auto done) { host.probe("actor")->check(question("services"), seconds(10), done); });
    REQUIRE(answer);
    CHECK(answer->detail == "abcttp");
}

TEST_CASE("after an instance was stopped every service answers stale and touches nothing") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "actor"));
    bench.start(std::move(tables)).stop();
    std::uint64_t handle = 0;
    for (const Line& line : bench.lines) {
        const std::size_t at = line.text.find("handle=");
        if (at != std::string::npos) handle = std::stoull(line.text.substr(at + 7));
    }
    REQUIRE(handle != 0);
    const auto& log = service<gantry_host_log>(GANTRY_HOST_LOG);
    const auto& clock = service<gantry_host_clock>(GANTRY_HOST_CLOCK);
    const auto& io = service<gantry_host_io>(GANTRY_HOST_IO);
    const auto& ops = service<gantry_host_ops>(GANTRY_HOST_OPS);
    const auto& control = service<gantry_host_control>(GANTRY_HOST_CONTROL);
    std::uint64_t number = 0;
    char byte = 0;
    CHECK(log.log(handle, GANTRY_LOG_INFO, str("late"), nullptr, 0) == GANTRY_STALE);
    CHECK(log.event(handle, str("late"), str("late"), nullptr, 0) == GANTRY_STALE);
    CHECK(log.metric(handle, str("late"), GANTRY_METRIC_GAUGE, 1) == GANTRY_STALE);
    CHECK(clock.timer(handle, 0, 0, nullptr, nullptr, &number) == GANTRY_STALE);
    CHECK(clock.cancel(handle, 1) == GANTRY_STALE);
    CHECK(clock.random(handle, &byte, 1) == GANTRY_STALE);
    CHECK(io.watch(handle, 0, GANTRY_IO_READ, nullptr, nullptr, &number) == GANTRY_STALE);
    CHECK(io.change(handle, 1, 0) == GANTRY_STALE);
    CHECK(io.unwatch(handle, 1) == GANTRY_STALE);
    CHECK(io.work(handle, nullptr, nullptr) == GANTRY_STALE);
    CHECK(io.post(handle, nullptr, nullptr) == GANTRY_STALE);
    CHECK(ops.complete(handle, 1, GANTRY_OK, str(""), nullptr) == GANTRY_STALE);
    CHECK(ops.cancelled(handle, 1) == 1);
    CHECK(control.request(handle, nullptr, nullptr, nullptr) == GANTRY_STALE);
    CHECK(control.unwatch(handle, 1) == GANTRY_STALE);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    CHECK(control.open(handle, nullptr, ends[1], nullptr, nullptr) == GANTRY_STALE);
    CHECK(::read(ends[0], &byte, 1) == 0);  // taken and closed, also when it fails
    ::close(ends[0]);
    CHECK_FALSE(bench.logged("late"));
}

TEST_CASE("a frontend reaches the resource tree") {
    Bench bench;
    Tree tree;
    bench.make().set_tree(&tree);
    std::vector<PluginTable> tables;
    tables.push_back(table("frontend", "door"));
    REQUIRE(bench.host->configure(std::move(tables)));
    REQUIRE(bench.host->start());
    CHECK(bench.host->plugins().at(0).address == "unix:/run/door");
    CHECK(bench.run_until([&] { return bench.logged("response 200 7 GET /v1/nodes by unix:root"); }));
    CHECK(bench.run_until([&] { return bench.logged("stream 200 bytes"); }));
    REQUIRE(bench.run_until([&] { return tree.tell != nullptr; }));
    for (std::uint64_t number = 11; number <= 13; ++number) tree.tell(number, "{}");
    CHECK(bench.run_until([&] { return bench.logged("event 12 {}"); }));
    CHECK_FALSE(bench.logged("event 13 {}"));
    CHECK(bench.run_until([&] { return tree.ended == std::vector<std::uint64_t>{5}; }));
}

TEST_CASE("without a tree a frontend hears that it is not ready") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("frontend", "door"));
    bench.start(std::move(tables));
    CHECK(bench.run_until([&] { return bench.logged("response 503"); }));
    CHECK(bench.logged("cannot follow: 7"));
}

TEST_CASE("the pool takes a bounded number of jobs") {
    Bench bench;
    bench.make();
    std::mutex gate;
    std::unique_lock closed(gate);
    HostOptions options;
    options.workers = 1;
    auto core = std::make_shared<Core>(bench.io, std::move(options));
    auto context = Context::make(core, "test.pool");
    const auto job = +[](void* arg) noexcept { std::lock_guard lock(*static_cast<std::mutex*>(arg)); };
    std::size_t taken = 0;
    while (taken < 2 * limits::kWorkQueue && context->work(job, &gate) == GANTRY_OK) ++taken;
    CHECK(taken >= limits::kWorkQueue);
    CHECK(taken <= limits::kWorkQueue + 1);
    closed.unlock();
    CHECK(core->pool.drain(context->handle, seconds(10)));
    context->end("the test ends");
}

TEST_CASE("events reach the log of events on the loop, and long lines are cut") {
    Bench bench;
    HostOptions options;
    std::vector<std::string> events, lines;
    options.event = [&](std::string kind, std::string text, json::object fields) {
        events.push_back(kind + "|" + text + "|" + to_text(fields));
    };
    options.log = [&](LogLevel, std::string_view, std::string_view text) { lines.emplace_back(text); };
    auto core = std::make_shared<Core>(bench.io, std::move(options));
    auto context = Context::make(core, "test.log");
    const auto& log = service<gantry_host_log>(GANTRY_HOST_LOG);
    const gantry_kv field{str("node"), str("SNode1")};
    CHECK(log.event(context->handle, str("image-refused"), str("why"), &field, 1) == GANTRY_OK);
    CHECK(events.empty());
    bench.io.poll();
    CHECK(events == std::vector<std::string>{R"(image-refused|why|{"node":"SNode1","plugin":"test.log"})"});
    CHECK(log.log(context->handle, 99, str(std::string(10'000, 'x')), &field, 1) == GANTRY_OK);
    CHECK(lines.at(0).size() == 4'096 + 3);
    context->end("the test ends");
}

TEST_CASE("what a plugin writes cannot break a log, an event or a document") {
    Bench bench;
    HostOptions options;
    std::vector<std::string> events, lines;
    options.event = [&](std::string kind, std::string text, json::object fields) {
        fields["kind"] = kind;
        fields["text"] = text;
        events.push_back(to_text(fields));
    };
    options.log = [&](LogLevel, std::string_view, std::string_view text) { lines.emplace_back(text); };
    auto core = std::make_shared<Core>(bench.io, std::move(options));
    auto context = Context::make(core, "test.log");
    const auto& log = service<gantry_host_log>(GANTRY_HOST_LOG);
    const gantry_kv field{str("k\xff\n"), str("v\xc3")};
    CHECK(log.log(context->handle, GANTRY_LOG_INFO, str("a\n2026 forged\x1b[2J\xc2\x9b\xff"), &field, 1) == GANTRY_OK);
    CHECK(lines.at(0) == "a 2026 forged [2J \xef\xbf\xbd k\xef\xbf\xbd =v\xef\xbf\xbd");
    CHECK(log.event(context->handle, str("k\xff"), str("\xed\xa0\x80" + std::string(9'000'000, 'x')), &field, 1) ==
          GANTRY_OK);
    bench.io.poll();
    REQUIRE(events.size() == 1);
    CHECK(events[0].size() < 5'000);
    CHECK_NOTHROW(json::parse(events[0]));
    const std::vector<gantry_kv> many(limits::kEventFields + 1, field);
    CHECK(log.event(context->handle, str("k"), str("t"), many.data(), many.size()) == GANTRY_INVALID);
    CHECK(log.event(context->handle, str("k"), str("t"), nullptr, 1) == GANTRY_INVALID);
    CHECK(log.log(context->handle, GANTRY_LOG_INFO, str("t"), nullptr, 1) == GANTRY_INVALID);
    const auto& ops = service<gantry_host_ops>(GANTRY_HOST_OPS);
    std::string heard;
    Operations::Call call;
    call.handle = context->handle;
    call.ended = [&](gantry_status, std::string text) { heard = std::move(text); };
    const std::uint64_t id = core->operations.begin(std::move(call));
    CHECK(ops.complete(context->handle, id, GANTRY_FAILED, str("no\nroom\xff"), nullptr) == GANTRY_OK);
    bench.io.restart();
    bench.io.poll();
    CHECK(heard == "no room\xef\xbf\xbd");
    context->end("the test ends");
}

TEST_CASE("a plugin has a bounded number of events on their way") {
    Bench bench;
    HostOptions options;
    std::size_t told = 0;
    options.event = [&](std::string, std::string, json::object) { ++told; };
    auto core = std::make_shared<Core>(bench.io, std::move(options));
    auto context = Context::make(core, "test.log"), other = Context::make(core, "test.other");
    const auto& log = service<gantry_host_log>(GANTRY_HOST_LOG);
    const auto tell = [&](const Context& who) { return log.event(who.handle, str("k"), str("t"), nullptr, 0); };
    std::size_t taken = 0;
    while (taken < 10'000 && tell(*context) == GANTRY_OK) ++taken;
    CHECK(taken == limits::kPluginEvents);
    CHECK(tell(*context) == GANTRY_FULL);
    CHECK(tell(*other) == GANTRY_OK);
    bench.io.poll();
    CHECK(told == taken + 1);
    CHECK(tell(*context) == GANTRY_OK);
    context->end("the test ends");
    other->end("the test ends");
}

TEST_CASE("following events is refused at once where it cannot be had") {
    Bench bench;
    auto core = std::make_shared<Core>(bench.io, HostOptions());
    auto context = Context::make(core, "test.door"), other = Context::make(core, "test.other");
    const auto& control = service<gantry_host_control>(GANTRY_HOST_CONTROL);
    const auto fn = +[](void*, std::uint64_t, gantry_str) noexcept {};
    std::uint64_t number = 0;
    const auto follow = [&](const Context& who) {
        return control.watch(who.handle, nullptr, str("/v1/events"), 10, fn, nullptr, &number);
    };
    CHECK(follow(*context) == GANTRY_UNAVAILABLE);
    Tree tree;
    core->tree = &tree;
    CHECK(control.watch(context->handle, nullptr, str(""), 10, fn, nullptr, nullptr) == GANTRY_INVALID);
    for (std::size_t i = 0; i < limits::kWatchers; ++i) REQUIRE(follow(i % 2 == 0 ? *context : *other) == GANTRY_OK);
    CHECK(follow(*context) == GANTRY_FULL);
    bench.io.poll();
    CHECK(tree.followers.size() == limits::kWatchers);
    // Until the tree has let one go nobody gets its place: the tree would refuse him, and he would hear nothing.
    CHECK(control.unwatch(other->handle, number) == GANTRY_OK);
    CHECK(follow(*context) == GANTRY_FULL);
    bench.io.restart();
    bench.io.poll();
    CHECK(follow(*context) == GANTRY_OK);
    CHECK(follow(*context) == GANTRY_FULL);
    bench.io.restart();
    bench.io.poll();
    CHECK(tree.followers.size() == limits::kWatchers);
    other->end("the test ends");
    CHECK(core->followers == limits::kWatchers / 2 + 1);
    context->end("the test ends");
    CHECK(core->followers == 0);
}

TEST_CASE("one that leaves before the tree has heard of it gives its place back") {
    Bench bench;
    auto core = std::make_shared<Core>(bench.io, HostOptions());
    Tree tree;
    core->tree = &tree;
    auto context = Context::make(core, "test.door");
    const auto& control = service<gantry_host_control>(GANTRY_HOST_CONTROL);
    const auto fn = +[](void*, std::uint64_t, gantry_str) noexcept {};
    std::uint64_t number = 0;
    CHECK(control.watch(context->handle, nullptr, str(""), 10, fn, nullptr, &number) == GANTRY_OK);
    CHECK(control.unwatch(context->handle, number) == GANTRY_OK);
    CHECK(core->followers == 1);
    bench.io.poll();
    CHECK(tree.followers.empty());
    CHECK(core->followers == 0);
    context->end("the test ends");
}

TEST_CASE("the kernel's time in the resource tree is not booked on the frontend") {
    class Quick final : public ResourceTree {
      public:
        void request(ControlRequest, std::function<void(ControlResponse)> done) override { done({200, 0, ""}); }
        void open(ControlRequest, int, std::function<void(ControlResponse)>) override {}
        std::uint64_t watch(Principal, std::string, std::uint64_t,
                            std::function<void(std::uint64_t, const std::string&)>) override {
            return 0;
        }
        void unwatch(std::uint64_t) override {}
    } tree;
    Bench bench;
    auto core = std::make_shared<Core>(bench.io, HostOptions());
    core->tree = &tree;
    auto context = Context::make(core, "test.door");
    const auto& control = service<gantry_host_control>(GANTRY_HOST_CONTROL);
    const gantry_control_request request{sizeof(request), 0, nullptr, str("GET"), str("/v1/nodes"), str("")};
    bool answered = false;
    const auto fn = +[](void* arg, const gantry_control_response*) noexcept { *static_cast<bool*>(arg) = true; };
    CHECK(control.request(context->handle, &request, fn, &answered) == GANTRY_OK);
    bench.io.poll();
    CHECK(answered);
    CHECK(context->calls == 1);  // the answer alone
    context->end("the test ends");
}

TEST_CASE("a pointer for a result that is missing is an invalid argument") {
    Bench bench;
    auto core = std::make_shared<Core>(bench.io, HostOptions());
    auto context = Context::make(core, "test.null");
    const auto& clock = service<gantry_host_clock>(GANTRY_HOST_CLOCK);
    const auto& io = service<gantry_host_io>(GANTRY_HOST_IO);
    const auto timer = +[](void*, std::uint64_t) noexcept {};
    const auto ready = +[](void*, std::int32_t, std::uint32_t) noexcept {};
    CHECK(clock.timer(context->handle, 0, 0, timer, nullptr, nullptr) == GANTRY_INVALID);
    CHECK(clock.random(context->handle, nullptr, 1) == GANTRY_INVALID);
    CHECK(io.watch(context->handle, 0, GANTRY_IO_READ, ready, nullptr, nullptr) == GANTRY_INVALID);
    context->end("the test ends");
}

TEST_CASE("a result that is shorter than its first border says is not read") {
    gantry_probe_result raw{};
    raw.struct_size = sizeof(raw) - 8;
    CHECK_THROWS_WITH(result<gantry_probe_result>(&raw), "it has 24 bytes, expected at least 32");
    raw.struct_size = sizeof(raw) + 8;
    raw.latency_ns = 7;
    CHECK(result<gantry_probe_result>(&raw).latency_ns == 7);
}

}  // namespace gantry::host
