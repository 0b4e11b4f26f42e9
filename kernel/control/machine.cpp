// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/machine.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <fstream>

#include "kernel/control/files.hpp"

namespace gantry::control {

namespace {

bool same_ip(const sockaddr& a, const sockaddr_storage& b) {
    if (a.sa_family != b.ss_family) return false;
    const auto in4 = [](const void* at) { return &static_cast<const sockaddr_in*>(at)->sin_addr; };
    const auto in6 = [](const void* at) { return &static_cast<const sockaddr_in6*>(at)->sin6_addr; };
    if (a.sa_family == AF_INET) return std::memcmp(in4(&a), in4(&b), sizeof(in_addr)) == 0;
    return a.sa_family == AF_INET6 && std::memcmp(in6(&a), in6(&b), sizeof(in6_addr)) == 0;
}

}  // namespace

// The address that this machine would send from is that of one of its interfaces.
bool has_carrier(const std::string& address) {
    const auto colon = address.rfind(':');
    std::string ip = address.substr(0, colon);
    if (ip.size() > 2 && ip.front() == '[') ip = ip.substr(1, ip.size() - 2);
    addrinfo hints{}, *to = nullptr;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_DGRAM;
    if (colon == std::string::npos || ::getaddrinfo(ip.c_str(), &address[colon + 1], &hints, &to) != 0) return true;
    sockaddr_storage own{};
    socklen_t size = sizeof own;
    const int fd = ::socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool routed = fd >= 0 && ::connect(fd, to->ai_addr, to->ai_addrlen) == 0 &&
                        ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) == 0;
    if (fd >= 0) ::close(fd);
    ::freeaddrinfo(to);
    ifaddrs* all = nullptr;
    if (!routed || ::getifaddrs(&all) != 0) return true;
    bool up = true;
    for (const auto* each = all; each; each = each->ifa_next)
        if (each->ifa_addr && same_ip(*each->ifa_addr, own)) up = (each->ifa_flags & IFF_RUNNING) != 0;
    ::freeifaddrs(all);
    return up;
}

Memory memory_now() {
    Memory out;
    std::ifstream in("/proc/meminfo");
    std::string key, unit;
    for (std::int64_t kib = 0; in >> key >> kib;) {
        if (key == "MemTotal:") out.total_bytes = kib * 1024;
        if (key == "MemAvailable:") out.available_bytes = kib * 1024;
        std::getline(in, unit);
    }
    return out;
}

CpuTicks cpu_now() {
    std::ifstream in("/proc/stat");
    std::string name;
    in >> name;
    CpuTicks out;
    std::uint64_t ticks = 0;
    for (int field = 0; field < 8 && in >> ticks; ++field) {  // user nice system idle iowait irq softirq steal
        out.total += ticks;
        if (field != 3 && field != 4) out.busy += ticks;
    }
    return out;
}

double disk_used_percent(const std::filesystem::path& path) {
    struct statvfs disk {};
    if (statvfs(path.c_str(), &disk) != 0) return 0;
    const auto used = static_cast<double>(disk.f_blocks - disk.f_bfree), free = static_cast<double>(disk.f_bavail);
    return used + free > 0 ? 100 * used / (used + free) : 0;
}

std::int64_t cpu_count() { return std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)); }

Result<std::string> read_boot_id(const std::filesystem::path& file) {
    GANTRY_TRY(text, read_file(file, 4096));
    const auto line = text.substr(0, text.find('\n'));
    if (line.empty() || line.size() > 64) {
        return fail(Code::kInvalid, "boot id: expected one line of at most 64 characters in " + file.string());
    }
    return line;
}

Result<std::string> node_id(const std::filesystem::path& dir) {
    const auto file = dir / "node_id";
    if (auto text = read_file(file, 256)) {
        const auto line = text->substr(0, text->find('\n'));
        if (line.size() == 36) return line;
        return fail(Code::kInvalid, file.string() + ": expected a UUID; remove the file to join as a new node");
    } else if (text.error().code != Code::kNotFound) {
        return std::unexpected(text.error());
    }
    const auto id = new_uuid();
    GANTRY_CHECK(write_file(file, id + "\n"));
    return id;
}

Result<std::uint64_t> next_session(const std::filesystem::path& dir) {
    const auto file = dir / "session";
    std::uint64_t last = 0;
    if (auto text = read_file(file, 256)) std::from_chars(text->data(), text->data() + text->size(), last);
    const auto session = std::max<std::uint64_t>(last + 1, static_cast<std::uint64_t>(std::time(nullptr)));
    GANTRY_CHECK(write_file(file, std::to_string(session) + "\n"));
    return session;
}

}  // namespace gantry::control
