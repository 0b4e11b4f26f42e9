// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/log_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace monitored {
namespace {

constexpr std::size_t kChunk = 64 << 10;
constexpr int kChunksPerTurn = 4;
constexpr auto kLookPeriod = std::chrono::seconds(1);  // for a reader that went away without a word

// A pipe without a reader raises SIGPIPE, which hosts ignore; a socket is asked not to.
ssize_t send_some(int fd, std::string_view text) {
    const ssize_t n = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    return n < 0 && errno == ENOTSOCK ? ::write(fd, text.data(), text.size()) : n;
}

}  // namespace

LogStream::LogStream(gantry::Host& host, gantry::Operation<> op, gantry::Fd out, LogFile log, bool follow)
    : host_(host), op_(std::move(op)), out_(std::move(out)), log_(std::move(log)), follow_(follow) {
    const int flags = ::fcntl(out_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(out_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
        op_.fail(gantry::Code::kInvalid, "logs: the descriptor cannot be written to");
        finished_ = true;
        return;
    }
    look_ = host_.timer(
        kLookPeriod,
        [this] {
            pollfd item{out_.get(), 0, 0};
            const bool gone = ::poll(&item, 1, 0) > 0 && (item.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
            if (!finished_ && (gone || op_.cancelled())) finish();
        },
        kLookPeriod);
    pump();
}

LogStream::~LogStream() {
    host_.unwatch(watch_);
    host_.cancel(look_);
    host_.cancel(turn_);
}

void LogStream::poke() {
    if (!finished_ && !blocked_) pump();
}

void LogStream::last() {
    follow_ = false;
    poke();
}

void LogStream::finish() {
    if (finished_) return;
    finished_ = true;
    host_.unwatch(std::exchange(watch_, 0));
    host_.cancel(std::exchange(look_, 0));
    host_.cancel(std::exchange(turn_, 0));
    out_.reset();  // before the answer: who hears it may expect the end of the stream
    op_.done();
}

bool LogStream::flush() {
    while (!pending_.empty()) {
        const ssize_t n = send_some(out_.get(), pending_);
        if (n >= 0) {
            pending_.erase(0, static_cast<std::size_t>(n));
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            finish();  // nobody reads any more
            return false;
        }
        blocked_ = true;
        if (watch_ == 0) {
            watch_ = host_.watch(out_.get(), gantry::kWritable, [this](std::uint32_t) {
                blocked_ = false;
                host_.change(watch_, 0);
                pump();
            });
        } else {
            host_.change(watch_, gantry::kWritable);
        }
        return false;
    }
    return true;
}

void LogStream::pump() {
    for (int i = 0; i < kChunksPerTurn; ++i) {
        if (!flush()) return;
        if (!log_.read(pending_, kChunk)) {
            if (!follow_) finish();
            return;
        }
    }
    // More than a turn's share: go on in a later one, when the loop has seen to others.
    blocked_ = true;
    turn_ = host_.timer(std::chrono::nanoseconds(1), [this] {
        turn_ = 0;
        blocked_ = false;
        pump();
    });
}

}  // namespace monitored
