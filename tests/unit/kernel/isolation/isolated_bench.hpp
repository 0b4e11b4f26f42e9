// SPDX-License-Identifier: Apache-2.0
//
// A probe in a process of its own, and questions to it.
#pragma once

#include <signal.h>

#include <fstream>

#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {

class IsolatedBench : public Bench {
  public:
    using Bench::start;
    Host& start(const std::string& plugin, json::object values = {}, std::int64_t memory_max = kMemoryMax) {
        PluginTable one = table("probe", plugin, std::move(values));
        one.memory_max_bytes = memory_max;
        std::vector<PluginTable> tables;
        tables.push_back(std::move(one));
        return Bench::start(std::move(tables));
    }
    Result<ProbeAnswer> ask(const std::string& what, Duration limit = seconds(10)) {
        const auto probes = host->probes();
        INFO(info().reason);
        REQUIRE(probes.size() == 1);
        return wait<ProbeAnswer>([&](auto done) { probes[0].second->check(question(what), limit, done); });
    }
    std::string told(const std::string& what) {
        const auto answer = ask(what);
        return answer ? answer->detail : answer.error().text();
    }
    PluginInfo info() { return host->plugins().at(0); }
    // To the plugin's process. There must be one: number 0 would mean everybody around this test.
    void send(int signal) {
        const auto pid = static_cast<pid_t>(info().pid);
        INFO(info().reason);
        REQUIRE(pid > 0);
        REQUIRE(::kill(pid, signal) == 0);
    }
    bool back(std::uint64_t restarts) {
        return run_until([&] { return info().restarts == restarts && info().state == PluginState::kRunning; });
    }
};

// No process, or one that has ended and was not collected yet.
inline bool gone(std::int64_t pid) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string all;
    if (!std::getline(stat, all)) return true;
    return all.substr(all.rfind(')') + 2, 1) == "Z";
}

}  // namespace gantry::host
