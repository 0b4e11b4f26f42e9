// SPDX-License-Identifier: Apache-2.0
//
// An isolated plugin is exchanged by a new process beside the old one.
#include <sys/stat.h>

#include "tests/unit/kernel/isolation/isolated_bench.hpp"

namespace gantry::host {
namespace {

Status reload(IsolatedBench& bench, const std::string& title, const std::string& file = {}) {
    std::optional<Result<void>> done;
    bench.host->reload(title, file, [&](Result<void> result) { done = std::move(result); });
    if (!bench.run_until([&] { return done.has_value(); })) return fail(Code::kDeadline, "the test waited in vain");
    return *done;
}

std::string copy_of(IsolatedBench& bench, const std::string& name) {
    const auto to = bench.folder / "plugins" / "probe" / "new.so";
    std::filesystem::copy_file(std::filesystem::path(GANTRY_TEST_PLUGINS) / "probe" / (name + ".so"), to,
                               std::filesystem::copy_options::overwrite_existing);
    REQUIRE(::chmod(to.c_str(), 0644) == 0);
    return to.string();
}

}  // namespace

TEST_CASE("a plugin is exchanged for another file without a restart, and answers with the new one") {
    IsolatedBench bench;
    bench.start("breaker");
    const auto before = bench.info().pid;
    const std::string file = copy_of(bench, "free");
    const Status done = reload(bench, "probe.breaker", file);
    if (!done) FAIL(done.error().text());
    CHECK(bench.info().pid != before);
    CHECK(bench.run_until([&] { return gone(before); }));
    CHECK(bench.info().restarts == 0);
    CHECK(bench.info().id == "org.gantry.test.free");
    CHECK(bench.info().file == file);
    CHECK(bench.told("pid") == std::to_string(bench.info().pid));
}

TEST_CASE("calls go on while a plugin is exchanged again and again, and nothing is left behind") {
    IsolatedBench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("placement", "tie"));
    static_cast<Bench&>(bench).start(std::move(tables));
    Placement& policy = *bench.host->placement("tie");
    const std::vector<CandidateView> candidates(3);
    RankQuestion asked;
    asked.candidates = candidates;
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator());
    };
    std::ptrdiff_t before = 0;
    for (int round = 0; round < 12; ++round) {
        std::optional<Result<void>> done;
        bench.host->reload("placement.tie", "", [&](Result<void> result) { done = std::move(result); });
        int good = 0;
        while (!done) {
            const auto keys = bench.wait<std::vector<Keys>>([&](auto end) { policy.score(asked, end); });
            if (!keys) FAIL(keys.error().text());
            CHECK(keys->size() == 3);
            ++good;
        }
        if (!*done) FAIL(done->error().text());
        CHECK(good > 0);
        if (round == 1) before = descriptors();
    }
    CHECK(bench.run_until([&] { return descriptors() == before; }));
}

TEST_CASE("an exchange that fails leaves the old one at work") {
    IsolatedBench bench;
    bench.start("breaker");
    const auto before = bench.info().pid;
    const auto refused = [&](const std::string& title, const std::string& file) {
        const Status done = reload(bench, title, file);
        REQUIRE_FALSE(done);
        CHECK(bench.told("pid") == std::to_string(before));
        return done.error().text();
    };
    CHECK(refused("probe.breker", "").find("there is no plugin probe.breker") != std::string::npos);
    CHECK(refused("probe.breaker", "/nowhere/x.so").find("/nowhere") != std::string::npos);
    CHECK(refused("probe.breaker", std::string(GANTRY_TEST_PLUGINS) + "/placement/tie.so")
              .find("offers the role placement/1") != std::string::npos);
}

TEST_CASE("a policy that wants timers of its process gets them, and goes on to answer") {
    IsolatedBench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("placement", "tie"));
    static_cast<Bench&>(bench).start(std::move(tables));
    Placement& policy = *bench.host->placement("tie");
    const std::vector<CandidateView> candidates(1);
    RankQuestion asked;
    asked.candidates = candidates;
    const auto second_key = [&] {
        const auto keys = bench.wait<std::vector<Keys>>([&](auto end) { policy.score(asked, end); });
        if (!keys) FAIL(keys.error().text());
        return keys->at(0)[1];
    };
    CHECK(second_key() == bench.info().pid);
    CHECK(second_key() == bench.info().pid);
    asked.service = "tick";
    CHECK(second_key() == 0);
    std::int64_t ticks = 0;
    CHECK(bench.run_until([&] { return (ticks = second_key()) > 3; }));
    CHECK(second_key() >= ticks);
    CHECK(bench.info().restarts == 0);
}

}  // namespace gantry::host
