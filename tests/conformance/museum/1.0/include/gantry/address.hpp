// SPDX-License-Identifier: Apache-2.0
//
// SocketAddress: an IPv4 or IPv6 address with a port, as text and as the sockets want it. No host names.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace gantry::inline v1 {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;  // 0: unknown

    // "10.0.0.1", "fd00::1". Nothing: no IP address.
    static std::optional<SocketAddress> of(std::string_view ip, std::uint16_t port) {
        SocketAddress out;
        const std::string text(ip);
        if (text.size() != std::strlen(text.c_str())) return std::nullopt;
        if (inet_pton(AF_INET, text.c_str(), &out.v4().sin_addr) == 1) {
            out.v4().sin_family = AF_INET;
            out.v4().sin_port = htons(port);
            out.length = sizeof(sockaddr_in);
        } else if (inet_pton(AF_INET6, text.c_str(), &out.v6().sin6_addr) == 1) {
            out.v6().sin6_family = AF_INET6;
            out.v6().sin6_port = htons(port);
            out.length = sizeof(sockaddr_in6);
        } else {
            return std::nullopt;
        }
        return out;
    }
    // "10.0.0.1:80", "[fd00::1]:80". Nothing: not of that form.
    static std::optional<SocketAddress> parse(std::string_view text) {
        const std::size_t colon = text.rfind(':');
        if (colon == std::string_view::npos) return std::nullopt;
        std::string_view ip = text.substr(0, colon);
        const std::string_view digits = text.substr(colon + 1);
        std::uint16_t number = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
        const bool bracketed = ip.size() > 2 && ip.front() == '[' && ip.back() == ']';
        if (bracketed) ip = ip.substr(1, ip.size() - 2);
        auto out = of(ip, number);
        if (out && (out->family() == AF_INET6) != bracketed) return std::nullopt;
        return out;
    }
    // Both ends of a socket; length 0 if it has none.
    static SocketAddress local(int fd) { return asked(fd, &getsockname); }
    static SocketAddress peer(int fd) { return asked(fd, &getpeername); }

    int family() const { return storage.ss_family; }
    std::uint16_t port() const { return ntohs(family() == AF_INET6 ? v6().sin6_port : v4().sin_port); }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }

    // As parse() reads it; an IPv4 address inside an IPv6 one as IPv4. Empty if unknown.
    std::string text() const {
        char ip[INET6_ADDRSTRLEN];
        if (length == 0) return {};
        const std::string behind = ':' + std::to_string(port());
        if (family() == AF_INET) return inet_ntop(AF_INET, &v4().sin_addr, ip, sizeof ip) ? ip + behind : "";
        if (family() != AF_INET6) return {};
        const in6_addr& six = v6().sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&six)) return inet_ntop(AF_INET, &six.s6_addr[12], ip, sizeof ip) ? ip + behind : "";
        return inet_ntop(AF_INET6, &six, ip, sizeof ip) ? '[' + std::string(ip) + ']' + behind : "";
    }
    bool operator==(const SocketAddress& other) const {
        return length == other.length && std::memcmp(&storage, &other.storage, length) == 0;
    }

  private:
    template <class Ask>
    static SocketAddress asked(int fd, Ask* ask) {
        SocketAddress out;
        out.length = sizeof out.storage;
        if (ask(fd, out.raw(), &out.length) != 0) out = {};
        return out;
    }
    sockaddr_in& v4() { return reinterpret_cast<sockaddr_in&>(storage); }
    sockaddr_in6& v6() { return reinterpret_cast<sockaddr_in6&>(storage); }
    const sockaddr_in& v4() const { return reinterpret_cast<const sockaddr_in&>(storage); }
    const sockaddr_in6& v6() const { return reinterpret_cast<const sockaddr_in6&>(storage); }
};

}  // namespace gantry::inline v1
