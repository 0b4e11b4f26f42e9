// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
extern "C" {
#include <sys/pidfd.h>  // of glibc 2.36, which does not say so itself
}

#include "kernel/host/host.hpp"
#include "kernel/isolation/program.hpp"

namespace gantry::isolation {
namespace {

constexpr int kBatch = 16;                             // messages of one turn
constexpr Duration kCollectLimit = milliseconds(500);  // a killed program is collected within, or left to init

// Above every number that the program expects, so that none is overwritten before it is copied.
Fd aside(int fd) { return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 32)); }

std::string errno_text(int error) { return std::strerror(error); }

}  // namespace

Result<std::shared_ptr<Process>> Process::spawn(boost::asio::io_context& io, const std::filesystem::path& program,
                                                int plugin_file, Events events) {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return fail(Code::kFull, "no sockets for its process: " + errno_text(errno));
    Fd ours(ends[0]), theirs(ends[1]);
    const Fd socket = aside(theirs.get()), file = aside(plugin_file);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, socket.get(), kSocketFd);
    ::posix_spawn_file_actions_adddup2(&actions, file.get(), kPluginFd);
    sigset_t none, usual;
    ::sigemptyset(&none);
    ::sigfillset(&usual);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const std::string path = program.string(), parent = std::to_string(::getpid());
    char* const arguments[] = {const_cast<char*>(path.c_str()), const_cast<char*>(parent.c_str()), nullptr};
    pid_t pid = 0;
    const int failed =
        socket && file ? ::posix_spawn(&pid, path.c_str(), &actions, &attributes, arguments, environ) : EMFILE;
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failed != 0) return fail(Code::kUnavailable, path + " cannot be started: " + errno_text(failed));
    std::shared_ptr<Process> made(new Process(io, std::move(events)));
    made->pid_ = pid;
    made->heard_ = host::boottime_now();
    const int pidfd = ::pidfd_open(pid, 0);
    if (pidfd < 0) {
        const int why = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return fail(Code::kUnsupported, "its process cannot be watched (pidfd_open): " + errno_text(why));
    }
    made->socket_.assign(ours.release());
    made->pidfd_.assign(pidfd);
    return made;
}

Process::~Process() { drop(); }

void Process::drop() {
    if (!over_) {
        over_ = true;
        ::pidfd_send_signal(pidfd_.native_handle(), SIGKILL, nullptr, 0);
        (void)collect();
    }
    boost::system::error_code ignored;  // they are gone either way
    socket_.close(ignored);
    pidfd_.close(ignored);
    waiting_.clear();
}

void Process::kill(std::string why) {
    if (over_ || std::exchange(killed_, true)) return;
    why_ = std::move(why);
    ::pidfd_send_signal(pidfd_.native_handle(), SIGKILL, nullptr, 0);
}

gantry_status Process::send(std::string message, const std::vector<int>& fds) {
    if (over_ || killed_) return GANTRY_UNAVAILABLE;
    if (waiting_.empty()) {
        const Sent sent = send_message(socket_.native_handle(), message, fds);
        if (sent == Sent::kNo) return message.size() > kLargeMax ? GANTRY_FULL : GANTRY_UNAVAILABLE;
        if (sent == Sent::kYes) {
            for (const int fd : fds) ::close(fd);
            return GANTRY_OK;
        }
    }
    if (waiting_bytes_ > 0 && waiting_bytes_ + message.size() > kQueueMax) return GANTRY_FULL;
    Waiting& last = waiting_.emplace_back();
    for (const int fd : fds) last.fds.emplace_back(fd);
    waiting_bytes_ += message.size();
    last.message = std::move(message);
    if (listening_) wait_to_send();
    return GANTRY_OK;
}

// False: the other end is gone, which its end will tell.
bool Process::flush() {
    while (!waiting_.empty()) {
        std::vector<int> fds;
        for (const Fd& fd : waiting_.front().fds) fds.push_back(fd.get());
        const Sent sent = send_message(socket_.native_handle(), waiting_.front().message, fds);
        if (sent != Sent::kYes) return sent == Sent::kLater;
        waiting_bytes_ -= waiting_.front().message.size();
        waiting_.pop_front();
    }
    return true;
}

void Process::wait_to_send() {
    if (std::exchange(sending_, true)) return;
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                           self->sending_ = false;
                           if (error || self->over_ || !self->flush()) return;
                           if (!self->waiting_.empty()) self->wait_to_send();
                       });
}

void Process::listen() {
    if (over_ || std::exchange(listening_, true)) return;
    if (!waiting_.empty()) wait_to_send();
    wait_for_messages();
    wait_for_end();
}

void Process::wait_for_messages() {
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                           if (error || self->over_) return;
                           if (self->read(kBatch)) self->wait_for_messages();
                       });
}

void Process::wait_for_end() {
    pidfd_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                          if (!error && !self->over_) self->end();
                      });
}

bool Process::read(int most) {
    for (; most > 0 && !over_ && !killed_; --most) {
        const Message::Got got = message_.receive(socket_.native_handle());
        if (got == Message::Got::kNothing) return true;
        if (got == Message::Got::kEnd) return false;  // its end follows
        Head head;
        if (got == Message::Got::kOne && message_.bytes().size() >= sizeof(head)) {
            std::memcpy(&head, message_.bytes().data(), sizeof(head));
            Reader rest(message_.bytes().substr(sizeof(head)), message_.fds());
            heard_ = host::boottime_now();
            if (events_.message) events_.message(head, rest);
            message_.fds().clear();  // what nobody took
            continue;
        }
        kill(got == Message::Got::kBroken ? "it broke the rules: " + message_.fault()
                                          : "it broke the rules: it sent a message without a head");
        return false;
    }
    return !over_;
}

bool Process::pump(const std::function<bool()>& done, Instant deadline) {
    bool heard_all = false;  // what it said; its end follows
    while (!done()) {
        if (over_) return false;
        const Duration rest = deadline - host::boottime_now();
        if (rest <= Duration::zero()) return false;
        if (!flush()) waiting_.clear();
        const short events = static_cast<short>(waiting_.empty() ? POLLIN : POLLIN | POLLOUT);
        pollfd ready[2] = {{heard_all || killed_ ? -1 : socket_.native_handle(), events, 0},
                           {pidfd_.native_handle(), POLLIN, 0}};
        (void)::poll(ready, 2, static_cast<int>(std::min<std::int64_t>(rest / milliseconds(1) + 1, 1'000)));
        if ((ready[0].revents & (POLLIN | POLLHUP)) != 0) {
            heard_all = !read(kBatch);
            continue;
        }
        if (ready[1].revents != 0) end();
    }
    return true;
}

// What it still said before it ended counts.
void Process::end() {
    if (!killed_) {
        while (!over_ && message_.receive(socket_.native_handle()) == Message::Got::kOne) {
            Head head;
            if (message_.bytes().size() < sizeof(head)) break;
            std::memcpy(&head, message_.bytes().data(), sizeof(head));
            Reader rest(message_.bytes().substr(sizeof(head)), message_.fds());
            if (events_.message) events_.message(head, rest);
            if (killed_) break;
        }
    }
    if (over_) return;
    over_ = true;
    const std::string how = collect();
    boost::system::error_code ignored;  // they are gone either way
    socket_.close(ignored);
    pidfd_.close(ignored);
    if (auto ended = std::exchange(events_.ended, nullptr)) ended(why_.empty() ? how : why_);
}

std::string Process::collect() {
    siginfo_t info{};
    const Instant end = host::boottime_now() + kCollectLimit;
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.native_handle()), &info, WEXITED | WNOHANG) == 0 &&
           info.si_pid == 0) {
        const Duration rest = end - host::boottime_now();
        if (rest <= Duration::zero()) break;
        pollfd ready{pidfd_.native_handle(), POLLIN, 0};
        (void)::poll(&ready, 1, static_cast<int>(rest / milliseconds(1) + 1));
    }
    if (info.si_pid == 0) return "it ended";
    outside_ = !killed_ && info.si_code == CLD_KILLED && info.si_status == SIGKILL;
    if (info.si_code == CLD_EXITED) return "it ended with status " + std::to_string(info.si_status);
    return "it was killed by signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
}

}  // namespace gantry::isolation
