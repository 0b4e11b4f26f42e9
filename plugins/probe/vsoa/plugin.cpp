// SPDX-License-Identifier: Apache-2.0
//
// probe/vsoa: a container is well when its VSOA server takes the login and answers a ping. All checks run side by side
// on the loop: sockets that do not block, a watch and a timer each.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/probe.hpp>
#include <map>

#include "plugins/probe/vsoa/conversation.hpp"

namespace vsoa_probe {
namespace {

using gantry::Duration;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
constexpr int kReadsPerTurn = 16;

using CheckOp = gantry::Operation<ProbeResult>;

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;  // 0: no IP address
};

Address parse(const std::string& text, std::uint16_t port) {
    Address out;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.length = sizeof *v4;
    } else if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out.length = sizeof *v6;
    }
    return out;
}

// A connect to a free port of the own host may be given that very port as its own, and so reach itself.
bool reached_itself(int fd) {
    sockaddr_storage own{}, peer{};
    socklen_t own_length = sizeof own, peer_length = sizeof peer;
    return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0 &&
           getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) == 0 && own_length == peer_length &&
           std::memcmp(&own, &peer, own_length) == 0;
}

// What is left for waiting: our answer must be there before the host's own, also when the loop is late.
Duration patience(Duration left) {
    constexpr Duration kMargin = std::chrono::milliseconds(100);
    return std::max(left - std::min(kMargin, left / 10), Duration::zero());
}

// The connection failed: on the container's side, or on ours, which says nothing about it.
ProbeResult judge(int error) {
    switch (error) {
        case ECONNREFUSED:
            return {Verdict::kUnhealthy, {}, "connection refused"};
        case ECONNRESET:
        case EPIPE:
            return {Verdict::kUnhealthy, {}, "connection reset"};
        case ETIMEDOUT:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ENETDOWN:
        case EHOSTDOWN:
            return {Verdict::kUnhealthy, {}, std::strerror(error)};
        default:
            return {Verdict::kUnknown, {}, std::string("cannot ask: ") + std::strerror(error)};
    }
}

class VsoaProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        const Address address = parse(request.address, request.port);
        if (address.length == 0) {
            return op.done({Verdict::kUnknown, {}, "\"" + request.address + "\" is no IP address"});
        }
        if (request.port == 0) return op.done({Verdict::kUnknown, {}, "no port to ask"});
        gantry::Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
        if (!fd) return op.done(judge(errno));
        const int on = 1;
        setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const Instant started = host().now();
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 &&
            errno != EINPROGRESS) {
            return op.done(judge(errno));
        }
        wait(std::move(op), std::move(fd), started, std::string(request.param("password")));
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, {Verdict::kUnknown, {}, "the probe is stopping"});
    }

  private:
    struct Check {
        CheckOp op;
        gantry::Fd fd;
        Instant started{};
        Conversation talk;
        std::string unsent{};
        bool connected = false;
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };

    void wait(CheckOp op, gantry::Fd fd, Instant started, std::string password) {
        const std::uint64_t id = op.id();
        const Duration limit = patience(op.deadline() - started);
        Check& check =
            checks_.emplace(id, Check{std::move(op), std::move(fd), started, Conversation(std::move(password))})
                .first->second;
        check.timer = host().timer(limit, [this, id] { late(id); });
        check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ready(id); });
    }

    void late(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        const Check& check = at->second;
        const std::string what = check.connected ? std::string(check.talk.waits_for()) : "connection";
        finish(id, {Verdict::kUnhealthy, {}, "no answer to the " + what + " in time"});
    }

    void ready(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check& check = at->second;
        if (!check.connected) {
            int error = 0;
            socklen_t length = sizeof error;
            if (getsockopt(check.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
            if (error == 0 && reached_itself(check.fd.get())) error = ECONNREFUSED;
            if (error != 0) return finish(id, judge(error));
            check.connected = true;
        } else if (read(id, check)) {
            return;
        }
        write(id, check);
    }

    // True: the check is over.
    bool read(std::uint64_t id, Check& check) {
        char bytes[4096];
        // A server that talks without end must not keep others waiting.
        for (int i = 0; i < kReadsPerTurn; ++i) {
            const ssize_t got = ::recv(check.fd.get(), bytes, sizeof bytes, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
            if (got < 0) return finish(id, judge(errno)), true;
            if (got == 0) {
                const std::string instead(check.talk.waits_for());
                return finish(id,
                              {Verdict::kUnhealthy, {}, "closed the connection instead of answering the " + instead}),
                       true;
            }
            if (!check.talk.feed(bytes, static_cast<std::size_t>(got))) continue;
            if (check.talk.failure().empty()) {
                return finish(id, {Verdict::kHealthy, host().now() - check.started, "answered the ping"}), true;
            }
            return finish(id, {Verdict::kUnhealthy, {}, check.talk.failure()}), true;
        }
        return false;
    }

    void write(std::uint64_t id, Check& check) {
        check.unsent += check.talk.take_output();
        while (!check.unsent.empty()) {
            const ssize_t sent = ::send(check.fd.get(), check.unsent.data(), check.unsent.size(), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
            if (sent < 0) return finish(id, judge(errno));
            check.unsent.erase(0, static_cast<std::size_t>(sent));
        }
        host().change(check.watch, check.unsent.empty() ? gantry::kReadable : gantry::kReadable | gantry::kWritable);
    }

    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        auto check = checks_.extract(at);
        host().unwatch(check.mapped().watch);
        host().cancel(check.mapped().timer);
        check.mapped().op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
};

}  // namespace
}  // namespace vsoa_probe

GANTRY_PLUGIN(vsoa_probe::VsoaProbe)
