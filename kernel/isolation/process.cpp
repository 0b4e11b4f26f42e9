// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/process.hpp"

#include <poll.h>

#include <algorithm>
#include <csignal>
extern "C" {
#include <sys/pidfd.h>  // of glibc 2.36, which does not say so itself
}

#include "kernel/host/host.hpp"
#include "kernel/isolation/launch.hpp"

namespace gantry::isolation {
namespace {}  // namespace

Result<std::shared_ptr<Process>> Process::spawn(host::Loop& loop, const std::filesystem::path& program, int plugin_file,
                                                Events events) {
    GANTRY_TRY(launched, launch(program, plugin_file));
    std::shared_ptr<Process> made(new Process(loop, std::move(events)));
    made->pid_ = launched.pid;
    made->heard_ = host::boottime_now();
    made->socket_.assign(launched.socket.release());
    made->pidfd_.assign(launched.pidfd.release());
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
                           self->loop_.gather([&] {
                               if (self->read()) self->wait_for_messages();
                           });
                       });
}

void Process::wait_for_end() {
    pidfd_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                          if (!error && !self->over_) self->end();
                      });
}

bool Process::read() {
    while (!over_ && !killed_) {
        const Message::Got got = message_.receive(socket_.native_handle());
        if (got == Message::Got::kNothing) break;
        if (got == Message::Got::kEnd) return false;  // its end follows
        Head head;
        if (got == Message::Got::kOne && message_.bytes().size() >= sizeof(head)) {
            std::memcpy(&head, message_.bytes().data(), sizeof(head));
            Reader rest(message_.bytes().substr(sizeof(head)), message_.fds());
            heard_ = host::boottime_now();
            if (events_.message) events_.message(head, rest);
            message_.fds().clear();  // what nobody took
            if (batch_.more()) continue;
            break;
        }
        kill(got == Message::Got::kBroken ? "it broke the rules: " + message_.fault()
                                          : "it broke the rules: it sent a message without a head");
        return false;
    }
    batch_.end();
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
            heard_all = !read();
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
    const siginfo_t info = isolation::collect(pidfd_.native_handle());
    outside_ = !killed_ && info.si_pid != 0 && info.si_code == CLD_KILLED && info.si_status == SIGKILL;
    return describe_end(info);
}

}  // namespace gantry::isolation
