// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "kernel/base/units.hpp"

namespace gantry::daemon {
namespace {

std::string taken(const char* name) {
    const char* value = std::getenv(name);
    std::string out = value != nullptr ? value : "";
    ::unsetenv(name);
    return out;
}

std::chrono::microseconds microseconds_of(const std::string& text) {
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    const bool whole = error == std::errc{} && end == text.data() + text.size() && out > 0;
    return std::chrono::microseconds(whole ? out : 0);
}

}  // namespace

ServiceManager::ServiceManager(boost::asio::io_context& loop)
    : socket_(taken("NOTIFY_SOCKET")), watchdog_(taken("WATCHDOG_USEC")), timer_(loop) {
    const std::string pid = taken("WATCHDOG_PID");
    if (!pid.empty() && pid != std::to_string(::getpid())) watchdog_.clear();  // meant for another process
    pause_ = microseconds_of(watchdog_) / 3;
}

void ServiceManager::ready(const std::string& status) {
    say("READY=1\nSTATUS=" + one_line(status, 200));
    if (pause_.count() > 0) live();
}

void ServiceManager::stopping() { say("STOPPING=1"); }

void ServiceManager::give_back() const {
    if (!socket_.empty()) ::setenv("NOTIFY_SOCKET", socket_.c_str(), 1);
    if (!watchdog_.empty()) ::setenv("WATCHDOG_USEC", watchdog_.c_str(), 1);
}

void ServiceManager::live() {
    say("WATCHDOG=1");
    timer_.expires_after(pause_);
    timer_.async_wait([this](boost::system::error_code error) {
        if (!error) live();
    });
}

void ServiceManager::say(const std::string& text) const {
    sockaddr_un to{};
    if (socket_.empty() || socket_.size() >= sizeof to.sun_path) return;
    to.sun_family = AF_UNIX;
    socket_.copy(to.sun_path, sizeof to.sun_path);
    if (to.sun_path[0] == '@') to.sun_path[0] = 0;  // an abstract name
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return;
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
    (void)::sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), length);
    ::close(fd);
}

}  // namespace gantry::daemon
