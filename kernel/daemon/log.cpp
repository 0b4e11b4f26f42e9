// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

namespace gantry::daemon {
namespace {

int g_journal = -1;  // connected to the journal's socket, if that is where standard error leads

// systemd says by JOURNAL_STREAM, "device:inode", that standard error is the journal (systemd.exec(5)).
void find_journal() {
    const char* stream = std::getenv("JOURNAL_STREAM");
    struct stat have {};
    if (stream == nullptr || ::fstat(STDERR_FILENO, &have) != 0) return;
    if (fmt::format("{}:{}", have.st_dev, have.st_ino) != stream) return;
    g_journal = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const sockaddr_un to{AF_UNIX, "/run/systemd/journal/socket"};
    if (g_journal < 0 || ::connect(g_journal, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return;
    ::close(g_journal);
    g_journal = -1;
}

int priority_of(host::LogLevel level) {
    switch (level) {
        case host::LogLevel::kError:
            return 3;
        case host::LogLevel::kWarn:
            return 4;
        case host::LogLevel::kInfo:
            return 6;
        default:
            return 7;
    }
}

// The journal's own protocol: a field a line, and one that may hold line ends by its length.
bool to_journal(host::LogLevel level, std::string_view who, std::string_view text) {
    const std::string message = fmt::format("{}: {}", who, text);
    std::string out = fmt::format("PRIORITY={}\nSYSLOG_IDENTIFIER=gantryd\nGANTRY_PART=", priority_of(level));
    for (const char c : who) out += c == '\n' ? ' ' : c;
    out += "\nMESSAGE\n";
    for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(message.size() >> (8 * i) & 0xff);
    out += message + "\n";
    return ::send(g_journal, out.data(), out.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

}  // namespace

void open_log(host::LogLevel level, bool plain) {
    auto logger = spdlog::stderr_logger_mt("gantryd");
    logger->set_pattern(plain ? "%v" : "%Y-%m-%d %H:%M:%S.%e %L %v");
    logger->set_level(static_cast<spdlog::level::level_enum>(level));  // both count from trace
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
    if (!plain) find_journal();
}

void log(host::LogLevel level, std::string_view who, std::string_view text) {
    const auto as = static_cast<spdlog::level::level_enum>(level);
    if (!spdlog::should_log(as)) return;
    if (g_journal >= 0 && to_journal(level, who, text)) return;
    spdlog::log(as, "{}: {}", who, text);
}

}  // namespace gantry::daemon
