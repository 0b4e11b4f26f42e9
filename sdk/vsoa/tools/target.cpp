#include "sdk/vsoa/tools/target.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <strings.h>
#include <time.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr uint16_t kPositionPort = 54;

Failure wrong(std::string_view text, const std::string& what) {
    return Failure(exit_status::kUsage, "`" + clean(text) + "`: " + what +
                                            "; write vsoa://NAME/PATH, NAME/PATH, IP:PORT/PATH or HOST:PORT/PATH");
}

std::optional<uint16_t> port_of(std::string_view text) {
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return port;
}

std::optional<Endpoint> make(const std::string& ip, uint16_t port) {
    Endpoint out;
    auto* four = reinterpret_cast<sockaddr_in*>(&out.storage);
    auto* six = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (inet_pton(AF_INET, ip.c_str(), &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        out.length = sizeof *four;
    } else if (inet_pton(AF_INET6, ip.c_str(), &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(port);
        out.length = sizeof *six;
    } else {
        return std::nullopt;
    }
    return out;
}

// "host", "host:port", "[v6]:port", "[v6]" -> host, port text, whether there is one. False: brackets are wrong.
bool split(std::string_view text, std::string& host, std::string_view& port, bool& has_port) {
    has_port = false;
    if (text.starts_with('[')) {
        const size_t close = text.find(']');
        if (close == text.npos) return false;
        host = text.substr(1, close - 1);
        text.remove_prefix(close + 1);
        if (text.empty()) return true;
        if (text[0] != ':') return false;
        has_port = true;
        port = text.substr(1);
        return true;
    }
    const size_t colon = text.find(':');
    host = text.substr(0, colon);
    if (colon == text.npos) return true;
    has_port = true;
    port = text.substr(colon + 1);
    return port.find(':') == port.npos;
}

Endpoint resolve_host(const Target& target) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found);
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, [](addrinfo* a) {
        if (a != nullptr) freeaddrinfo(a);
    });
    if (error != 0 || found == nullptr) {
        throw Failure(exit_status::kNotFound, "cannot find the host " + clean(target.host) + ": " +
                                                  gai_strerror(error) + "; for the name of a service write vsoa://" +
                                                  clean(target.host));
    }
    Endpoint out;
    std::memcpy(&out.storage, found->ai_addr, found->ai_addrlen);
    out.length = found->ai_addrlen;
    return out;
}

}  // namespace

std::string Endpoint::ip() const {
    char out[INET6_ADDRSTRLEN] = "";
    if (storage.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, out, sizeof out);
    } else {
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, out, sizeof out);
    }
    return out;
}

uint16_t Endpoint::port() const {
    // In the same place in both.
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::string Endpoint::text() const {
    const std::string host = storage.ss_family == AF_INET6 ? '[' + ip() + ']' : ip();
    return host + ':' + std::to_string(port());
}

Target parse_target(std::string_view text) {
    constexpr std::string_view kScheme = "vsoa://";
    std::string_view rest = text;
    bool scheme = false;
    if (const size_t at = rest.find("://"); at != rest.npos && rest.find('/') > at) {
        scheme = at + 3 == kScheme.size() && strncasecmp(rest.data(), kScheme.data(), kScheme.size()) == 0;
        if (!scheme) throw wrong(text, "the scheme is not vsoa");
        rest.remove_prefix(kScheme.size());
    }
    Target out;
    const size_t slash = rest.find('/');
    const std::string_view authority = rest.substr(0, slash);
    if (slash != rest.npos) out.path = rest.substr(slash);
    out.server = text.substr(0, text.size() - out.path.size());
    if (authority.empty()) throw wrong(text, "no server");
    std::string_view port;
    bool has_port = false;
    if (!split(authority, out.host, port, has_port)) {
        throw wrong(text, "expected one port; an IPv6 address stands in brackets, as in [::1]:3002");
    }
    if (out.host.empty()) throw wrong(text, "no server before the port");
    if (has_port) {
        const auto number = port_of(port);
        if (!number || *number == 0) throw wrong(text, "expected a port from 1 to 65535, got `" + clean(port) + '`');
        out.port = *number;
    }
    if (strcasecmp(out.host.c_str(), "localhost") == 0) out.host = "127.0.0.1";
    if (make(out.host, out.port)) {
        if (!has_port) throw wrong(text, "an address needs a port, as in " + out.host + ":3002");
        out.kind = Target::Kind::kAddress;
    } else if (has_port && !scheme) {
        out.kind = Target::Kind::kHost;
    } else if (out.host.size() > VSOA_POSITION_MAX_NAME_LEN) {
        throw wrong(text.substr(0, 40),
                    "the name is longer than " + std::to_string(VSOA_POSITION_MAX_NAME_LEN) + " bytes");
    }
    return out;
}

std::optional<Endpoint> parse_address(std::string_view text, uint16_t default_port, bool any_port) {
    std::string host;
    std::string_view port;
    bool has_port = false;
    if (!split(text, host, port, has_port)) return std::nullopt;
    const auto number = has_port ? port_of(port) : std::optional(default_port);
    if (!number || (*number == 0 && !any_port)) return std::nullopt;
    return make(host, *number);
}

void use_position_servers(const std::string& list) {
    std::string_view rest = list;
    do {
        const size_t comma = std::min(rest.find(','), rest.size());
        if (!parse_address(rest.substr(0, comma), kPositionPort)) {
            throw Failure(exit_status::kUsage, "--pos: expected IP:PORT or IP, several with commas, got `" +
                                                   clean(rest.substr(0, comma)) + '`');
        }
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    } while (!rest.empty());
    setenv("VSOA_POS_SERVER", list.c_str(), 1);
}

Endpoint look_up(const std::string& name, int family, int64_t timeout_ns) {
    Endpoint out;
    out.length = sizeof out.storage;
    const timespec timeout = timespec_of(timeout_ns);
    const int domain = family == AF_UNSPEC ? -1 : family;
    if (vsoa_position_lookup(domain, name.c_str(), out.raw(), &out.length, &out.secure, &timeout)) return out;
    const std::string what = "cannot find the service " + clean(name) + ": ";
    switch (errno) {
        case ENOENT:
            throw Failure(exit_status::kNotFound, what + "the position server knows no service of that name");
        case EDESTADDRREQ:
            throw Failure(exit_status::kUnreachable, what +
                                                         "no position server is configured; give one with --pos "
                                                         "IP:PORT, VSOA_POS_SERVER or /etc/vsoa.pos, or write IP:PORT "
                                                         "instead of the name");
        case ETIMEDOUT:
        case ECONNREFUSED:
            throw Failure(exit_status::kUnreachable, what + "no position server answered (" + std::strerror(errno) +
                                                         "); check --pos, VSOA_POS_SERVER or /etc/vsoa.pos");
        default:
            throw Failure(exit_status::kFailed, what + std::strerror(errno));
    }
}

Endpoint resolve(const Target& target, int64_t timeout_ns) {
    switch (target.kind) {
        case Target::Kind::kAddress:
            return *make(target.host, target.port);
        case Target::Kind::kHost:
            return resolve_host(target);
        default:
            return look_up(target.host, AF_UNSPEC, timeout_ns);
    }
}

timespec timespec_of(int64_t ns) { return {ns / 1'000'000'000, ns % 1'000'000'000}; }

int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

}  // namespace vsoa::tools
