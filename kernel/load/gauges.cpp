// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/gauges.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <sstream>

namespace gantry::load {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileMax = 1 << 20;              // of /proc/net/dev with a thousand interfaces: an eighth
constexpr std::int64_t kMost = std::int64_t{1} << 53;  // of what JSON holds
constexpr std::int64_t kColdest = -60'000, kHottest = 200'000;  // what a board survives, in thousandths of a degree

std::optional<std::string> read_file(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    std::string out;
    std::array<char, 16 << 10> buffer;
    ssize_t got = 0;
    while (out.size() < kFileMax && (got = ::read(fd, buffer.data(), buffer.size())) > 0)
        out.append(buffer.data(), static_cast<std::size_t>(got));
    ::close(fd);
    return got < 0 ? std::nullopt : std::optional(std::move(out));
}

bool has_hardware(const fs::path& root, const std::string& interface) {
    std::error_code error;
    return interface.starts_with("ppp") || fs::exists(root / "sys/class/net" / interface / "device", error);
}

}  // namespace

std::optional<Disk> disk_now(const fs::path& folder) {
    struct statvfs is {};
    if (::statvfs(folder.c_str(), &is) != 0) return std::nullopt;
    const auto bytes = [&](fsblkcnt_t blocks) {
        return static_cast<double>(blocks) * static_cast<double>(is.f_frsize);
    };
    if (is.f_blocks == 0 || is.f_bfree > is.f_blocks || is.f_bavail > is.f_bfree) return std::nullopt;
    const double free = bytes(is.f_bavail), total = bytes(is.f_blocks - is.f_bfree) + free;
    if (total < 1 || total > static_cast<double>(kMost)) return std::nullopt;
    return Disk{static_cast<std::int64_t>(total), static_cast<std::int64_t>(free)};
}

std::optional<Interfaces> traffic_now(const fs::path& root) {
    const auto text = read_file(root / "proc/net/dev");
    if (!text) return std::nullopt;
    Interfaces all, hardware;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        const auto colon = line.find(':');
        const auto begin = line.find_first_not_of(' ');
        if (colon == line.npos || begin >= colon) continue;  // the two lines of headers
        const auto name = line.substr(begin, colon - begin);
        std::istringstream fields(line.substr(colon + 1));
        Traffic traffic;
        std::uint64_t skipped = 0;
        fields >> traffic.received;
        for (int field = 0; field < 7; ++field) fields >> skipped;
        if (!(fields >> traffic.sent) || name == "lo") continue;
        all[name] = traffic;
        if (has_hardware(root, name)) hardware[name] = traffic;
    }
    return hardware.empty() ? all : hardware;
}

std::optional<Rates> rates(const Interfaces& before, const Interfaces& now, Duration passed) {
    if (passed <= Duration(0)) return std::nullopt;
    double received = 0, sent = 0;
    for (const auto& [name, is] : now) {
        const auto was = before.find(name);
        if (was == before.end() || is.received < was->second.received || is.sent < was->second.sent) continue;
        received += static_cast<double>(is.received - was->second.received);
        sent += static_cast<double>(is.sent - was->second.sent);
    }
    const auto per_s = [&](double bytes) {
        return static_cast<std::int64_t>(std::min(bytes * 1e9 / static_cast<double>(passed.count()), 1e15));
    };
    return Rates{per_s(received), per_s(sent)};
}

std::optional<std::int64_t> pressure_now(const std::string& what, const fs::path& root) {
    constexpr std::string_view kKey = "some avg10=";
    const auto text = read_file(root / "proc/pressure" / what);
    const auto at = text ? text->find(kKey) : std::string::npos;
    if (at == std::string::npos) return std::nullopt;
    double percent = 0;
    const auto* begin = text->data() + at + kKey.size();
    if (std::from_chars(begin, text->data() + text->size(), percent).ec != std::errc()) return std::nullopt;
    if (!(percent >= 0 && percent <= 100)) return std::nullopt;
    return static_cast<std::int64_t>(percent * 10 + 0.5);
}

std::optional<std::int64_t> temperature_now(const fs::path& root) {
    std::optional<std::int64_t> hottest;
    std::error_code error;
    for (fs::directory_iterator at(root / "sys/class/thermal", error), end; !error && at != end; at.increment(error)) {
        if (!at->path().filename().string().starts_with("thermal_zone")) continue;
        const auto text = read_file(at->path() / "temp");
        std::int64_t milli = 0;
        if (!text || std::from_chars(text->data(), text->data() + text->size(), milli).ec != std::errc()) continue;
        if (milli < kColdest || milli > kHottest) continue;
        hottest = std::max(hottest.value_or(milli), milli);
    }
    if (hottest) hottest = (*hottest + (*hottest < 0 ? -500 : 500)) / 1000;
    return hottest;
}

}  // namespace gantry::load
