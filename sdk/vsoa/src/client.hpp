// The client behind vsoa_client.h and inside the automatic client.
//
// Threads: one lock guards everything that more than one thread may touch; it is never held while a callback runs or a
// thread waits for the peer. "loop" marks what belongs to the thread of the event loop alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/writer.hpp"

/// What one thread needs to wait for an answer. Guarded by the lock of the client that it is used with.
struct vsoa_client_sync_call {
    bool dynamic = false;
    bool ended = false;
    bool answered = false;
    uint32_t seqno = 0;
    std::condition_variable changed;
    std::vector<uint32_t> reply;  // words, so that the header in it is aligned
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

class Client {
  public:
    /// handle: what callbacks get.
    Client(vsoa_client_t* handle, vsoa_client_msg_func_t on_message, void* arg);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool open();

    // loop
    /// Ends with ECANCELED when stop_fd becomes readable.
    bool connect(const Address& server, int64_t deadline, std::string_view password, std::string& info,
                 int stop_fd = -1);
    /// Also frees what a lost connection left. Calls end in the next `input`.
    void disconnect();
    /// Handles what is there; waits for it at most timeout_ms, -1: endless.
    bool input(int timeout_ms = 0);
    bool linger(int seconds);
    void on_datagram(vsoa_client_dat_func_t callback, void* arg);
    Poller& poller() { return poller_; }

    // Any thread.
    bool connected();
    std::optional<Address> server();
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
        Fd udp;
        bool quick = false;  // the server told the number that quick datagrams need
        uint32_t id = 0;
        Receiver receiver;  // loop
    };
    using ConnectionPtr = std::shared_ptr<Connection>;

    static constexpr uint64_t kTcpTag = 1, kUdpTag = 2;

    // loop, without the lock.
    bool log_in(Connection& connection, int64_t deadline, std::string_view password, std::string& info, int stop_fd);
    bool send_login(Connection& connection, std::string_view password);
    bool accept_login(Connection& connection, const Packet& packet, std::string& info);
    bool adopt(const ConnectionPtr& connection);
    void read(const ConnectionPtr& connection, bool readable);
    bool dispatch_all(const ConnectionPtr& connection);
    void dispatch(Connection& connection, Packet packet);
    void answered(Packet& packet);
    void deliver(Packet& packet, bool quick);
    void read_quick(const ConnectionPtr& connection);
    void expire();
    void end_orphans();
    bool present(const ConnectionPtr& connection);

    // Under the lock.
    Connection* living() const { return connection_ && !connection_->dead ? connection_.get() : nullptr; }
    std::optional<uint32_t> free_number();
    void watch_deadline(int64_t deadline);
    void end_sync(vsoa_client_sync_call_t& sync, const vsoa_header_t* reply);

    vsoa_client_t* const handle_;
    const vsoa_client_msg_func_t on_message_;
    void* const on_message_arg_;
    std::mutex lock_;
    Writer writer_{lock_};
    Poller poller_;

    // Under the lock.
    ConnectionPtr connection_;
    std::unordered_map<uint32_t, Call> calls_;
    std::vector<Call> orphans_;  // ended by disconnect, to be told in `input`
    uint16_t last_number_ = 0;
    uint16_t last_unanswered_ = 0;
    int64_t armed_ = kForever;
    int64_t send_timeout_ns_ = VSOA_CLIENT_DEF_SEND_TIMEOUT * kNanosPerMs;

    // loop
    vsoa_client_dat_func_t on_datagram_ = nullptr;
    void* on_datagram_arg_ = nullptr;
    std::vector<uint32_t> datagram_;
};

}  // namespace vsoa

struct vsoa_client {
    vsoa_client(vsoa_client_msg_func_t on_message, void* arg) : core(this, on_message, arg) {}
    vsoa::Client core;
};
