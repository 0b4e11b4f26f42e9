// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/host.hpp"

#include <unistd.h>

#include <future>
#include <thread>

#include "kernel/host/instance.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"
#include "tests/unit/kernel/host/contract.hpp"

namespace gantry::host {
namespace {

Result<ProbeAnswer> check(Bench& bench, const std::string& what, Duration limit = seconds(10)) {
    Probe* const probe = bench.host->probe("actor");
    REQUIRE(probe != nullptr);
    return bench.wait<ProbeAnswer>([&](auto done) { probe->check(question(what), limit, done); });
}

std::vector<PluginTable> one(PluginTable only) {
    std::vector<PluginTable> out;
    out.push_back(std::move(only));
    return out;
}

}  // namespace

TEST_CASE("a plugin runs, answers, is listed and stops") {
    Bench bench;
    Host& host = bench.start(one(table("probe", "actor", {{"count", 3}, {"wait", "2s"}})));
    CHECK(bench.logged("configured wait=2000000000 room=65536 count=3 loud=no names=1 token=4"));
    CHECK(std::filesystem::is_directory(bench.folder / "state" / "plugins" / "probe.actor"));

    const Result<ProbeAnswer> answer = check(bench, "answer");
    REQUIRE(answer);
    CHECK(answer->verdict == Verdict::kHealthy);
    CHECK(answer->latency == milliseconds(3));
    CHECK(answer->detail == "port 4000");

    PluginInfo info = host.plugins().at(0);
    CHECK(plugin_state_name(info.state) == "running");
    CHECK(info.id == "org.gantry.test.actor");
    CHECK(info.version == "1.0.0");
    CHECK(info.file == GANTRY_TEST_PLUGINS "/probe/actor.so");
    CHECK(info.operations_pending == 0);
    CHECK(info.metrics == std::vector<std::pair<std::string, double>>{{"starts_total", 1}});

    host.stop();
    CHECK(plugin_state_name(host.plugins().at(0).state) == "stopped");
    CHECK(host.probe("actor") == nullptr);
}

TEST_CASE("one file serves two tables, and every Host of a process") {
    for (int round = 0; round < 2; ++round) {
        Bench bench;
        std::vector<PluginTable> tables;
        for (const char* name : {"first", "second"}) {
            PluginTable t = table("probe", name);
            t.plugin = "actor";
            tables.push_back(std::move(t));
        }
        Host& host = bench.start(std::move(tables));
        CHECK(host.probes().size() == 2);
        CHECK(host.probes().at(1).first == "second");
        CHECK(host.probe("third") == nullptr);
    }
}

TEST_CASE("an exception of a plugin becomes an error with its text") {
    Bench bench;
    bench.start(one(table("probe", "actor")));
    const Result<ProbeAnswer> answer = check(bench, "throw");
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kRefused);
    CHECK(answer.error().text() == "probe.actor: check: not for you");
}

TEST_CASE("an answer may come from any thread, and only the first counts") {
    Bench bench;
    bench.start(one(table("probe", "actor")));
    CHECK(check(bench, "thread")->detail == "t");
    for (int i = 0; i < 50; ++i) {
        const Result<ProbeAnswer> answer = check(bench, "race");
        REQUIRE(answer);
        CHECK((answer->detail == "loop" || answer->detail == "pool"));
    }
}

TEST_CASE("no answer before the deadline is unknown, and a late one is stale") {
    Bench bench;
    bench.start(one(table("probe", "actor")));
    const Result<ProbeAnswer> answer = check(bench, "late", milliseconds(30));
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == Code::kUnknown);
    CHECK(answer.error().text() == "probe.actor: check: no answer before the deadline");
    CHECK(bench.run_until([&] { return bench.logged("nobody waits"); }));
}

TEST_CASE("stopping a plugin ends what it still owes: as failed if it lets go, as unknown if it says nothing") {
    Bench bench;
    Host& host = bench.start(one(table("probe", "actor")));
    std::optional<Result<ProbeAnswer>> dropped, kept;
    host.probe("actor")->check(question("keep"), seconds(60), [&](Result<ProbeAnswer> r) { dropped = std::move(r); });
    host.probe("actor")->check(question("leak"), seconds(60), [&](Result<ProbeAnswer> r) { kept = std::move(r); });
    CHECK(host.plugins().at(0).operations_pending == 2);
    host.stop();
    CHECK(host.plugins().at(0).operations_pending == 0);
    REQUIRE(bench.run_until([&] { return dropped.has_value() && kept.has_value(); }));
    REQUIRE_FALSE(*dropped);
    CHECK(dropped->error().code == Code::kFailed);
    REQUIRE_FALSE(*kept);
    CHECK(kept->error().code == Code::kUnknown);
    CHECK(kept->error().text() == "probe.actor: check: the plugin was stopped");
}

TEST_CASE("the real host keeps the contract that the fake one keeps") {
    Bench bench;
    Host& host = bench.start(one(table("probe", "contract")));
    const auto answer =
        bench.wait<ProbeAnswer>([&](auto done) { host.probe("contract")->check(question(""), seconds(10), done); });
    REQUIRE(answer);
    CHECK(answer->detail == kContractSeen);
    CHECK(bench.logged(kContractLine));
    CHECK(bench.events == std::vector<std::string>{"contract: one text"});
}

TEST_CASE("an endpoint is gone after its ttl, and a search ends before its plugin") {
    Bench bench;
    Host& host = bench.start(one(table("discovery", "seeker")));
    Discovery& discovery = *host.discoveries().at(0);
    std::vector<std::string> seen;
    discovery.begin([&](const Discovered& one) { seen.push_back("found " + one.name); },
                    [&](const Discovered& one) { seen.push_back("gone " + one.name); });
    REQUIRE(bench.run_until([&] { return seen.size() == 3; }));
    CHECK(seen == std::vector<std::string>{"found brief", "found lasting \xef\xbf\xbd", "gone brief"});
    discovery.refresh();
    CHECK(bench.run_until([&] { return bench.logged("refresh: no network to look in"); }));
    host.stop();
    std::vector<std::string> last;
    for (const Line& line : bench.lines) {
        if (line.level == LogLevel::kInfo) last.push_back(line.text);
    }
    CHECK(last == std::vector<std::string>{"the search ended", "stopped"});
}

TEST_CASE("work of the kernel that throws is reported as failed") {
    Bench bench;
    Host& host = bench.make();
    std::optional<Status> ran;
    host.work([] { throw std::runtime_error("no luck"); }, [&](const Status& status) { ran = status; });
    REQUIRE(bench.run_until([&] { return ran.has_value(); }));
    REQUIRE_FALSE(*ran);
    CHECK(ran->error().text() == "the job threw: no luck");
}

TEST_CASE("a job that outlives the loop reaches nothing any more") {
    std::promise<void> gate;
    auto ended = std::make_shared<std::promise<void>>();
    std::future<void> over = ended->get_future();
    {
        boost::asio::io_context io;
        HostOptions options;
        options.workers = 1;
        Host host(io, std::move(options));
        // The job's own end is told when its function is freed, which is after it posted nothing to a loop that is
        // gone.
        const std::shared_ptr<void> last(nullptr, [ended](void*) { ended->set_value(); });
        host.work([opened = gate.get_future().share()] { opened.wait(); }, [last](const Status&) { FAIL(); });
    }
    gate.set_value();
    CHECK(over.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
}

TEST_CASE("a plugin whose stop throws is stopped all the same") {
    Bench bench;
    Host& host = bench.start(one(table("probe", "actor", {{"fail_in", "stop"}})));
    host.stop();
    CHECK(plugin_state_name(host.plugins().at(0).state) == "stopped");
    CHECK(bench.logged("did not stop in order: told to fail in stop"));
}

TEST_CASE("a plugin that hangs in stop is left behind as failed, within the deadline", GANTRY_IN_PROCESS) {
    Bench bench;
    HostOptions options;
    options.plugin_path = {GANTRY_TEST_PLUGINS};
    options.trust.package = GANTRY_TEST_PLUGINS;
    options.state_dir = bench.folder / "state";
    Instance instance(table("probe", "actor", {{"fail_in", "hang"}}), std::make_shared<Core>(bench.io, options));
    REQUIRE(instance.prepare());
    REQUIRE(instance.start());
    const Instant begin = boottime_now();
    instance.stop(milliseconds(50));
    CHECK(boottime_now() - begin < seconds(5));
    CHECK(plugin_state_name(instance.state()) == "failed");
    CHECK(instance.info().reason == "hangs: it did not stop before its deadline");
}

TEST_CASE("slow calls on the loop are counted, and very slow ones logged", GANTRY_IN_PROCESS) {
    Bench bench;
    Host& host = bench.start(one(table("probe", "actor")));
    const std::uint64_t before = host.plugins().at(0).slow_calls;
    CHECK(check(bench, "nap"));
    const std::uint64_t after = host.plugins().at(0).slow_calls;
    CHECK(after > before);
    CHECK(check(bench, "sleep"));
    CHECK(host.plugins().at(0).slow_calls > after);
    CHECK(bench.logged("check held the loop for "));
}

TEST_CASE("a slot that is missing answers unsupported") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "bare"));
    tables.push_back(table("runtime", "half"));
    Host& host = bench.start(std::move(tables));
    const auto bare =
        bench.wait<ProbeAnswer>([&](auto done) { host.probe("bare")->check(question("x"), seconds(5), done); });
    REQUIRE_FALSE(bare);
    CHECK(bare.error().code == Code::kUnsupported);
    CHECK(bare.error().text() == "probe.bare: check: not offered by this plugin");
    const auto images =
        bench.wait<std::vector<std::string>>([&](auto done) { host.runtime("half")->images(seconds(5), done); });
    REQUIRE_FALSE(images);
    CHECK(images.error().code == Code::kUnsupported);
}

TEST_CASE("a runtime's containers, facts and exits cross the border whole") {
    Bench bench;
    Host& host = bench.start(one(table("runtime", "half")));
    Runtime& runtime = *host.runtime("half");
    CHECK(runtime.facts().system == "linux");
    CHECK(runtime.facts().architectures == std::vector<std::string>{"amd64"});
    CHECK(runtime.facts().fenceable);
    CHECK_FALSE(runtime.facts().exec);
    std::vector<std::pair<std::string, int>> exits;
    int changes = 0;
    runtime.begin([&](std::string name, int code) { exits.emplace_back(std::move(name), code); }, [&] { ++changes; });

    ContainerSpec spec;
    spec.name = "c1";
    const auto refused = bench.wait<void>([&](auto done) { runtime.create(spec, seconds(5), done); });
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::kNotFound);
    spec.image = "sha256:x";
    spec.args = {"/bin/true"};
    spec.env = {{"A", "b"}};
    spec.mounts = {{"/src", "/dst", true}};
    spec.labels = {{"gantry.service", "陀螺仪"}};
    REQUIRE(bench.wait<void>([&](auto done) { runtime.create(spec, seconds(5), done); }));
    REQUIRE(bench.wait<void>([&](auto done) { runtime.start("c1", seconds(5), done); }));
    REQUIRE(bench.wait<void>([&](auto done) { runtime.stop("c1", seconds(1), seconds(5), done); }));
    REQUIRE(bench.run_until([&] { return changes == 1; }));
    CHECK(exits == std::vector<std::pair<std::string, int>>{{"c1", 143}});
    const auto list = bench.wait<std::vector<Container>>([&](auto done) { runtime.list(seconds(5), done); });
    REQUIRE(list);
    REQUIRE(list->size() == 1);
    CHECK(list->at(0).state == ContainerState::kExited);
    CHECK(list->at(0).exit_code == 143);
    CHECK(list->at(0).detail == "/bin/true|b|/dst");
    CHECK(list->at(0).labels == spec.labels);
    REQUIRE(bench.wait<void>([&](auto done) { runtime.remove("c1", seconds(5), done); }));

    spec.labels = {{"gantry.service", "\xff"}};
    REQUIRE(bench.wait<void>([&](auto done) { runtime.create(spec, seconds(5), done); }));
    const auto broken = bench.wait<std::vector<Container>>([&](auto done) { runtime.list(seconds(5), done); });
    REQUIRE_FALSE(broken);
    CHECK(broken.error().code == Code::kUnknown);
    CHECK(broken.error().text().find("the name or a label of container c1 is not UTF-8") != std::string::npos);

    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    CHECK_FALSE(bench.wait<void>([&](auto done) { runtime.logs("c1", true, -1, 0, ends[1], done); }));
    char byte = 0;
    CHECK(::read(ends[0], &byte, 1) == 0);  // the descriptor was taken and closed
    ::close(ends[0]);
}

TEST_CASE("a policy gives keys for every candidate, or an error with its text") {
    Bench bench;
    Host& host = bench.start(one(table("placement", "negative")));
    Placement& policy = *host.placement("negative");
    CHECK(policy.key_names() == std::vector<std::string>{"rank", "copies"});
    const Labels high{{"rank", "9"}, {"zone", "a"}};
    std::vector<CandidateView> candidates(3);
    candidates[0] = {"a", 0, 0, 0, 0, 1, 2, 0, true, nullptr};
    candidates[1] = {"b", 0, 0, 0, 0, 0, 0, 0, true, &high};
    candidates[2] = {"c", 0, 0, 0, 0, 4, 0, 0, true, &high};
    RankQuestion question;
    question.service = "s";
    question.candidates = candidates;
    std::optional<Result<std::vector<Keys>>> keys;
    const auto answered = [&](Result<std::vector<Keys>> answer) { keys = std::move(answer); };
    policy.score(question, answered);
    CHECK(keys.has_value() == (kPlacing == Placing::kHost));  // at once
    REQUIRE(bench.run_until([&] { return keys.has_value(); }));
    REQUIRE(*keys);
    CHECK(**keys == std::vector<Keys>{{0, 3, 0, 0}, {-9, 0, 0, 0}, {-9, 4, 0, 0}});
    question.service = "forbidden";
    keys.reset();
    policy.score(question, answered);
    REQUIRE(bench.run_until([&] { return keys.has_value(); }));
    REQUIRE_FALSE(*keys);
    CHECK(keys->error().text() == "placement.negative: score: not this service");
}

TEST_CASE("the kernel's own work runs on the pool and ends on the loop") {
    Bench bench;
    Host& host = bench.make();
    std::thread::id worker;
    std::optional<std::thread::id> loop;
    host.work([&] { worker = std::this_thread::get_id(); },
              [&](const Status& ran) {
                  CHECK(ran);
                  loop = std::this_thread::get_id();
              });
    REQUIRE(bench.run_until([&] { return loop.has_value(); }));
    CHECK(*loop == std::this_thread::get_id());
    CHECK(worker != *loop);
}

}  // namespace gantry::host
