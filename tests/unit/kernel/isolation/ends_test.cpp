// SPDX-License-Identifier: Apache-2.0
//
// Plugins that fall cost themselves alone: what was under way ends, and they are started again.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/kernel/isolation/isolated_bench.hpp"

namespace gantry::host {

// A sanitizer ends a process that reads at 0 itself, in its own way.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr const char* kNullEndsBy = "";
#else
constexpr const char* kNullEndsBy = "signal 11 (Segmentation fault)";
#endif

TEST_CASE("a plugin that falls ends what was under way as unknown, and is started again") {
    const auto [what, why] = GENERATE(Catch::Generators::table<const char*, const char*>(
        {{"null", kNullEndsBy}, {"abort", "signal 6 (Aborted)"}, {"exit", "status 5"}}));
    IsolatedBench bench;
    bench.start("breaker");
    CHECK(bench.info().pid > 0);
    CHECK(bench.told("well") == "well");
    std::optional<Result<ProbeAnswer>> kept;
    bench.host->probe("breaker")->check(question("keep"), seconds(60), [&](Result<ProbeAnswer> r) { kept = r; });
    const auto answer = bench.ask(what);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kUnknown);
    CHECK(answer.error().text().find(std::string("check: its process ended: it ")) != std::string::npos);
    CHECK(answer.error().text().find(why) != std::string::npos);
    REQUIRE(bench.run_until([&] { return kept.has_value(); }));
    CHECK(kept->error().code == Code::kUnknown);
    CHECK(plugin_state_name(bench.info().state) == "degraded");
    CHECK(bench.info().reason.find(why) != std::string::npos);
    const auto meanwhile = bench.ask("well");
    if (!meanwhile) CHECK(meanwhile.error().code == Code::kUnavailable);
    REQUIRE(bench.back(1));
    CHECK(bench.told("well") == "well");
    CHECK(bench.info().reason.empty());
    CHECK(bench.events.size() == 1);
    CHECK(bench.events.at(0).starts_with("plugin-ended: probe.breaker: its process ended: it "));
}

TEST_CASE("the pauses between restarts grow") {
    IsolatedBench bench;
    bench.start("breaker");
    Duration before{};
    for (std::uint64_t round = 1; round <= 4; ++round) {
        const Instant begin = boottime_now();
        bench.send(SIGKILL);
        REQUIRE(bench.back(round));
        const Duration took = boottime_now() - begin;
        CHECK(took >= milliseconds(50) * (1 << (round - 1)) * 3 / 4);
        before = took;
    }
    CHECK(before >= milliseconds(300));
}

TEST_CASE("a plugin that falls in init or start has failed, with what became of it") {
    for (const char* where : {"init", "start"}) {
        IsolatedBench bench;
        bench.start("breaker", {{"fall_in", where}});
        CHECK(plugin_state_name(bench.info().state) == "failed");
        CHECK(bench.info().reason.find("its process ended: it was killed by signal 6 (Aborted)") != std::string::npos);
        CHECK(bench.info().pid == 0);
    }
}

TEST_CASE("a plugin that falls in stop is stopped, and its process is gone") {
    IsolatedBench bench;
    bench.start("breaker", {{"fall_in", "stop"}});
    const auto pid = bench.info().pid;
    bench.host->stop();
    CHECK(plugin_state_name(bench.info().state) == "stopped");
    CHECK(bench.logged("did not stop in order: its process ended: it was killed by signal 6"));
    CHECK(gone(pid));
}

TEST_CASE("a plugin that loops for ever misses its deadline, and is ended when it has said nothing for long") {
    IsolatedBench bench;
    bench.start("breaker");
    const auto pid = bench.info().pid;
    const auto slow = bench.info().slow_calls;  // init and start wait for the process
    const auto answer = bench.ask("spin", milliseconds(100));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().text() == "probe.breaker: check: no answer before the deadline");
    REQUIRE(bench.run_until([&] { return bench.info().restarts == 1; }, seconds(30)));
    CHECK(bench.logged("its loop did not answer for 5 s"));
    REQUIRE(bench.back(1));
    CHECK(gone(pid));
    CHECK(bench.told("well") == "well");
    CHECK(bench.info().slow_calls - slow <= 1);  // it never held ours; making another may on a busy machine
}

#ifndef __SANITIZE_ADDRESS__
TEST_CASE("a plugin that eats memory has what its table allows and no more") {
    IsolatedBench bench;
    bench.start("breaker", {}, 64 << 20);
    const auto answer = bench.ask("eat");
    REQUIRE_FALSE(answer);
    INFO(answer.error().text());
    CHECK((answer.error().code == Code::kFull || answer.error().code == Code::kFailed ||
           answer.error().code == Code::kUnknown));
    REQUIRE(bench.run_until([&] { return bench.info().state == PluginState::kRunning; }));
    CHECK(bench.told("well") == "well");
    CHECK(bench.info().memory_max_bytes == 64 << 20);
}
#endif

TEST_CASE("the least memory that a table may allow is enough to begin") {
    IsolatedBench bench;
    bench.start("breaker", {}, 16 << 20);
    CHECK(bench.told("well") == "well");
}

TEST_CASE("a process that is stopped by a signal is noticed, and another takes its place") {
    IsolatedBench bench;
    bench.start("breaker");
    const auto pid = bench.info().pid;
    bench.send(SIGSTOP);
    REQUIRE(bench.run_until([&] { return bench.info().restarts == 1; }, seconds(30)));
    REQUIRE(bench.back(1));
    CHECK(gone(pid));
}

TEST_CASE("many lines, large answers and answers of other threads cross") {
    IsolatedBench bench;
    bench.start("breaker");
    CHECK(bench.told("flood") == "told");
    CHECK(bench.logged("line 4999"));
    CHECK(bench.told("large").starts_with(std::string(4'096, 'x')));  // a detail is cut, not refused
    CHECK(bench.told("thread") == "of a thread");
}

TEST_CASE("a plugin's process dies with the one that started it") {
    int pipes[2];
    REQUIRE(::pipe(pipes) == 0);
    struct {
        std::int64_t pid = 0;
        char folder[256] = "";
    } said;
    const pid_t parent = ::fork();
    REQUIRE(parent >= 0);
    if (parent == 0) {
        auto* const bench = new IsolatedBench;
        bench->start("breaker");
        said.pid = bench->info().pid;
        bench->folder.string().copy(said.folder, sizeof(said.folder) - 1);
        (void)!::write(pipes[1], &said, sizeof(said));
        for (;;) ::pause();
    }
    REQUIRE(::read(pipes[0], &said, sizeof(said)) == sizeof(said));
    REQUIRE(said.pid > 0);
    CHECK_FALSE(gone(said.pid));
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    const Instant end = boottime_now() + seconds(10);
    while (!gone(said.pid) && boottime_now() < end) ::poll(nullptr, 0, 1);
    CHECK(gone(said.pid));
    std::filesystem::remove_all(said.folder);
    ::close(pipes[0]);
    ::close(pipes[1]);
}

TEST_CASE("nothing is left behind: no process, no descriptor") {
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator());
    };
    const auto round = [] {
        IsolatedBench bench;
        bench.start("breaker");
        for (std::uint64_t i = 1; i <= 2; ++i) {
            bench.send(SIGKILL);
            REQUIRE(bench.back(i));
        }
        const auto pid = bench.info().pid;
        bench.host.reset();
        CHECK(gone(pid));
    };
    round();
    const auto before = descriptors();
    round();
    round();
    CHECK(descriptors() == before);
}

}  // namespace gantry::host
