// SPDX-License-Identifier: Apache-2.0
//
// What the border costs: a slot of a plugin in this process beside a virtual call of the same work, and a question to a
// plugin in a process of its own beside a bare echo of as many bytes over a SOCK_SEQPACKET pair. Everything on one
// core, both of a pair in turns, medians of batches.
//
//     bench_isolation
//
// Exits with 1 if a ratio is above its limit.
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <gantry/placement.hpp>
#include <gantry/testing/fake_host.hpp>

#include "kernel/host/host.hpp"
#include "kernel/isolation/isolation.hpp"
#include "kernel/isolation/members.hpp"
#include "kernel/isolation/packet.hpp"
#include "kernel/isolation/slots.hpp"

using namespace gantry;

namespace {

constexpr int kBatches = 31;
constexpr double kSlotLimit = 1.5, kProcessLimit = 1.6;

// The bundled policy's own words, called without a border.
class Direct final : public PlacementPolicy {
  public:
    Direct() : PlacementPolicy({"copies", "free memory"}) {}
    Keys rank(const Question&, const Candidate& candidate) const override {
        return {candidate.copies(), -candidate.memory_free_bytes()};
    }
};

std::vector<gantry_candidate> candidates(std::size_t count) {
    std::vector<gantry_candidate> out(count);
    for (std::size_t i = 0; i < count; ++i) {
        out[i].node = host::str("node");
        out[i].copies_running = static_cast<std::uint32_t>(i % 7);
        out[i].memory_free_bytes = static_cast<std::int64_t>(i) << 20;
    }
    return out;
}

double seconds_of(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Medians of both, measured in turns.
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

bool slot() {
    constexpr std::size_t kCount = 100;
    constexpr int kRounds = 2'000;
    testing::FakeHost host;
    testing::Instance& instance = host.load(GANTRY_PLUGINS "/placement/least-loaded.so");
    const auto& table = *static_cast<const gantry_placement*>(instance.role_table(GANTRY_ROLE_PLACEMENT));
    const auto all = candidates(kCount);
    const gantry_snapshot snapshot{sizeof(snapshot), 100, 100, 0};
    const gantry_placement_request request{sizeof(request), sizeof(gantry_candidate), {}, 0, 0, 1, 0};
    std::vector<host::Keys> keys(kCount);
    auto* const raw = reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(keys.data());
    const auto direct = std::make_unique<Direct>();
    const PlacementPolicy* volatile policy = direct.get();  // so that the compiler does not know which it is
    const auto [border, virtual_call] = in_turns(
        [&] {
            for (int i = 0; i < kRounds; ++i)
                table.score(instance.self(), &snapshot, &request, all.data(), all.size(), raw, nullptr);
        },
        [&] {
            for (int i = 0; i < kRounds; ++i) {
                const PlacementPolicy& asked = *policy;
                const PlacementPolicy::Question question(snapshot, request);
                for (std::size_t c = 0; c < kCount; ++c) {
                    const auto ranked = asked.rank(question, PlacementPolicy::Candidate(all[c]));
                    std::memcpy(raw[c], ranked.data(), sizeof(raw[c]));
                }
            }
        });
    return show("slot call (100 candidates)", border / kRounds, "virtual calls", virtual_call / kRounds, kSlotLimit);
}

// A child that sends back what it gets.
struct Echo {
    Echo() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) std::exit(1);
        pid = ::fork();
        if (pid == 0) {
            ::close(ends[0]);
            std::vector<char> buffer(isolation::kPacketMax);
            for (;;) {
                const ssize_t n = ::recv(ends[1], buffer.data(), buffer.size(), 0);
                if (n <= 0 || ::send(ends[1], buffer.data(), static_cast<std::size_t>(n), 0) != n) ::_exit(0);
            }
        }
        ::close(ends[1]);
        socket = ends[0];
    }
    ~Echo() {
        ::close(socket);
        ::waitpid(pid, nullptr, 0);
    }
    void round(std::string& bytes) const {
        if (::send(socket, bytes.data(), bytes.size(), 0) < 0) std::exit(1);
        if (::recv(socket, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) std::exit(1);
    }
    int socket = -1;
    pid_t pid = 0;
};

// Bytes of the message that asks about these candidates.
std::size_t question_size(std::size_t count) {
    std::string bytes(isolation::kHead, '\0');
    isolation::Writer w(bytes);
    isolation::put(w, gantry_snapshot{});
    isolation::put(w, gantry_placement_request{});
    const auto all = candidates(count);
    isolation::put_elements(w, all.data(), all.size());
    return bytes.size();
}

bool process() {
    constexpr std::size_t kCount = 10;
    constexpr int kRounds = 1'000;
    const Echo echo;
    std::string bytes(question_size(kCount), 'x');
    boost::asio::io_context io{1};
    host::HostOptions options;
    options.plugin_path = {GANTRY_PLUGINS};
    const auto scratch = std::filesystem::temp_directory_path() / ("bench_isolation." + std::to_string(::getpid()));
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
    if (!good) {
        std::fprintf(stderr, "%s\n", good.error().text().c_str());
        return false;
    }
    host::Placement& policy = *host.placement("least-loaded");
    const std::vector<host::CandidateView> views(kCount, host::CandidateView{.node = "node"});
    host::RankQuestion question;
    question.candidates = views;
    const auto [isolated, bare] = in_turns(
        [&] {
            for (int i = 0; i < kRounds; ++i) {
                bool answered = false;
                policy.score(question, [&](const auto& keys) { answered = keys.has_value(); });
                while (!answered) io.run_one();
            }
        },
        [&] {
            for (int i = 0; i < kRounds; ++i) echo.round(bytes);
        });
    host.stop();
    std::filesystem::remove_all(scratch);
    const std::string what = "round trip to a process (" + std::to_string(bytes.size()) + " bytes)";
    return show(what.c_str(), isolated / kRounds, "a bare echo", bare / kRounds, kProcessLimit);
}

}  // namespace

int main() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (::sched_setaffinity(0, sizeof(one), &one) != 0) {
        std::perror("cannot stay on one core");
        return 1;
    }
    std::signal(SIGPIPE, SIG_IGN);
    const bool all = slot();
    return process() && all ? 0 : 1;
}
