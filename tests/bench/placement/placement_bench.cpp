// SPDX-License-Identifier: Apache-2.0
//
// Placements per second at 1,000 nodes on one core, through the plugin border, the bookkeeping of the core included:
// what is measured is every turn of the controller with its questions, writes, lists and events, up to the commit.
//
//     bench_placement [PLUGIN_DIR] [--repeat N]       the median of N
//
// Exits with 1 if a rate is below what is wanted.
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "kernel/core/commit_gate.hpp"
#include "kernel/core/controller.hpp"
#include "kernel/host/host.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

constexpr int kNodes = 1'000;
constexpr const char* kPolicy = "least-loaded";

using Score = std::function<std::vector<Keys>(const Rank&)>;

struct Fleet {
    explicit Fleet(Score with) : score(std::move(with)), core({}, {kPolicy}) {
        auto loaded = core.load({}, "1a2b3c4d-0000-4000-8000-000000000000", now);
        if (!loaded) std::abort();
        turn(ApiSetImage{1, "app:1", "sha256:app1", "linux", "amd64", 1'000});
        for (int i = 0; i < kNodes; ++i) {
            Hello hello;
            hello.id = next_identity(i);
            hello.node = name(i);
            hello.labels = {{"rack", std::to_string(i % 40)}, {"zone", std::to_string(i % 10)}};
            hello.runtimes = {{"oci", "linux", {"amd64"}, true}};
            hello.cpu_milli = 1'000'000;
            hello.memory_bytes = std::int64_t{1} << 40;
            turn(PeerMessage{peer(i), "10.0.0.1", std::move(hello)});
            Report report;
            report.id = next_identity(i);
            report.load.memory_free_bytes = std::int64_t{1} << 38;
            report.images = {"sha256:app1"};
            turn(PeerMessage{peer(i), "", std::move(report)});
        }
        placed = 0;
    }

    static std::string name(int i) { return "node-" + std::to_string(1'000 + i); }
    static PeerId peer(int i) { return static_cast<PeerId>(i) + 1; }
    Identity next_identity(int i) { return {"id-" + name(i), "boot", 1, ++seq}; }

    // As the daemon's controller loop does it; the commit is instantly there.
    void turn(const Input& input) {
        Effects all = core.step(input, now);
        while (!all.ranks.empty()) {
            const auto ranks = std::exchange(all.ranks, {});
            for (const auto& rank : ranks) {
                Effects more = core.step(Ranked{rank.id, score(rank)}, now);
                std::move(more.writes.begin(), more.writes.end(), std::back_inserter(all.writes));
                std::move(more.acts.begin(), more.acts.end(), std::back_inserter(all.acts));
                std::move(more.ranks.begin(), more.ranks.end(), std::back_inserter(all.ranks));
            }
        }
        gate.add(std::move(all));
        if (gate.begin()) gate.committed();
        for (const auto& act : gate.release()) {
            const auto* event = std::get_if<Event>(&act);
            placed += event && event->kind == "placed";
            const auto* reply = std::get_if<Reply>(&act);
            if (reply && !reply->result) {
                std::fprintf(stderr, "refused: %s\n", reply->result.error().text().c_str());
                std::exit(1);
            }
        }
    }

    Score score;
    Controller core;
    CommitGate gate;
    Instant now{seconds(100).count()};
    std::uint64_t seq = 0;
    std::size_t placed = 0;
};

double seconds_of(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double one_service(const Score& score) {
    constexpr int kInstances = 50'000;
    Fleet fleet(score);
    json::array pool;
    for (int i = 0; i < kNodes; ++i) pool.emplace_back(Fleet::name(i));
    const json::value document =
        json::object{{"service", {{"name", "s"}, {"image", "app:1"}, {"instances", kInstances}}},
                     {"placement", {{"nodes", std::move(pool)}}},
                     {"resources", {{"cpu", 0.01}, {"memory", 1 << 20}}}};
    const double taken = seconds_of([&] { fleet.turn(ApiDeploy{2, document, false}); });
    if (fleet.placed != kInstances) std::exit(1);
    return kInstances / taken;
}

double many_services(const Score& score) {
    constexpr int kServices = 1'000, kChanging = kNodes / 100;
    Fleet fleet(score);
    std::vector<json::value> documents;
    for (int i = 0; i < kServices; ++i) {
        json::object placement;
        if (i % 3 == 0) {
            placement["labels"] = json::object{{"zone", std::to_string(i % 10)}};
        } else if (i % 3 == 1) {
            json::array pool;
            for (int n = 0; n < 100; ++n) pool.emplace_back(Fleet::name((i * 7 + n * 9) % kNodes));
            placement["nodes"] = std::move(pool);
        } else {
            placement["labels"] = json::object{{"zone", std::to_string(i % 10)}};
            placement["constraints"] = json::object{{"rack", std::to_string(i % 40)}};
        }
        const std::string name = "service-" + std::to_string(i);
        documents.push_back(json::object{
            {"service", {{"name", name}, {"image", "app:1"}}},
            {"placement", std::move(placement)},
            {"resources", {{"cpu", 0.1 * (1 + i % 5)}, {"memory", (1 + i % 7) << 24}}},
            {"endpoint", json::array{json::object{{"kind", "vsoa"}, {"name", name}, {"port", 3'000 + i % 500}}}}});
    }
    const double taken = seconds_of([&] {
        for (int i = 0; i < kServices; ++i) {
            for (int n = 0; n < kChanging; ++n) {
                const int which = (i * kChanging + n) % kNodes;
                Heartbeat beat;
                beat.id = fleet.next_identity(which);
                beat.load.memory_free_bytes = (std::int64_t{1} << 38) - ((i * 31 + n) % 1'000) * (1 << 20);
                fleet.turn(PeerMessage{Fleet::peer(which), "", std::move(beat)});
            }
            fleet.turn(ApiDeploy{2, documents[static_cast<std::size_t>(i)], false});
        }
    });
    if (fleet.placed != kServices) std::exit(1);
    return kServices / taken;
}

double median(int repeat, const std::function<double()>& measure) {
    std::vector<double> rates;
    for (int i = 0; i < repeat; ++i) rates.push_back(measure());
    std::sort(rates.begin(), rates.end());
    return rates[rates.size() / 2];
}

bool show(const char* what, double rate, double wanted) {
    std::printf("%-60s %10.0f placements/s, wanted %.0f: %s\n", what, rate, wanted,
                rate >= wanted ? "good" : "TOO SLOW");
    std::fflush(stdout);
    return rate >= wanted;
}

}  // namespace

int main(int argc, char** argv) {
    std::string plugins = GANTRY_PLUGINS;
    int repeat = 3;
    for (int i = 1; i < argc; ++i) {
        if (std::string(argv[i]) == "--repeat" && i + 1 < argc)
            repeat = std::max(1, std::atoi(argv[++i]));
        else
            plugins = argv[i];
    }
    boost::asio::io_context io;
    host::HostOptions options;
    options.plugin_path = {plugins};
    options.trust.package = plugins;
    const auto scratch = std::filesystem::temp_directory_path() / ("bench_placement." + std::to_string(getpid()));
    options.state_dir = scratch;
    options.log = [](host::LogLevel, std::string_view plugin, std::string_view text) {
        std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(plugin.size()), plugin.data(),
                     static_cast<int>(text.size()), text.data());
    };
    options.event = [](std::string, std::string, json::object) {};
    host::Host host(io, std::move(options));
    host::PluginTable table;
    table.role = "placement";
    table.name = table.plugin = kPolicy;
    table.required = true;
    auto good = host.configure({table});
    if (good) good = host.start();
    host::Placement* policy = good ? host.placement(kPolicy) : nullptr;
    if (!policy) {
        std::fprintf(stderr, "no policy in %s: %s\n", plugins.c_str(),
                     good ? "not running" : good.error().text().c_str());
        return 1;
    }
    std::vector<host::CandidateView> views;
    const Score score = [&](const Rank& rank) {
        views.clear();
        for (const auto& c : rank.candidates)
            views.push_back({c.node, c.cpu_total_milli, c.cpu_free_milli, c.memory_total_bytes, c.memory_free_bytes,
                             c.copies_running, c.copies_pending, c.copies_of_service, c.has_image, c.labels});
        std::vector<Keys> keys;
        policy->score({rank.nodes_total, rank.nodes_ready, rank.copies_total, rank.service, rank.cpu_milli,
                       rank.memory_bytes, rank.instances_wanted, views},
                      [&](Result<std::vector<Keys>> answer) {
                          if (!answer) std::exit(1);
                          keys = std::move(*answer);
                      });
        return keys;
    };
    const double one = median(repeat, [&] { return one_service(score); });
    const double many = median(repeat, [&] { return many_services(score); });
    bool all = show("one service of 50,000 instances on 1,000 nodes", one, 50'000);
    all = show("1,000 services, 1% of the nodes changing load in between", many, 5'000) && all;
    host.stop();
    std::filesystem::remove_all(scratch);
    return all ? 0 : 1;
}
