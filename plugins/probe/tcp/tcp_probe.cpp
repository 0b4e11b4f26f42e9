// SPDX-License-Identifier: Apache-2.0
//
// probe/tcp: a container is well when it accepts a connection. Everything happens on the loop: a connect that does not
// block, a watch for its end, a timer for the deadline.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/probe.hpp>
#include <map>

namespace {

using gantry::Duration;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
using CheckOp = gantry::Operation<ProbeResult>;

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;  // 0: no IP address
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
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

// A connect to a free port of the own host may be given that very port as its own and so reach itself.
bool reached_itself(int fd) {
    sockaddr_storage own{};
    sockaddr_storage peer{};
    socklen_t own_length = sizeof own;
    socklen_t peer_length = sizeof peer;
    return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0 &&
           getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) == 0 && own_length == peer_length &&
           std::memcmp(&own, &peer, own_length) == 0;
}

ProbeResult judge(int error, Duration latency) {
    if (error == 0) return {Verdict::kHealthy, latency, "connected"};
    switch (error) {
        case ECONNREFUSED:
            return {Verdict::kUnhealthy, latency, "connection refused"};
        case ECONNRESET:
            return {Verdict::kUnhealthy, latency, "connection reset"};
        case ETIMEDOUT:
            return {Verdict::kUnhealthy, {}, "no answer"};
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ENETDOWN:
        case EHOSTDOWN:
            return {Verdict::kUnhealthy, {}, std::strerror(error)};
        // The rest is about this host (descriptors, memory, local ports, a local firewall).
        default:
            return {Verdict::kUnknown, {}, std::string("cannot connect: ") + std::strerror(error)};
    }
}

// What is left of a deadline for waiting: the answer must arrive before it.
Duration patience(Duration left) {
    constexpr Duration kMargin = std::chrono::milliseconds(10);
    return std::max(left - std::min(kMargin, left / 10), Duration::zero());
}

}  // namespace

class TcpProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        const Address address = parse(request.address, request.port);
        if (address.length == 0)
            return op.done({Verdict::kUnknown, {}, "\"" + request.address + "\" is no IP address"});
        if (request.port == 0) return op.done({Verdict::kUnknown, {}, "no port to ask"});
        gantry::Fd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
        if (!fd) return op.done(judge(errno, {}));
        const Instant started = host().now();
        const int error = connect(fd.get(), address.get(), address.length) == 0 ? 0 : errno;
        if (error != EINPROGRESS) return op.done(verdict(fd.get(), error, started));
        wait(std::move(op), std::move(fd), started);
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, {Verdict::kUnknown, {}, "the probe is stopping"});
    }

  private:
    struct Check {
        CheckOp op;
        gantry::Fd fd;
        Instant started{};
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };

    void wait(CheckOp op, gantry::Fd fd, Instant started) {
        const std::uint64_t id = op.id();
        const Duration limit = patience(op.deadline() - started);
        Check& check = checks_[id] = {std::move(op), std::move(fd), started, 0, 0};
        check.timer = host().timer(limit, [this, id] { finish(id, judge(ETIMEDOUT, {})); });
        check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ended(id); });
    }

    void ended(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        const int fd = at->second.fd.get();
        int error = 0;
        socklen_t length = sizeof error;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
        finish(id, verdict(fd, error, at->second.started));
    }

    ProbeResult verdict(int fd, int error, Instant started) {
        if (error == 0 && reached_itself(fd)) error = ECONNREFUSED;
        return judge(error, host().now() - started);
    }

    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check check = std::move(at->second);
        checks_.erase(at);
        host().unwatch(check.watch);
        host().cancel(check.timer);
        check.op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
};

GANTRY_PLUGIN(TcpProbe)
