// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "kernel/host/host.hpp"
#include "kernel/isolation/isolation.hpp"
#include "kernel/isolation/members.hpp"
#include "kernel/isolation/packet.hpp"
#include "kernel/isolation/slots.hpp"
#include "tests/bench/isolation/bench.hpp"

namespace bench {
namespace {

using namespace gantry;

constexpr double kLimit = 1.6;

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
    std::vector<gantry_candidate> all(count);
    for (gantry_candidate& one : all) one.node = host::str("node");
    isolation::put_elements(w, all.data(), all.size());
    return bytes.size();
}

}  // namespace

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
    return show(what.c_str(), isolated / kRounds, "a bare echo", bare / kRounds, kLimit);
}

}  // namespace bench
