// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "kernel/host/host.hpp"
#include "kernel/isolation/isolation.hpp"
#include "tests/bench/isolation/bench.hpp"

namespace bench {
namespace {

using namespace gantry;

constexpr int kExchanges = 21;
constexpr double kLimitMs = 5;

double ms_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

// How long one turn of the loop takes at most while a plugin gets a new process.
bool exchange() {
    boost::asio::io_context io{1};
    host::HostOptions options;
    options.plugin_path = {GANTRY_PLUGINS};
    options.trust.package = GANTRY_PLUGINS;
    const auto scratch = std::filesystem::temp_directory_path() / ("bench_exchange." + std::to_string(::getpid()));
    options.state_dir = scratch;
    options.isolation = isolation::make_isolation(GANTRY_PLUGIN_HOST);
    host::Host host(io, std::move(options));
    host::PluginTable table;
    table.role = "placement";
    table.name = table.plugin = "least-loaded";
    table.required = true;
    table.placing = host::Placing::kOwnProcess;
    auto good = host.configure({table});
    if (good) good = host.start();
    std::vector<double> held;
    for (int i = 0; good && i < kExchanges; ++i) {
        bool done = false;
        auto begin = std::chrono::steady_clock::now();
        host.reload("placement.least-loaded", "", [&](Result<void> result) {
            done = true;
            good = std::move(result);
        });
        double most = ms_since(begin);
        while (!done) {
            begin = std::chrono::steady_clock::now();
            if (io.poll_one() == 0) continue;
            most = std::max(most, ms_since(begin));
        }
        held.push_back(most);
    }
    host.stop();
    std::filesystem::remove_all(scratch);
    if (!good) {
        std::fprintf(stderr, "%s\n", good.error().text().c_str());
        return false;
    }
    std::ranges::sort(held);
    const double median = held[kExchanges / 2];
    std::printf("an exchange holds the loop for %.1f ms (median of %d; %.1f .. %.1f), at most %.0f: %s\n", median,
                kExchanges, held.front(), held.back(), kLimitMs, median <= kLimitMs ? "good" : "TOO SLOW");
    return median <= kLimitMs;
}

}  // namespace bench
