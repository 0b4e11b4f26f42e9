#include "sdk/vsoa/src/writer.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>

namespace vsoa {
namespace {

constexpr size_t kKeptCapacity = 64 * 1024;  // a queue that grew larger gives its memory back when it is empty

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS; }

/// Bytes written, 0 when the kernel takes none now, -1 with errno when the connection is broken.
ssize_t write_some(int fd, iovec* pieces, size_t count) {
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = count;
    for (;;) {
        const ssize_t written = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written >= 0) return written;
        if (errno != EINTR) return would_block(errno) ? 0 : -1;
    }
}

}  // namespace

Writer::~Writer() {
    {
        const std::lock_guard guard(lock_);
        stop_ = true;
        if (thread_.joinable()) poller_.wake();
    }
    if (thread_.joinable()) thread_.join();
}

Writer::Offer Writer::offer(Stream& stream, const Frame& frame) {
    if (stream.dead) return Offer::kDead;
    if (stream.queued() == 0) {
        Frame::Pieces pieces;
        const ssize_t written = write_some(stream.fd.get(), pieces.data(), frame.pieces(0, pieces));
        if (written < 0) {
            drop(stream);
            return Offer::kDead;
        }
        if (static_cast<size_t>(written) == frame.size()) return Offer::kTaken;
        enqueue(stream, frame, static_cast<size_t>(written));
        return stream.dead ? Offer::kDead : Offer::kTaken;
    }
    if (stream.queued() + frame.size() > kMaxQueuedBytes) return Offer::kFull;
    enqueue(stream, frame, 0);
    return stream.dead ? Offer::kDead : Offer::kTaken;
}

bool Writer::send(std::unique_lock<std::mutex>& held, Stream& stream, const Frame& frame) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(stream.send_timeout_ns);
    for (bool last = false;;) {
        const Offer offered = offer(stream, frame);
        if (offered == Offer::kTaken) return true;
        if (offered == Offer::kFull && last) drop(stream);
        if (stream.dead) break;
        last = room_.wait_until(held, until) == std::cv_status::timeout;
    }
    errno = ENOTCONN;
    return false;
}

void Writer::enqueue(Stream& stream, const Frame& frame, size_t offset) {
    try {
        frame.append_to(stream.queue, offset);
        stream.marks.push_back({stream.sent + stream.queued(), now_ns() + stream.send_timeout_ns});
        if (!stream.watched && !watch(stream)) drop(stream);
    } catch (const std::exception&) {
        // Part of the packet may be on the wire, so the stream cannot go on without the rest.
        drop(stream);
    }
}

bool Writer::watch(Stream& stream) {
    if (!thread_.joinable()) {
        if (!poller_.open()) return false;
        // Signals are the program's business: the thread takes none.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            thread_ = std::thread([this] { run(); });
        } catch (const std::exception&) {
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            return false;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    watched_.push_back(&stream);
    stream.watched = true;
    if (!poller_.add(stream.fd.get(), EPOLLOUT, reinterpret_cast<uintptr_t>(&stream))) return false;
    poller_.wake();  // the thread may sleep past the new deadline
    return true;
}

void Writer::flush(Stream& stream) {
    while (!stream.dead && stream.queued() > 0) {
        iovec piece = {stream.queue.data() + stream.queue_head, stream.queued()};
        const ssize_t written = write_some(stream.fd.get(), &piece, 1);
        if (written < 0) drop(stream);
        if (written <= 0) break;
        stream.queue_head += static_cast<size_t>(written);
        stream.sent += static_cast<size_t>(written);
        while (!stream.marks.empty() && stream.marks.front().end <= stream.sent) stream.marks.pop_front();
    }
    if (stream.dead || stream.queued() == 0) {
        forget(stream);
    } else if (stream.queue_head >= stream.queue.size() / 2) {
        stream.queue.erase(stream.queue.begin(), stream.queue.begin() + static_cast<ptrdiff_t>(stream.queue_head));
        stream.queue_head = 0;
    }
    room_.notify_all();
}

void Writer::drop(Stream& stream) {
    stream.dead = true;
    if (stream.fd) shutdown(stream.fd.get(), SHUT_RDWR);
    room_.notify_all();
}

void Writer::forget(Stream& stream) {
    if (stream.watched) {
        poller_.remove(stream.fd.get());
        std::erase(watched_, &stream);
        stream.watched = false;
    }
    stream.queue.clear();
    stream.queue_head = 0;
    stream.marks.clear();
    if (stream.queue.capacity() > kKeptCapacity) stream.queue.shrink_to_fit();
}

int64_t Writer::first_deadline() const {
    int64_t first = kForever;
    for (const Stream* stream : watched_) {
        if (!stream->marks.empty()) first = std::min(first, stream->marks.front().deadline);
    }
    return first;
}

void Writer::run() {
    std::unique_lock held(lock_);
    while (!stop_) {
        const int64_t deadline = first_deadline();
        held.unlock();
        pollfd entry = {poller_.fd(), POLLIN, 0};
        poll(&entry, 1, poll_timeout_ms(deadline, now_ns()));
        held.lock();
        // Asked under the lock: a stream that was forgotten meanwhile is not reported any more.
        for (const epoll_event& event : poller_.ready()) {
            auto* stream = reinterpret_cast<Stream*>(static_cast<uintptr_t>(event.data.u64));
            if (std::find(watched_.begin(), watched_.end(), stream) != watched_.end()) flush(*stream);
        }
        const int64_t now = now_ns();
        const std::vector<Stream*> present = watched_;
        for (Stream* stream : present) {
            if (!stream->marks.empty() && stream->marks.front().deadline <= now) drop(*stream);
            if (stream->dead) forget(*stream);
        }
    }
}

}  // namespace vsoa
