// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/socket.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace gantry::cli {

namespace {

constexpr auto kConnectPatience = std::chrono::seconds(5);

std::atomic<bool> caught{false};
std::atomic<bool> catching{false};
sigset_t mask_while_waiting;

void on_signal(int) { caught = true; }

std::string user_name() {
    const auto* entry = getpwuid(geteuid());
    return entry ? entry->pw_name : std::to_string(geteuid());
}

std::string owner_of(const struct stat& about) {
    const auto* user = getpwuid(about.st_uid);
    std::string text = user ? user->pw_name : std::to_string(about.st_uid);
    const auto* group = getgrgid(about.st_gid);
    return text + ":" + (group ? group->gr_name : std::to_string(about.st_gid));
}

std::string no_permission(const std::string& path, const struct stat* about) {
    std::string text = "cannot reach gantryd at " + path + ": user " + user_name() + " may not use the socket";
    if (about) {
        char mode[8];
        std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(about->st_mode & 07777));
        text += " (owner " + owner_of(*about) + ", mode " + mode + ")";
    }
    return text + "; join its group (`sudo usermod -aG gantry " + user_name() + "`, then log in again) or use sudo";
}

// Says which socket, whether it exists, and what to do.
std::unexpected<Trouble> unreachable(const std::string& path, int error) {
    struct stat about {};
    const bool exists = stat(path.c_str(), &about) == 0;
    const int stat_error = exists ? 0 : errno;
    std::string text = "cannot reach gantryd at " + path + ": ";
    if (!exists && stat_error == EACCES) {
        text = no_permission(path, nullptr);
    } else if (!exists && stat_error == ENOENT) {
        text +=
            "there is no such socket; start gantryd (`sudo systemctl start gantryd`), or name another with "
            "--socket PATH or GANTRY_SOCKET";
    } else if (!exists) {
        text += std::string(std::strerror(stat_error)) + "; name another with --socket PATH or GANTRY_SOCKET";
    } else if (!S_ISSOCK(about.st_mode)) {
        text += "expected a socket, got another kind of file; name the socket with --socket PATH or GANTRY_SOCKET";
    } else if (error == EACCES || error == EPERM) {
        text = no_permission(path, &about);
    } else if (error == ECONNREFUSED) {
        text +=
            "the socket exists but nobody listens on it, so gantryd has ended; start it (`sudo systemctl start "
            "gantryd`) and see `journalctl -u gantryd`";
    } else if (error == EAGAIN) {
        text += "it accepted no connection for 5 s; see `journalctl -u gantryd`";
    } else {
        text += std::strerror(error);
    }
    return trouble(exit_status::kUnreachable, Code::kUnavailable, std::move(text));
}

// sun_path holds 107 bytes; a longer path is reached through its folder.
int connect_to(int fd, const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    int folder = -1;
    std::string name = path;
    if (name.size() >= sizeof address.sun_path) {
        const std::filesystem::path whole(path);
        folder = open(whole.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0) return errno;
        name = "/proc/self/fd/" + std::to_string(folder) + "/" + whole.filename().string();
    }
    int error = ENAMETOOLONG;
    if (name.size() < sizeof address.sun_path) {
        std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
        error = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
    }
    if (folder >= 0) close(folder);
    return error;
}

}  // namespace

void catch_interrupts() {
    if (catching.exchange(true)) return;
    // Blocked except while waiting: a signal between the check and the wait is not lost.
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &mask_while_waiting);
    sigdelset(&mask_while_waiting, SIGINT);
    sigdelset(&mask_while_waiting, SIGTERM);
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return caught; }

Waited wait_for(int fd, short events, Clock::time_point deadline) {
    while (true) {
        if (interrupted()) return Waited::kInterrupted;
        pollfd item{fd, events, 0};
        timespec left{};
        const bool forever = deadline == Clock::time_point::max();
        if (!forever) {
            const auto ns = std::max<std::int64_t>(
                0, std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count());
            left = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
        }
        const int ready = ppoll(&item, 1, forever ? nullptr : &left, catching ? &mask_while_waiting : nullptr);
        if (ready > 0) return Waited::kReady;
        if (ready == 0) return Waited::kTimeout;
        if (errno != EINTR) return Waited::kReady;  // the read or write that follows reports it
    }
}

Outcome<Socket> Socket::connect(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return trouble(exit_status::kFailed, Code::kFailed,
                       "cannot make a socket: " + std::string(std::strerror(errno)));
    Socket socket(fd);
    const auto deadline = Clock::now() + kConnectPatience;
    int error = connect_to(fd, path);
    while (error == EAGAIN && Clock::now() < deadline) {  // its queue of connections is full
        if (wait_for(-1, 0, std::min(deadline, Clock::now() + milliseconds(20))) == Waited::kInterrupted) {
            return interrupted_trouble();
        }
        error = connect_to(fd, path);
    }
    if (error != 0) return unreachable(path, error);
    return socket;
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), deadline_(other.deadline_) {}

Socket& Socket::operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    deadline_ = other.deadline_;
    return *this;
}

Socket::~Socket() {
    if (fd_ >= 0) close(fd_);
}

namespace {

boost::system::error_code as_error(Waited waited) {
    namespace errc = boost::system::errc;
    return errc::make_error_code(waited == Waited::kTimeout ? errc::timed_out : errc::operation_canceled);
}

}  // namespace

std::size_t Socket::read(void* into, std::size_t size, boost::system::error_code& error) {
    while (true) {
        const ssize_t got = recv(fd_, into, size, 0);
        error = {};
        if (got >= 0) return static_cast<std::size_t>(got);
        error.assign(errno, boost::system::system_category());
        if (errno != EAGAIN && errno != EINTR) return 0;
        if (const auto waited = wait_for(fd_, POLLIN, deadline_); waited != Waited::kReady) {
            error = as_error(waited);
            return 0;
        }
    }
}

std::size_t Socket::write(const void* from, std::size_t size, boost::system::error_code& error) {
    while (true) {
        const ssize_t sent = send(fd_, from, size, MSG_NOSIGNAL);
        error = {};
        if (sent >= 0) return static_cast<std::size_t>(sent);
        error.assign(errno, boost::system::system_category());
        if (errno != EAGAIN && errno != EINTR) return 0;
        // Also woken by an early answer, which the caller looks for.
        if (const auto waited = wait_for(fd_, POLLOUT | POLLIN, deadline_); waited != Waited::kReady) {
            error = as_error(waited);
            return 0;
        }
        if (readable()) {
            error = {};
            return 0;
        }
    }
}

bool Socket::readable() const {
    pollfd item{fd_, POLLIN, 0};
    return poll(&item, 1, 0) > 0;
}

}  // namespace gantry::cli
