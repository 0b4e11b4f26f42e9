// Where a server is, as the user writes it: vsoa://name/path, name/path, ip:port/path, host:port/path.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vsoa::tools {

struct Endpoint {
    sockaddr_storage storage{};
    socklen_t length = 0;
    bool secure = false;  // the position server says: TLS

    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    std::string ip() const;
    uint16_t port() const;
    std::string text() const;  // "1.2.3.4:5", "[::1]:5"
};

struct Target {
    enum class Kind { kAddress, kHost, kName };
    Kind kind = Kind::kName;
    std::string server;  // as it was written, without the path
    std::string host;    // ip, host name or name of a service
    uint16_t port = 0;   // not of a kName
    std::string path;    // "" or "/..."
};

/// Throws Failure (usage) that says what is wrong with the text.
Target parse_target(std::string_view text);

/// "ip:port", "[v6]:port"; without a port default_port, or nothing if that is 0. port 0 is allowed where any_port.
std::optional<Endpoint> parse_address(std::string_view text, uint16_t default_port, bool any_port = false);

/// The position servers of --pos: replaces those of the environment. Throws Failure (usage).
void use_position_servers(const std::string& list);

/// Asks the position servers. family AF_UNSPEC: any. Throws Failure.
Endpoint look_up(const std::string& name, int family, int64_t timeout_ns);

/// Asks whoever knows: nobody for an address, the resolver for a host, the position servers for a name.
Endpoint resolve(const Target& target, int64_t timeout_ns);

timespec timespec_of(int64_t ns);
/// CLOCK_MONOTONIC
int64_t monotonic_ns();

}  // namespace vsoa::tools
