// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/machine.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <charconv>
#include <ctime>
#include <fstream>

#include "kernel/control/files.hpp"

namespace gantry::control {

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

namespace {

// Without SO_REUSEADDR: where connections of an earlier program linger, another port is better.
template <class Protocol>
bool is_free(const Protocol& protocol, std::uint16_t port) {
    boost::asio::io_context io;
    typename Protocol::socket socket(io);
    boost::system::error_code failed;
    socket.open(protocol, failed);
    if (!failed) socket.bind({protocol, port}, failed);
    return failed != boost::asio::error::address_in_use;  // a machine without IPv6 has nobody who listens there
}

}  // namespace

bool port_is_free(std::uint16_t port) {
    using boost::asio::ip::tcp, boost::asio::ip::udp;
    return is_free(tcp::v4(), port) && is_free(udp::v4(), port) && is_free(tcp::v6(), port) && is_free(udp::v6(), port);
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
