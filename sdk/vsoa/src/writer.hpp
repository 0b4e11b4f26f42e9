// Write side of TCP connections, shared by server and client.
//
// A packet is written at once by the thread that sends it when nothing is queued before it; what the kernel does not
// take is queued and sent by a thread of the Writer, which is started when it is first needed. So a program whose event
// loop is busy still sends, and one slow peer delays nobody: its queue is bounded, and a packet that was not handed to
// the kernel within the send timeout ends the connection.
//
// All functions are called with the owner's lock held, except construction and destruction.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/tls.hpp"

namespace vsoa {

class Batch;

inline constexpr size_t kMaxQueuedBytes = 1024 * 1024;  // for each connection
inline constexpr size_t kClogged = 256 * 1024;          // queued bytes from which on a peer is asked no more

/// One TCP connection: its descriptor, what waits to be sent and, with TLS, what encrypts it.
struct Stream {
    Fd fd;
    std::unique_ptr<tls::Session> tls;  // null: plain
    std::atomic<bool> dead{false};      // shut down; the event loop sees end of file and cleans up
    std::atomic<bool> clogged{false};   // so much is queued that what the peer asks for should wait
    int64_t send_timeout_ns = 0;

    /// As recv.
    ssize_t receive(void* to, size_t room) { return tls ? tls->read(to, room) : recv(fd.get(), to, room, 0); }
    /// Bytes may have arrived that epoll does not tell of.
    bool pending() const { return tls && !dead && tls->pending(); }

    size_t queued() const { return queue.size() - queue_head; }

    /// Bytes wait although the kernel would take them: see Batch.
    bool held_back() const { return queued() > 0 && !watched; }

    // The rest is the Writer's.
    struct Mark {
        uint64_t end;  // count of bytes of this stream at which a queued packet ends
        int64_t deadline;
    };
    std::vector<uint8_t> queue;
    size_t queue_head = 0;
    uint64_t sent = 0;  // bytes handed to the kernel out of the queue
    std::vector<Mark> marks;
    size_t marks_head = 0;
    bool watched = false;  // known to the Writer's thread

    /// When the first of what is queued has to be gone.
    int64_t deadline() const { return marks_head < marks.size() ? marks[marks_head].deadline : kForever; }
};

class Writer {
  public:
    /// lock: the owner's, taken by the Writer's thread. loop: woken when a stream is no longer clogged. on_alarm: run
    /// by that thread under the lock, see alarm; returns when it wants to run again.
    Writer(std::mutex& lock, Poller& loop, std::function<int64_t(int64_t now)> on_alarm = nullptr)
        : lock_(lock), loop_(loop), on_alarm_(std::move(on_alarm)) {}
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    enum class Offer { kTaken, kFull, kDead };

    /// Sends or queues a packet. kFull: no room in the queue. Never waits.
    Offer offer(Stream& stream, const Frame& frame);

    /// Sends what is held back.
    void release(Stream& stream);

    /// Like offer, but waits for room, at most the send timeout; a stream that has none by then is dropped. Gives the
    /// lock away while it waits; the caller keeps the stream alive. False with errno ENOTCONN.
    bool send(std::unique_lock<std::mutex>& held, Stream& stream, const Frame& frame);

    /// Ends a connection: nothing more is sent or received, the event loop sees it.
    void drop(Stream& stream);

    /// Has on_alarm run at this time at the latest, as far as there is a thread for it.
    void alarm(int64_t deadline);
    void no_alarm() { alarm_ = kForever; }

    /// To be called before the stream's descriptor is closed.
    void forget(Stream& stream);

    /// How many streams were dropped because a packet was not taken in time. Any thread.
    uint64_t late() const { return late_; }

  private:
    friend class Batch;
    Offer wait_for_room(std::unique_lock<std::mutex>& held, Stream& stream, const Frame& frame);
    Offer hold(Stream& stream, const Frame& frame);
    void append(Stream& stream, const Frame& frame, size_t offset);
    void mark(Stream& stream);
    void enqueue(Stream& stream, const Frame& frame, size_t offset);
    void flush(Stream& stream);
    bool start();
    bool watch(Stream& stream);
    void unclog(Stream& stream);
    void drop_late(Stream& stream);
    void run();
    int64_t first_deadline() const;

    std::mutex& lock_;
    Poller& loop_;
    const std::function<int64_t(int64_t now)> on_alarm_;
    int64_t alarm_ = kForever;
    std::condition_variable room_;
    Poller poller_;
    std::vector<Stream*> watched_;
    std::thread thread_;
    bool stop_ = false;
    std::atomic<uint64_t> late_{0};
    int64_t hold_again_ = 0;  // loop: of the owner's
};

/// Packets that arrived together are answered together. While the owner's loop handles packets of a stream and more of
/// them are there, what the same thread sends on that stream and may wait (Frame::may_wait) is held back, and goes out
/// in one piece with what the last one's callback sends, or when something is sent that may not wait. A program whose
/// callbacks take long gets nothing held back for a while after the first.
class Batch {
  public:
    Batch(Writer& writer, Stream& stream);
    ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    /// Before each packet: whether another one is there behind it.
    void packet(bool another);

    /// Of the calling thread, on this stream, right now.
    static bool holds(const Stream& stream, const Frame& frame);

  private:
    friend class Writer;
    bool look_at_clock();
    void flush();

    Writer& writer_;
    Stream& stream_;
    Batch* const outer_;
    bool holding_ = false, held_ = false;
    int64_t since_ = 0;
};

}  // namespace vsoa
