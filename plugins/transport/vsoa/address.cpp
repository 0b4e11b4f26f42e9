// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/vsoa/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

namespace vsoa_transport {

std::optional<Address> Address::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string host(text.substr(0, colon));
    const std::string_view port_text = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
    if (error != std::errc() || end != port_text.data() + port_text.size()) return std::nullopt;

    Address out;
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
        sockaddr_in6 v6{};
        if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return std::nullopt;
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        out.length = sizeof v6;
        std::memcpy(&out.storage, &v6, sizeof v6);
        return out;
    }
    sockaddr_in v4{};
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) return std::nullopt;
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    out.length = sizeof v4;
    std::memcpy(&out.storage, &v4, sizeof v4);
    return out;
}

Address Address::of_socket(int fd) {
    Address out;
    out.length = sizeof out.storage;
    if (getsockname(fd, out.raw(), &out.length) != 0) out = {};
    return out;
}

Address Address::of_peer(int fd) {
    Address out;
    out.length = sizeof out.storage;
    if (getpeername(fd, out.raw(), &out.length) != 0) out = {};
    return out;
}

std::string Address::text() const {
    char host[INET6_ADDRSTRLEN];
    if (family() == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
        if (inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host) == nullptr) return {};
        return std::string(host) + ':' + std::to_string(ntohs(v4.sin_port));
    }
    if (family() != AF_INET6) return {};
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    const std::string port = ':' + std::to_string(ntohs(v6.sin6_port));
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
        if (inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], host, sizeof host) == nullptr) return {};
        return host + port;
    }
    if (inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host) == nullptr) return {};
    return '[' + std::string(host) + ']' + port;
}

}  // namespace vsoa_transport
