// The client behind vsoa_client.h and inside the automatic client.
//
// Threads: one lock guards everything that more than one thread may touch; it is never held while a callback runs or a
// thread waits for the peer. "loop" marks what belongs to the thread of the event loop alone.
#pragma once

#include <pthread.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/writer.hpp"

/// What one thread needs to wait for an answer. Guarded by the lock of the client that it is used with.
struct vsoa_client_sync_call {
    bool dynamic = false;
    bool answered = false;
    uint32_t seqno = 0;
    std::atomic<uint32_t> ended{0};  // may be read without the lock; from 1 on the waiting thread may free all this
    std::vector<uint32_t> reply;     // words, so that the header in it is aligned
};

namespace vsoa {

/// A call that waits for its answer. One of on_reply, on_result and sync is set.
struct Call {
    uint8_t type = VSOA_TYPE_RPC;
    int64_t deadline = 0;
    vsoa_client_rpc_func_t on_reply = nullptr;
    vsoa_client_res_func_t on_result = nullptr;
    void* arg = nullptr;
    vsoa_client_sync_call_t* sync = nullptr;

    bool wants_answer() const { return on_reply != nullptr || on_result != nullptr || sync != nullptr; }
};

/// Calls by their numbers. Memory grows with the calls outstanding and stays.
class CallTable {
  public:
    /// Keeps call under a number that no other has. Nothing, with errno EAGAIN, when all are taken.
    std::optional<uint16_t> add(const Call& call);
    /// Null when there is none.
    const Call* find(uint32_t number) const;
    bool erase(uint32_t number);
    /// For a new connection: numbers begin anew.
    void clear();

    /// Erases the calls for which leaves(call) is true.
    template <typename Leaves>
    void erase_if(Leaves leaves) {
        for (Slot& slot : slots_) {
            if (slot.used && leaves(static_cast<const Call&>(slot.call))) release(slot);
        }
    }

  private:
    static constexpr size_t kFirst = 16, kMost = size_t{UINT16_MAX} + 1;

    struct Slot {
        bool used = false;
        uint16_t number = 0;
        Call call;
    };

    void release(Slot& slot) {
        slot.used = false;
        --size_;
    }
    void grow();
    Slot& slot_of(uint32_t number) { return slots_[number & (slots_.size() - 1)]; }

    std::vector<Slot> slots_;  // a power of two; at most half of them used, as long as they are less than the numbers
    size_t size_ = 0;
    uint16_t last_ = 0;
};

class Client {
  public:
    /// handle: what callbacks get.
    Client(vsoa_client_t* handle, vsoa_client_msg_func_t on_message, void* arg);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool open();

    // loop
    /// Ends with ECANCELED when stop_fd becomes readable. name: the service's, when it was looked up.
    bool connect(const Address& server, int64_t deadline, std::string_view password, std::string& info,
                 int stop_fd = -1, const std::string& name = {});
    /// Also frees what a lost connection left. Calls end in the next `input`.
    void disconnect();
    /// Handles what is there; waits for it at most timeout_ms, -1: endless.
    bool input(int timeout_ms = 0);
    /// The calling thread is that of the event loop, as long as this lives.
    class Loop {
      public:
        explicit Loop(Client& client) : client_(client), before_(client.loop_.load(std::memory_order_relaxed)) {
            client_.loop_.store(pthread_self(), std::memory_order_relaxed);
        }
        ~Loop() { client_.loop_.store(before_, std::memory_order_relaxed); }
        Loop(const Loop&) = delete;
        Loop& operator=(const Loop&) = delete;

      private:
        Client& client_;
        const pthread_t before_;
    };
    bool in_loop() const { return loop_ == pthread_self(); }
    bool linger(int seconds);
    void on_datagram(vsoa_client_dat_func_t callback, void* arg);
    Poller& poller() { return poller_; }

    // Any thread.
    bool connected();
    std::optional<Address> server();
    /// Of connections from now on; null: plain.
    void secure(tls::SetupPtr setup);
    bool secured();
    /// Where streams of the present connection go, and how they are encrypted. Nothing with errno ENOTCONN.
    struct StreamTarget {
        Address address;
        tls::SetupPtr setup;
        std::string name;
    };
    std::optional<StreamTarget> stream_target();
    void send_timeout(int64_t timeout_ns);
    /// Sends frame under a fresh number and, when call wants an answer, keeps call until it comes, its deadline passes
    /// or the link is lost.
    bool request(Frame& frame, const Call& call);
    bool send(const Frame& frame);
    bool send_quick(Frame& frame);
    bool request_and_wait(Frame& frame, vsoa_client_sync_call_t& sync, int64_t deadline);
    bool awaits_rpc();

    std::atomic<void*> custom{nullptr};

  private:
    struct Connection : Stream {
        Address server;
        tls::SetupPtr setup;  // null: plain
        std::string name;     // with TLS: what the server's certificate must be for
        Fd udp;
        bool quick = false;  // the server told the number that quick datagrams need
        uint32_t id = 0;
        Receiver receiver;  // loop
    };
    using ConnectionPtr = std::shared_ptr<Connection>;

    static constexpr uint64_t kTcpTag = 1, kUdpTag = 2;

    // loop, without the lock.
    bool open_channels(Connection& connection, int64_t deadline, int stop_fd);
    bool log_in(Connection& connection, int64_t deadline, std::string_view password, std::string& info, int stop_fd);
    bool send_login(Connection& connection, std::string_view password);
    bool accept_login(Connection& connection, const Packet& packet, std::string& info);
    bool adopt(const ConnectionPtr& connection);
    bool read_again();
    void read_ready(int timeout_ms);
    bool read(const ConnectionPtr& connection);
    bool read_once(const ConnectionPtr& connection);
    void fail(Connection& connection);
    void lose(const ConnectionPtr& connection);
    bool dispatch_all(const ConnectionPtr& connection);
    void dispatch(Connection& connection, Packet packet);
    void answered(Packet& packet);
    void deliver(Packet& packet, bool quick);
    void read_quick(const ConnectionPtr& connection);
    void expire();
    void end_orphans();

    // Under the lock.
    Connection* living() const { return connection_ && !connection_->dead ? connection_.get() : nullptr; }
    bool transmit(std::unique_lock<std::mutex>& held, const Frame& frame);
    void watch_deadline(int64_t deadline);
    void end_sync(vsoa_client_sync_call_t& sync, const vsoa_header_t* reply);

    vsoa_client_t* const handle_;
    const vsoa_client_msg_func_t on_message_;
    void* const on_message_arg_;
    std::mutex lock_;
    Poller poller_;
    Writer writer_{lock_, poller_};

    // Under the lock.
    ConnectionPtr connection_;  // changed by the loop alone, which may read it without the lock
    CallTable calls_;
    std::vector<Call> orphans_;  // ended by disconnect, to be told in `input`
    uint16_t last_unanswered_ = 0;
    int64_t armed_ = kForever;
    std::atomic<pthread_t> loop_{};  // its thread, while it is known
    tls::SetupPtr secure_;
    int64_t send_timeout_ns_ = VSOA_CLIENT_DEF_SEND_TIMEOUT * kNanosPerMs;

    // loop
    vsoa_client_dat_func_t on_datagram_ = nullptr;
    void* on_datagram_arg_ = nullptr;
    std::vector<uint32_t> datagram_;
    std::vector<uint8_t> arrived_;  // what was read from the connection
    int guesses_ = 0;               // in a row that there is something to read
    bool only_tcp_ = false;         // had something the last time
    bool orphaned_ = false;
};

}  // namespace vsoa

struct vsoa_client {
    vsoa_client(vsoa_client_msg_func_t on_message, void* arg) : core(this, on_message, arg) {}
    vsoa::Client core;
};
