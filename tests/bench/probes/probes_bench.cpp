// SPDX-License-Identifier: Apache-2.0
//
// What 2,000 checks a second cost, beside a bare loop that does the same: probe/tcp makes a connection for each,
// probe/vsoa sends a ping over one that it keeps. Plugins run in the kernel's host as in gantryd; the targets are a
// process of their own, which counts what arrived.
//
//     bench_probes [PLUGIN_DIR] [--seconds N]        each of three rounds; the medians count
//
// Exits with 1 if a ratio is above its limit, or if fewer checks arrived than were asked for.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vsoa_parser.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "kernel/host/host.hpp"

using namespace gantry;

namespace {

constexpr int kRate = 2'000, kTargets = 50, kPerTick = 2, kRounds = 3;
constexpr double kMost = 1.5;
constexpr Duration kLimit = seconds(2);

[[noreturn]] void give_up(const char* what) {
    std::perror(what);
    std::exit(1);
}

struct Counts {
    std::atomic<std::uint64_t> connections{0}, pings{0}, port{0};
};

sockaddr_in target(int number, std::uint64_t port) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_addr.s_addr = htonl(0x7f000001u + (static_cast<std::uint32_t>(number) << 8));
    out.sin_port = htons(static_cast<std::uint16_t>(port));
    return out;
}

// --- the targets ----------------------------------------------------------------------------------------------------

struct Peer {
    std::unique_ptr<vsoa_recv_t> stream;
    int fd;
    Counts* counts;
};

bool answer(void* raw, vsoa_header_t* header) {
    auto& peer = *static_cast<Peer*>(raw);
    const std::uint8_t type = vsoa_parser_get_type(header);
    if (type == VSOA_TYPE_PINGECHO) ++peer.counts->pings;
    alignas(4) char bytes[VSOA_HDR_LENGTH];
    vsoa_header_t* reply =
        vsoa_parser_init_header(bytes, type, VSOA_FLAG_REPLY, VSOA_STATUS_SUCCESS, vsoa_parser_get_seqno(header));
    (void)::send(peer.fd, bytes, vsoa_parser_fixp_length(reply), MSG_NOSIGNAL);
    return true;
}

[[noreturn]] void be_targets(Counts& counts) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    socklen_t length = sizeof any;
    if (::bind(listener, reinterpret_cast<sockaddr*>(&any), length) != 0 || ::listen(listener, 4'096) != 0)
        give_up("a port for the targets");
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&any), &length);
    const int set = ::epoll_create1(0);
    epoll_event event{EPOLLIN, {.fd = listener}};
    ::epoll_ctl(set, EPOLL_CTL_ADD, listener, &event);
    counts.port = ntohs(any.sin_port);
    std::map<int, Peer> peers;
    for (epoll_event ready[64];;) {
        const int n = ::epoll_wait(set, ready, 64, -1);
        for (int i = 0; i < n; ++i) {
            const int fd = ready[i].data.fd;
            if (fd == listener) {
                for (int peer = 0; (peer = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
                    ++counts.connections;
                    epoll_event one{EPOLLIN, {.fd = peer}};
                    ::epoll_ctl(set, EPOLL_CTL_ADD, peer, &one);
                    peers[peer] = {nullptr, peer, &counts};
                }
                continue;
            }
            char bytes[4'096];
            const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
            if (got <= 0) {
                peers.erase(fd);
                ::close(fd);
                continue;
            }
            Peer& peer = peers.at(fd);
            if (!peer.stream) {
                peer.stream.reset(new vsoa_recv_t);
                vsoa_parser_init_recv(peer.stream.get());
            }
            vsoa_parser_input(peer.stream.get(), bytes, static_cast<std::size_t>(got), &answer, &peer);
        }
    }
}

// --- who asks -------------------------------------------------------------------------------------------------------

double cpu_s() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

struct Spent {
    double cpu = 0;
    std::uint64_t answered = 0;
};

// The bare loop: a timer every millisecond begins two; what becomes ready is looked at and, for tcp, closed.
Spent bare(bool vsoa, int lasts, std::uint64_t port) {
    const int set = ::epoll_create1(0), timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    const itimerspec period{{0, 1'000'000}, {0, 1'000'000}};
    ::timerfd_settime(timer, 0, &period, nullptr);
    epoll_event event{EPOLLIN, {.fd = timer}};
    ::epoll_ctl(set, EPOLL_CTL_ADD, timer, &event);
    std::vector<int> kept;
    alignas(4) char ping[VSOA_HDR_LENGTH];
    const std::size_t length = vsoa_parser_fixp_length(vsoa_parser_init_header(ping, VSOA_TYPE_PINGECHO, 0, 0, 1));
    const auto connect_to = [&](int number) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (vsoa ? 0 : SOCK_NONBLOCK), 0);
        const sockaddr_in to = target(number, port);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS)
            give_up("connect");
        return fd;
    };
    if (vsoa)
        for (int i = 0; i < kTargets; ++i) {
            kept.push_back(connect_to(i));
            const int on = 1;
            ::setsockopt(kept.back(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            epoll_event one{EPOLLIN, {.fd = kept.back()}};
            ::epoll_ctl(set, EPOLL_CTL_ADD, kept.back(), &one);
        }
    Spent out;
    const double before = cpu_s();
    const std::uint64_t wanted = static_cast<std::uint64_t>(kRate) * static_cast<std::uint64_t>(lasts);
    std::uint64_t begun = 0;
    for (epoll_event ready[64]; out.answered < wanted;) {
        const int n = ::epoll_wait(set, ready, 64, 5'000);
        if (n <= 0) break;
        for (int i = 0; i < n; ++i) {
            const int fd = ready[i].data.fd;
            if (fd == timer) {
                std::uint64_t ticks = 0;
                if (::read(timer, &ticks, sizeof ticks) != sizeof ticks) continue;
                for (std::uint64_t k = 0; k < ticks * kPerTick && begun < wanted; ++k, ++begun) {
                    if (vsoa) {
                        (void)::send(kept[begun % kTargets], ping, length, MSG_NOSIGNAL);
                        continue;
                    }
                    const int one = connect_to(static_cast<int>(begun % kTargets));
                    epoll_event wait{EPOLLOUT, {.fd = one}};
                    ::epoll_ctl(set, EPOLL_CTL_ADD, one, &wait);
                }
                continue;
            }
            if (vsoa) {
                char bytes[4'096];
                const ssize_t got = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
                if (got > 0) out.answered += static_cast<std::uint64_t>(got) / length;
                continue;
            }
            int error = 0;
            socklen_t size = sizeof error;
            ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
            out.answered += error == 0;
            ::close(fd);
        }
    }
    out.cpu = cpu_s() - before;
    for (const int fd : kept) ::close(fd);
    ::close(timer);
    ::close(set);
    return out;
}

// The same by the plugin.
Spent by_probe(boost::asio::io_context& io, host::Probe& probe, int lasts, std::uint64_t port) {
    Spent out;
    const std::uint64_t wanted = static_cast<std::uint64_t>(kRate) * static_cast<std::uint64_t>(lasts);
    std::uint64_t begun = 0;
    std::vector<host::ProbeQuestion> questions;
    for (int i = 0; i < kTargets; ++i) {
        char text[INET_ADDRSTRLEN];
        const sockaddr_in to = target(i, port);
        ::inet_ntop(AF_INET, &to.sin_addr, text, sizeof text);
        questions.push_back({"container", text, static_cast<std::uint16_t>(port), {}});
    }
    boost::asio::steady_timer timer(io);
    auto next = boost::asio::steady_timer::clock_type::now();
    std::function<void()> tick = [&] {
        for (int k = 0; k < kPerTick && begun < wanted; ++k, ++begun)
            probe.check(questions[begun % kTargets], kLimit, [&](const gantry::Result<host::ProbeAnswer>& answer) {
                out.answered += answer && answer->verdict == host::Verdict::kHealthy;
                if (out.answered == wanted) io.stop();
            });
        if (begun == wanted) return;
        timer.expires_at(next += std::chrono::milliseconds(1));
        timer.async_wait([&](boost::system::error_code error) {
            if (!error) tick();
        });
    };
    const double before = cpu_s();
    tick();
    boost::asio::steady_timer end(io);
    end.expires_after(std::chrono::seconds(lasts + 10));
    end.async_wait([&](boost::system::error_code error) {
        if (!error) io.stop();
    });
    io.restart();
    io.run();
    out.cpu = cpu_s() - before;
    return out;
}

double median(std::vector<double> all) {
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    std::filesystem::path plugins = GANTRY_PLUGINS;
    int lasts = 5;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            lasts = std::max(1, std::atoi(argv[++i]));
        else
            plugins = argv[i];
    }
    void* const shared = ::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) give_up("mmap");
    auto& counts = *new (shared) Counts;
    const pid_t child = ::fork();
    if (child < 0) give_up("fork");
    if (child == 0) be_targets(counts);
    for (int i = 0; i < 500 && counts.port == 0; ++i) ::usleep(10'000);

    boost::asio::io_context io;
    const auto state = std::filesystem::temp_directory_path() / ("gantry-bench-probes." + std::to_string(::getpid()));
    int status = 0;
    {
        host::HostOptions options;
        options.plugin_path = {plugins};
        options.trust.package = plugins;
        options.state_dir = state;
        options.log = [](host::LogLevel, std::string_view, std::string_view text) {
            std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
        };
        options.event = [](std::string, std::string, json::object) {};
        host::Host host(io, std::move(options));
        std::vector<host::PluginTable> tables;
        for (const char* name : {"tcp", "vsoa"}) {
            host::PluginTable table;
            table.role = "probe";
            table.name = table.plugin = name;
            table.required = true;
            tables.push_back(std::move(table));
        }
        auto started = host.configure(std::move(tables));
        if (started) started = host.start();
        if (!started) {
            std::fprintf(stderr, "%s\n", started.error().text().c_str());
            status = 1;
        }
        for (const char* name : {"tcp", "vsoa"}) {
            if (!started) break;
            const bool vsoa = std::strcmp(name, "vsoa") == 0;
            auto& arrived = vsoa ? counts.pings : counts.connections;
            std::vector<double> theirs, ours;
            for (int round = 0; round < kRounds; ++round) {
                const std::uint64_t wanted = static_cast<std::uint64_t>(kRate) * static_cast<std::uint64_t>(lasts);
                const auto take = [&](std::vector<double>& to, const Spent& result, std::uint64_t before) {
                    for (int i = 0; i < 100 && arrived - before < wanted; ++i) ::usleep(10'000);
                    to.push_back(result.cpu);
                    if (result.answered == wanted && arrived - before >= wanted) return;
                    std::printf("%s: %llu of %llu answered, %llu arrived\n", name,
                                static_cast<unsigned long long>(result.answered),
                                static_cast<unsigned long long>(wanted),
                                static_cast<unsigned long long>(arrived - before));
                    status = 1;
                };
                std::uint64_t before = arrived;
                take(theirs, bare(vsoa, lasts, counts.port), before);
                before = arrived;
                take(ours, by_probe(io, *host.probe(name), lasts, counts.port), before);
            }
            const double ratio = median(ours) / median(theirs);
            std::printf(
                "probe/%s: %d checks a second: %.1f%% of a core, a bare loop %.1f%%: %.2f times, at most %.1f\n", name,
                kRate, 100 * median(ours) / lasts, 100 * median(theirs) / lasts, ratio, kMost);
            if (ratio > kMost) status = 1;
        }
        host.stop();
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::error_code ignored;
    std::filesystem::remove_all(state, ignored);
    return status;
}
