// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/endpoint/endpoint.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/address.hpp>
#include <utility>
#include <vector>

namespace probe_endpoint {
namespace {

using gantry::Duration;
using gantry::ProbeResult;
using gantry::SocketAddress;
using gantry::Verdict;

constexpr Duration kMargin = std::chrono::milliseconds(100);

// A connect to a free port of the own host may be given that very port as its own, and so reach itself.
bool reached_itself(int connection, const gantry::ProbeRequest& request) {
    const SocketAddress own = SocketAddress::local(connection);
    const auto there = SocketAddress::of(request.address, request.port);
    return own.length != 0 && there && own == *there;
}

}  // namespace

std::optional<ProbeResult> begin(const gantry::ProbeRequest& request, gantry::Fd& connection) {
    const auto address = SocketAddress::of(request.address, request.port);
    if (!address) return ProbeResult{Verdict::kUnknown, {}, "\"" + request.address + "\" is no IP address"};
    if (request.port == 0) return ProbeResult{Verdict::kUnknown, {}, "no port to ask"};
    connection.reset(::socket(address->family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    if (!connection) return judge(errno);
    if (::connect(connection.get(), address->raw(), address->length) == 0 || errno == EINPROGRESS) return std::nullopt;
    return judge(errno);
}

bool decided(int connection) {
    pollfd item{connection, POLLOUT, 0};
    return ::poll(&item, 1, 0) == 1;
}

int outcome(int connection, const gantry::ProbeRequest& request) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
    return error == 0 && reached_itself(connection, request) ? ECONNREFUSED : error;
}

ProbeResult judge(int error, Duration latency) {
    switch (error) {
        case ECONNREFUSED:
            return {Verdict::kUnhealthy, latency, "connection refused"};
        case ECONNRESET:
        case EPIPE:
            return {Verdict::kUnhealthy, latency, "connection reset"};
        case ETIMEDOUT:
            return {Verdict::kUnhealthy, {}, "no answer"};
        case EHOSTUNREACH:
        case ENETUNREACH:
        case ENETDOWN:
        case EHOSTDOWN:
            return {Verdict::kUnhealthy, {}, std::strerror(error)};
        // The rest is about this host: descriptors, memory, local ports, a local firewall.
        default:
            return {Verdict::kUnknown, {}, std::string("cannot ask: ") + std::strerror(error)};
    }
}

Duration patience(Duration left) { return std::max(left - std::min(kMargin, left / 10), Duration::zero()); }

void Deadlines::use(gantry::Host& host, std::function<void(std::uint64_t)> late) {
    host_ = &host;
    late_ = std::move(late);
}

void Deadlines::add(std::uint64_t id, gantry::Instant at) {
    all_[id] = at;
    if (at < armed_) arm(at);
}

void Deadlines::remove(std::uint64_t id) { all_.erase(id); }

void Deadlines::stop() {
    all_.clear();
    host_->cancel(std::exchange(timer_, 0));
    armed_ = gantry::Instant::max();
}

void Deadlines::arm(gantry::Instant at) {
    host_->cancel(timer_);
    armed_ = at;
    timer_ = host_->timer(std::max(at - host_->now(), Duration::zero()), [this] { look(); });
}

void Deadlines::look() {
    timer_ = 0;
    armed_ = gantry::Instant::max();
    const gantry::Instant now = host_->now();
    std::vector<std::uint64_t> late;
    gantry::Instant next = gantry::Instant::max();
    for (const auto& [id, at] : all_) {
        if (at <= now)
            late.push_back(id);
        else
            next = std::min(next, at);
    }
    for (const std::uint64_t id : late) all_.erase(id);
    if (next != gantry::Instant::max()) arm(next);
    for (const std::uint64_t id : late) late_(id);
}

}  // namespace probe_endpoint
