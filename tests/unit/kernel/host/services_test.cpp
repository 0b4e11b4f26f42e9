// SPDX-License-Identifier: Apache-2.0
#include <gantry/abi/host.h>
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
        tell = std::move(fn);
        return 5;
    }
    void unwatch(std::uint64_t id) override { ended.push_back(id); }

    std::function<void(std::uint64_t, const std::string&)> tell;
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
    CHECK(bench.logged("event 12 {}"));
    CHECK_FALSE(bench.logged("event 13 {}"));
    CHECK(bench.run_until([&] { return tree.ended == std::vector<std::uint64_t>{5}; }));
}

TEST_CASE("without a tree a frontend hears that it is not ready") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("frontend", "door"));
    bench.start(std::move(tables));
    CHECK(bench.run_until([&] { return bench.logged("response 503"); }));
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
    CHECK(lines.at(0).size() == 4'096);
    context->end("the test ends");
}

}  // namespace gantry::host
