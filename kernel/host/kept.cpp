// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/kept.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace gantry::host {
namespace {

constexpr int kFirst = 3;          // of LISTEN_FDS, as sd_listen_fds(3) has it
constexpr unsigned kMost = 1'024;  // more than any gateway listens on
constexpr std::string_view kUnix = "unix:";

// A number in the environment, 0 if there is none; it is taken out.
unsigned long take_number(const char* name) {
    const char* const text = std::getenv(name);
    unsigned long value = 0;
    if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
    ::unsetenv(name);
    return value;
}

std::vector<std::string> take_names() {
    const char* const given = std::getenv("LISTEN_FDNAMES");
    std::vector<std::string> out;
    std::string_view rest = given == nullptr ? "" : given;
    while (!rest.empty()) {
        out.emplace_back(rest.substr(0, rest.find(':')));
        rest.remove_prefix(std::min(rest.size(), out.back().size() + 1));
    }
    ::unsetenv("LISTEN_FDNAMES");
    return out;
}

std::string internet(const sockaddr_storage& address) {
    char ip[INET6_ADDRSTRLEN];
    const bool six = address.ss_family == AF_INET6;
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    const unsigned port = ntohs(six ? v6.sin6_port : v4.sin_port);
    const void* const bytes = six ? static_cast<const void*>(&v6.sin6_addr) : &v4.sin_addr;
    if (port == 0 || ::inet_ntop(address.ss_family, bytes, ip, sizeof ip) == nullptr) return {};
    return (six ? "[" + std::string(ip) + "]" : std::string(ip)) + ":" + std::to_string(port);
}

}  // namespace

std::string bound_address(int fd) {
    int kind = 0, listens = 0;
    socklen_t length = sizeof kind;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) != 0) return {};
    length = sizeof listens;
    if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) return {};
    if (kind == SOCK_STREAM ? listens == 0 : kind != SOCK_DGRAM) return {};
    sockaddr_storage address{};
    length = sizeof address;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return {};
    if (address.ss_family == AF_UNIX) {
        const auto& path = reinterpret_cast<const sockaddr_un&>(address).sun_path;
        const std::size_t room = length - offsetof(sockaddr_un, sun_path);
        if (room == 0 || path[0] == '\0') return {};
        return std::string(kUnix) + std::string(path, ::strnlen(path, room));
    }
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return {};
    const std::string where = internet(address);
    return where.empty() ? where : (kind == SOCK_STREAM ? "tcp:" : "udp:") + where;
}

Kept::~Kept() {
    for (Socket& socket : sockets_) drop(socket);
}

void Kept::drop(Socket& socket) {
    if (socket.address.starts_with(kUnix)) ::unlink(socket.address.c_str() + kUnix.size());
    ::close(socket.fd);
}

std::shared_ptr<Kept> Kept::from_environment() {
    auto out = std::make_shared<Kept>();
    const bool ours = take_number("LISTEN_PID") == static_cast<unsigned long>(::getpid());
    const auto count = static_cast<int>(std::min<unsigned long>(take_number("LISTEN_FDS"), kMost));
    const std::vector<std::string> names = take_names();
    for (int i = 0; ours && i < count; ++i) {
        const std::string name = static_cast<std::size_t>(i) < names.size() ? names[static_cast<std::size_t>(i)] : "";
        const bool table = name.find('.') != std::string::npos && !name.ends_with(".socket");
        out->take(kFirst + i, table ? name : "");
    }
    return out;
}

void Kept::take(int fd, const std::string& owner) {
    std::string address = bound_address(fd);
    (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
    std::lock_guard lock(mutex_);
    if (address.empty())
        ::close(fd);
    else
        sockets_.push_back({fd, std::move(address), owner, false});
}

Status Kept::keep(const std::string& owner, int fd) {
    std::string address = bound_address(fd);
    if (address.empty()) return fail(Code::kInvalid, "no bound socket");
    std::lock_guard lock(mutex_);
    if (std::ranges::count(sockets_, owner, &Socket::owner) >= static_cast<std::ptrdiff_t>(kOfOne))
        return fail(Code::kFull, "16 sockets are kept for it already");
    const int duplicate = ::fcntl(fd, F_DUPFD_CLOEXEC, kFirst);
    if (duplicate < 0) return fail(Code::kFull, "no descriptors");
    // What was kept of that address is the same socket, or one that its owner has left.
    std::erase_if(sockets_, [&](const Socket& old) {
        if (old.address != address || (!old.owner.empty() && old.owner != owner)) return false;
        ::close(old.fd);
        return true;
    });
    sockets_.push_back({duplicate, std::move(address), owner, true});
    if (told) told(::fcntl(fd, F_DUPFD_CLOEXEC, kFirst));
    return {};
}

int Kept::inherit(const std::string& owner, std::string_view address) {
    std::lock_guard lock(mutex_);
    for (Socket& socket : sockets_) {
        if (socket.address != address || (!socket.owner.empty() && socket.owner != owner)) continue;
        socket.owner = owner;
        socket.claimed = true;
        if (told) told(::fcntl(socket.fd, F_DUPFD_CLOEXEC, kFirst));
        return ::fcntl(socket.fd, F_DUPFD_CLOEXEC, kFirst);
    }
    return -1;
}

std::vector<int> Kept::all_of(const std::string& owner) {
    std::lock_guard lock(mutex_);
    std::vector<int> out;
    for (Socket& socket : sockets_) {
        if (!socket.owner.empty() && socket.owner != owner) continue;
        const int duplicate = ::fcntl(socket.fd, F_DUPFD_CLOEXEC, kFirst);
        if (duplicate >= 0) out.push_back(duplicate);
    }
    return out;
}

void Kept::drop_unclaimed(const std::vector<std::string>& but) {
    std::lock_guard lock(mutex_);
    std::erase_if(sockets_, [&](Socket& socket) {
        if (socket.claimed || std::ranges::count(but, socket.owner) > 0) return false;
        drop(socket);
        return true;
    });
}

std::size_t Kept::hand_over() {
    std::lock_guard lock(mutex_);
    const int count = static_cast<int>(sockets_.size());
    std::string names;
    // First away from the numbers that they shall have.
    for (Socket& socket : sockets_) {
        socket.fd = ::fcntl(socket.fd, F_DUPFD_CLOEXEC, kFirst + count);
        names += (names.empty() ? "" : ":") + (socket.owner.empty() ? "unknown" : socket.owner);
    }
    for (int i = 0; i < count; ++i) ::dup2(sockets_[static_cast<std::size_t>(i)].fd, kFirst + i);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(count).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
    sockets_.clear();  // their files are not ours any more
    return static_cast<std::size_t>(count);
}

}  // namespace gantry::host
