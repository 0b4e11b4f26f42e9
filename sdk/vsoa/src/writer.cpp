#include "sdk/vsoa/src/writer.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>

namespace vsoa {
namespace {

constexpr size_t kKeptCapacity = 64 * 1024;  // a queue that grew larger gives its memory back when it is empty

constexpr size_t kRecord = 16 * 1024;       // bytes of a TLS record
constexpr size_t kFlat = 1024;              // a packet up to this is copied into one piece: cheaper than five
constexpr size_t kHeldBack = 32 * 1024;     // bytes of answers that wait for each other
constexpr int64_t kLongest_ns = 1'000'000;  // they wait, unless a callback takes longer,
constexpr int64_t kSlow_ns = 20'000'000;    // and after one that takes so long
constexpr int64_t kPause = 64;              // times its time nothing is held back

// Of the kind that needs no call, as errno: eight bytes fit even into a program that loads the library late.
[[gnu::tls_model("initial-exec")]] thread_local Batch* current_batch = nullptr;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS; }

/// Bytes written, 0 when the kernel takes none now, -1 with errno when the connection is broken.
ssize_t outcome(ssize_t written) { return written >= 0 ? written : would_block(errno) ? 0 : -1; }

/// libc makes of it a place where the program may cancel the thread, which is in the middle of a lock here, and takes
/// its time for that. The sanitizers, and the fuzzer's network, must see it.
ssize_t send_now(int fd, const uint8_t* bytes, size_t length) {
    constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(VSOA_SENDS_THROUGH_LIBC)
    return ::send(fd, bytes, length, kFlags);
#else
    return syscall(SYS_sendto, fd, bytes, length, kFlags, nullptr, 0);
#endif
}

ssize_t write_some(const Stream& stream, const uint8_t* bytes, size_t length) {
    if (stream.tls) return stream.tls->write(bytes, length);
    ssize_t written;
    do {
        written = send_now(stream.fd.get(), bytes, length);
    } while (written < 0 && errno == EINTR);
    return outcome(written);
}

/// In records as long as they may be, not one for each piece.
ssize_t write_records(tls::Session& session, const Frame& frame) {
    uint8_t room[kRecord];
    for (size_t done = 0;;) {
        const size_t length = frame.copy(done, room);
        const ssize_t taken = session.write(room, length);
        if (taken < 0) return done > 0 ? static_cast<ssize_t>(done) : taken;
        done += static_cast<size_t>(taken);
        if (static_cast<size_t>(taken) < length || done == frame.size()) return static_cast<ssize_t>(done);
    }
}

ssize_t write_some(const Stream& stream, const Frame& frame) {
    if (frame.flat() != nullptr) return write_some(stream, frame.flat(), frame.size());
    if (stream.tls) return write_records(*stream.tls, frame);
    Frame::Pieces pieces;
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = frame.pieces(0, pieces);
    ssize_t written;
    do {
        written = sendmsg(stream.fd.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (written < 0 && errno == EINTR);
    return outcome(written);
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
    if (!stream.watched && Batch::holds(stream, frame)) return hold(stream, frame);
    if (stream.held_back()) {
        append(stream, frame, 0);
        release(stream);
        return stream.dead ? Offer::kDead : Offer::kTaken;
    }
    if (stream.queued() == 0) {
        ssize_t written;
        if (frame.flat() == nullptr && frame.size() <= kFlat) {
            uint8_t room[kFlat];
            Frame copy = frame;
            copy.flatten(room);
            written = write_some(stream, copy);
        } else {
            written = write_some(stream, frame);
        }
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

Writer::Offer Writer::hold(Stream& stream, const Frame& frame) {
    append(stream, frame, 0);
    if (stream.queued() >= kHeldBack) release(stream);
    return stream.dead ? Offer::kDead : Offer::kTaken;
}

void Writer::release(Stream& stream) {
    if (stream.dead || !stream.held_back()) return;
    const ssize_t written = write_some(stream, stream.queue.data() + stream.queue_head, stream.queued());
    if (written < 0) return drop(stream);
    stream.queue_head += static_cast<size_t>(written);
    stream.sent += static_cast<size_t>(written);
    if (stream.queued() == 0) return forget(stream);
    mark(stream);
}

bool Writer::send(std::unique_lock<std::mutex>& held, Stream& stream, const Frame& frame) {
    Offer offered = offer(stream, frame);
    if (offered == Offer::kFull) offered = wait_for_room(held, stream, frame);
    if (offered == Offer::kTaken) return true;
    errno = ENOTCONN;
    return false;
}

Writer::Offer Writer::wait_for_room(std::unique_lock<std::mutex>& held, Stream& stream, const Frame& frame) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(stream.send_timeout_ns);
    for (bool last = false;;) {
        last = room_.wait_until(held, until) == std::cv_status::timeout;
        const Offer offered = offer(stream, frame);
        if (offered != Offer::kFull) return offered;
        if (last) drop_late(stream);
    }
}

void Writer::enqueue(Stream& stream, const Frame& frame, size_t offset) {
    append(stream, frame, offset);
    if (!stream.dead) mark(stream);
}

void Writer::append(Stream& stream, const Frame& frame, size_t offset) {
    try {
        frame.append_to(stream.queue, offset);
    } catch (const std::exception&) {
        // Part of the packet may be on the wire, so the stream cannot go on without the rest.
        drop(stream);
    }
}

/// What is queued now has to be gone by the send timeout; the Writer's thread sees to it.
void Writer::mark(Stream& stream) {
    try {
        stream.marks.push_back({stream.sent + stream.queued(), now_ns() + stream.send_timeout_ns});
        if (stream.queued() >= kClogged) stream.clogged = true;
        if (!stream.watched && !watch(stream)) drop(stream);
    } catch (const std::exception&) {
        drop(stream);
    }
}

bool Writer::start() {
    if (thread_.joinable()) return true;
    if (!poller_.open()) return false;
    // Signals are the program's business: the thread takes none.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = std::thread([this] { run(); });
    } catch (const std::exception&) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread_.joinable();
}

void Writer::alarm(int64_t deadline) {
    if (deadline >= alarm_ || !start()) return;
    alarm_ = deadline;
    poller_.wake();
}

bool Writer::watch(Stream& stream) {
    if (!start()) return false;
    watched_.push_back(&stream);
    stream.watched = true;
    if (!poller_.add(stream.fd.get(), EPOLLOUT, reinterpret_cast<uintptr_t>(&stream))) return false;
    poller_.wake();  // the thread may sleep past the new deadline
    return true;
}

void Writer::flush(Stream& stream) {
    while (!stream.dead && stream.queued() > 0) {
        const ssize_t written = write_some(stream, stream.queue.data() + stream.queue_head, stream.queued());
        if (written < 0) drop(stream);
        if (written <= 0) break;
        stream.queue_head += static_cast<size_t>(written);
        stream.sent += static_cast<size_t>(written);
        auto& marks = stream.marks;
        while (stream.marks_head < marks.size() && marks[stream.marks_head].end <= stream.sent) ++stream.marks_head;
    }
    if (stream.dead || stream.queued() == 0) {
        forget(stream);
    } else if (stream.queue_head >= stream.queue.size() / 2) {
        stream.queue.erase(stream.queue.begin(), stream.queue.begin() + static_cast<ptrdiff_t>(stream.queue_head));
        stream.queue_head = 0;
        stream.marks.erase(stream.marks.begin(), stream.marks.begin() + static_cast<ptrdiff_t>(stream.marks_head));
        stream.marks_head = 0;
    }
    if (stream.queued() < kClogged / 2) unclog(stream);
    room_.notify_all();
}

void Writer::unclog(Stream& stream) {
    if (stream.clogged.exchange(false)) loop_.wake();
}

void Writer::drop(Stream& stream) {
    stream.dead = true;
    if (stream.fd && stream.tls) stream.tls->goodbye();
    if (stream.fd) shutdown(stream.fd.get(), SHUT_RDWR);
    room_.notify_all();
}

void Writer::drop_late(Stream& stream) {
    if (!stream.dead) ++late_;
    drop(stream);
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
    stream.marks_head = 0;
    if (stream.queue.capacity() > kKeptCapacity) stream.queue.shrink_to_fit();
    unclog(stream);
}

int64_t Writer::first_deadline() const {
    int64_t first = kForever;
    for (const Stream* stream : watched_) {
        first = std::min(first, stream->deadline());
    }
    return first;
}

void Writer::run() {
    std::unique_lock held(lock_);
    while (!stop_) {
        const int64_t deadline = std::min(first_deadline(), alarm_);
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
            if (stream->deadline() <= now) drop_late(*stream);
            if (stream->dead) forget(*stream);
        }
        if (alarm_ <= now) alarm_ = on_alarm_(now);
    }
}

Batch::Batch(Writer& writer, Stream& stream) : writer_(writer), stream_(stream), outer_(current_batch) {
    current_batch = this;
}

Batch::~Batch() {
    current_batch = outer_;
    if (!held_) return;
    look_at_clock();
    flush();
}

void Batch::packet(bool another) {
    if (held_ && look_at_clock()) flush();
    if (writer_.hold_again_ != 0 && writer_.hold_again_ <= now_ns()) writer_.hold_again_ = 0;
    holding_ = another && writer_.hold_again_ == 0;
}

/// Whether the first that was held back has waited too long.
bool Batch::look_at_clock() {
    const int64_t now = now_ns(), waited = now - since_;
    if (waited >= kSlow_ns) writer_.hold_again_ = now + kPause * waited;
    return waited >= kLongest_ns;
}

void Batch::flush() {
    held_ = false;
    const std::lock_guard guard(writer_.lock_);
    writer_.release(stream_);
}

bool Batch::holds(const Stream& stream, const Frame& frame) {
    Batch* const batch = current_batch;
    if (batch == nullptr || !batch->holding_ || &batch->stream_ != &stream || !frame.may_wait()) return false;
    if (!batch->held_) batch->since_ = now_ns();
    return batch->held_ = true;
}

}  // namespace vsoa
