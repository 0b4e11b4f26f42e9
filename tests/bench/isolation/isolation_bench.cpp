// SPDX-License-Identifier: Apache-2.0
//
// What the border costs: a slot of a plugin in this process beside virtual calls that do the same work, and a question
// to a plugin in a process of its own beside a bare echo of as many bytes over a SOCK_SEQPACKET pair. Everything on one
// core, both of a pair in turns, medians of batches. And how long an exchange holds the loop.
//
//     bench_isolation
//
// Exits with 1 if a ratio is above its limit.
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <vector>

#include "tests/bench/isolation/bench.hpp"

namespace bench {
namespace {

constexpr int kBatches = 31;

double seconds_of(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::pair<double, double> in_turns(const std::function<void()>& one, const std::function<void()>& other) {
    std::vector<double> first, second;
    for (int i = 0; i < kBatches; ++i) {
        first.push_back(seconds_of(one));
        second.push_back(seconds_of(other));
    }
    const auto median = [](std::vector<double>& all) {
        std::ranges::nth_element(all, all.begin() + kBatches / 2);
        return all[kBatches / 2];
    };
    return {median(first), median(second)};
}

bool show(const char* what, double here, const char* beside, double base, double limit) {
    std::printf("%s %.0f ns beside %.0f ns of %s: ratio %.2f, at most %.1f: %s\n", what, here * 1e9, base * 1e9, beside,
                here / base, limit, here / base <= limit ? "good" : "TOO SLOW");
    std::fflush(stdout);
    return here / base <= limit;
}

}  // namespace bench

int main() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (::sched_setaffinity(0, sizeof(one), &one) != 0) {
        std::perror("cannot stay on one core");
        return 1;
    }
    std::signal(SIGPIPE, SIG_IGN);
    const bool slot = bench::slot(), process = bench::process();
    return bench::exchange() && slot && process ? 0 : 1;
}
