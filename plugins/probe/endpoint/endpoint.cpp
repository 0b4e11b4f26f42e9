// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/endpoint/endpoint.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/address.hpp>

namespace probe_endpoint {
namespace {

using gantry::Duration;
using gantry::ProbeResult;
using gantry::SocketAddress;
using gantry::Verdict;

constexpr Duration kMargin = std::chrono::milliseconds(100);

// A connect to a free port of the own host may be given that very port as its own, and so reach itself.
bool reached_itself(int connection) {
    const SocketAddress own = SocketAddress::local(connection);
    return own.length != 0 && own == SocketAddress::peer(connection);
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

int outcome(int connection) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
    return error == 0 && reached_itself(connection) ? ECONNREFUSED : error;
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

}  // namespace probe_endpoint
