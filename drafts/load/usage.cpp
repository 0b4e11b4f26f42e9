// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/usage.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

namespace gantry::control {
namespace {

constexpr Duration kStatsLimit = seconds(5);
constexpr std::size_t kAskedAtOnce = 16;  // of more containers each is asked every few seconds
constexpr const char* kPressures[] = {"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"};

int open_file(const std::string& path) { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }

std::int64_t number(std::string_view& text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return error == std::errc() ? out : 0;
}

// "some avg10=1.23 ..." in hundredths of a percent; -1: the kernel does not say.
std::int64_t average(std::string_view text) {
    constexpr std::string_view kKey = "avg10=";
    const auto at = text.find(kKey);
    if (at == text.npos) return -1;
    text.remove_prefix(at + kKey.size());
    const auto whole = number(text);
    if (text.empty() || text.front() != '.') return whole * 100;
    text.remove_prefix(1);
    return whole * 100 + number(text);
}

}  // namespace

std::string_view UsageSampler::File::read(char* buffer, std::size_t size) const {
    const auto n = fd < 0 ? -1 : ::pread(fd, buffer, size, 0);
    return n <= 0 ? std::string_view() : std::string_view(buffer, static_cast<std::size_t>(n));
}

UsageSampler::UsageSampler(host::Host& host, std::filesystem::path dir) : host_(host), dir_(std::move(dir)) {
    network_.fd = open_file("/proc/net/dev");
    for (std::size_t i = 0; i < 3; ++i) pressure_[i].fd = open_file(kPressures[i]);
    std::error_code error;
    const std::filesystem::path zones = "/sys/class/thermal";
    for (std::filesystem::directory_iterator it(zones, error), end; !error && it != end; it.increment(error))
        if (const int fd = open_file((it->path() / "temp").string()); fd >= 0) temperatures_.push_back({fd});
}

UsageSampler::~UsageSampler() {
    for (const auto& file : temperatures_) ::close(file.fd);
    for (const auto& file : pressure_)
        if (file.fd >= 0) ::close(file.fd);
    if (network_.fd >= 0) ::close(network_.fd);
}

core::Usage UsageSampler::sample(const std::vector<core::Agent::Running>& containers, Instant now) {
    core::Usage out;
    char buffer[8192];
    struct statvfs disk {};
    if (::statvfs(dir_.c_str(), &disk) == 0) {
        out.disk_bytes = static_cast<std::int64_t>(disk.f_blocks * disk.f_frsize);
        out.disk_free_bytes = static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize);
    }
    sample_network(out, now);
    std::int64_t* const pressures[] = {&out.pressure_cpu, &out.pressure_memory, &out.pressure_io};
    for (std::size_t i = 0; i < 3; ++i) *pressures[i] = average(pressure_[i].read(buffer, sizeof buffer));
    for (const auto& file : temperatures_) {
        auto text = file.read(buffer, sizeof buffer);
        if (!text.empty()) out.temperature_milli = std::max(out.temperature_milli, number(text));
    }
    std::map<std::string, Known> known;
    for (const auto& container : containers) {
        if (auto old = containers_.extract(container.name)) known.insert(std::move(old));
        auto& entry = known[container.name];
        entry.usage.copy = container.copy;
        if (entry.told) out.copies.push_back(entry.usage);
    }
    containers_ = std::move(known);
    // In rotation, so that many containers cost no more than some.
    std::size_t asked = 0;
    auto at = std::find_if(containers.begin(), containers.end(), [&](const auto& c) { return c.name > last_asked_; });
    for (std::size_t i = 0; i < containers.size() && asked < kAskedAtOnce; ++i, ++at, ++asked) {
        if (at == containers.end()) at = containers.begin();
        ask(*at);
        last_asked_ = at->name;
    }
    return out;
}

void UsageSampler::sample_network(core::Usage& out, Instant now) {
    char buffer[16384];
    auto text = network_.read(buffer, sizeof buffer);
    std::int64_t received = 0, sent = 0;
    while (!text.empty()) {
        const auto line_end = std::min(text.find('\n'), text.size());
        auto line = text.substr(0, line_end);
        text.remove_prefix(std::min(line_end + 1, text.size()));
        const auto colon = line.find(':');
        if (colon == line.npos || line.substr(0, colon).ends_with(" lo")) continue;
        line.remove_prefix(colon + 1);
        received += number(line);
        for (int skipped = 0; skipped < 7; ++skipped) number(line);
        sent += number(line);
    }
    if (const auto passed = (now - network_at_).count(); received_ >= 0 && passed > 0) {
        const auto rate = [&](std::int64_t bytes) {
            return bytes <= 0
                       ? 0
                       : static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(passed));
        };
        out.received_per_s = rate(received - received_);
        out.sent_per_s = rate(sent - sent_);
    }
    received_ = received;
    sent_ = sent;
    network_at_ = now;
}

void UsageSampler::ask(const core::Agent::Running& container) {
    auto* runtime = host_.runtime(container.runtime);
    auto& entry = containers_[container.name];
    if (!runtime || !runtime->facts().stats || std::exchange(entry.asked, true)) return;
    runtime->stats(container.name, kStatsLimit,
                   [this, name = container.name, alive = std::weak_ptr(alive_)](Result<host::ContainerStats> stats) {
                       if (alive.expired()) return;
                       const auto at = containers_.find(name);
                       if (at == containers_.end()) return;
                       auto& known = at->second;
                       known.asked = false;
                       if (!stats) return;
                       const auto now = host::boottime_now();
                       const auto passed = (now - known.at).count();
                       known.told = known.cpu_ns >= 0 && passed > 0;
                       if (known.told)
                           known.usage.cpu_milli =
                               std::max<std::int64_t>(0, (stats->cpu.count() - known.cpu_ns) * 1000 / passed);
                       known.cpu_ns = stats->cpu.count();
                       known.at = now;
                       known.usage.memory_bytes = stats->memory_bytes;
                       known.usage.pids = stats->pids;
                   });
}

}  // namespace gantry::control
