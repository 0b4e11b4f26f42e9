// The server behind vsoa_server.h.
//
// Threads: one lock guards everything that more than one thread may touch; it is never held while a callback runs or a
// thread waits for a peer, and a publish to many gives it to others in between. "loop" marks what belongs to the thread
// of the event loop alone.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/topics.hpp"
#include "sdk/vsoa/src/writer.hpp"

namespace vsoa {

// Of one client.
inline constexpr size_t kMaxSubscriptions = 4096;
inline constexpr size_t kMaxSubscribedBytes = 256 * 1024;
// New connections that may come at once, and how many a millisecond when they go on: taking one costs as much as some
// calls of a client that is there already. The others wait in the listening socket's queue.
inline constexpr int64_t kAcceptBurst = 1024, kAcceptsPerMs = 4;
// Of connections that have not logged in: how many, and how long their packets may be.
inline constexpr size_t kMaxStrangers = 64;
inline constexpr size_t kMaxLoginPacket = 4096;

/// A connection accepted by a server.
struct Link : Stream {
    // What a publish looks at stands beside the stream: with many clients, memory is what it waits for.
    bool logged_in = false;
    bool authed = true;
    bool announced = false;  // loop: the callback for clients has been told
    bool refused = false;    // loop: login failed, only waits for the peer to close
    bool paused = false;     // loop: is not read, for the others' sake
    bool writes = false;     // loop: the TLS handshake waits for room to send
    bool parked = false;     // loop: the TLS handshake waits for its turn
    bool spoke = false;      // loop: something has come
    vsoa_cli_id_t id = 0;
    Address peer;
    std::optional<Address> own;  // this machine's end
    int priority = 0;
    std::optional<Address> quick;  // where its quick channel is
    Subscriptions subscriptions;
    void* custom = nullptr;
    int64_t login_by = 0;  // when it has to have logged in
    Receiver receiver;     // loop

    bool living() const { return logged_in && !dead; }
};

using LinkPtr = std::shared_ptr<Link>;

class Server {
  public:
    /// handle: what callbacks get.
    Server(vsoa_server_t* handle, const char* info);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    bool open();
    bool start(const Address& address);
    bool started() const { return started_; }
    std::optional<Address> address() const;
    bool bind_interface(const char* name);
    /// False with errno EMSGSIZE: no login could carry it.
    bool password(const char* text);
    /// Null: no TLS. False with errno EALREADY.
    bool secure(tls::SetupPtr setup);

    // Any thread.
    int count();
    int ids(vsoa_cli_id_t* out, int max);
    bool is_subscribed(std::string_view url);
    bool is_subscribed(vsoa_cli_id_t id, std::string_view url);
    bool publish(std::string_view url, const Frame& frame);
    bool quick_publish(std::string_view url, const Frame& frame);
    bool send_to(vsoa_cli_id_t id, const Frame& frame);
    bool quick_datagram(vsoa_cli_id_t id, const Frame& frame);
    bool drop_client(vsoa_cli_id_t id);
    bool priority(vsoa_cli_id_t id, int value);
    void send_timeout(bool present_too, int64_t timeout_ns);
    int64_t send_timeout();
    /// setup: what the stream is encrypted with, null: nothing.
    Fd stream_listener(uint16_t& tunid, tls::SetupPtr& setup);
    /// Runs use(link) under the lock. False with errno ENOENT when there is no such client.
    template <typename Use>
    bool with_client(vsoa_cli_id_t id, Use use) {
        const auto guard = enter();
        const LinkPtr link = find(id);
        return link && use(*link);
    }

    // loop
    void listener(std::string_view url, vsoa_server_cmd_func_t callback, void* arg);
    void remove_listener(std::string_view url);
    void on_client(vsoa_server_cli_func_t callback, void* arg) { on_client_ = {callback, arg}; }
    void on_datagram(vsoa_server_dat_func_t callback, void* arg) { on_datagram_ = {callback, arg}; }
    int add_to(fd_set* set) const { return started_ ? poller_.add_to(set) : -1; }
    bool in(const fd_set* set) const { return started_ && poller_.in(set); }
    /// Handles what is there; waits for it at most timeout_ms, -1: endless.
    void input(int timeout_ms = 0);
    /// Time from one new connection to the next when they go on; 0: as many as come, at once. For a fuzzer, which makes
    /// more than it may. Before start.
    void accept_interval(int64_t ns) { accept_interval_ns_ = ns; }
    /// Kept of connections that have not logged in, some of which may be gone.
    size_t deadlines() const { return logins_.size(); }
    /// A callback runs.
    bool inside() const { return depth_ > 0; }

    /// Of connections, see vsoa_stats.h. Any thread may read them.
    struct Counts {
        std::atomic<uint64_t> accepted{0}, logins{0}, broken{0}, refused{0}, insecure{0}, late{0};
    };
    const Counts& counts() const { return counts_; }
    uint64_t slow_clients() const { return writer_.late(); }

    std::atomic<void*> custom{nullptr};

  private:
    template <typename Function>
    struct Callback {
        Function function = nullptr;
        void* arg = nullptr;
    };
    static constexpr uint64_t kListenTag = 1ull << 32, kQuickTag = kListenTag + 1;  // above every client id

    bool bind_sockets(const Address& address);
    bool tied(int fd) const;

    /// Takes the lock; while a publish goes to many, in turn with it.
    std::unique_lock<std::mutex> enter() {
        if (fanning_.load(std::memory_order_relaxed) == 0) return std::unique_lock(lock_);
        const std::lock_guard next(next_);
        return std::unique_lock(lock_);
    }

    // Under the lock.
    struct Audience;
    struct Fan;
    LinkPtr find(vsoa_cli_id_t id);
    bool reaches(const Link& link, std::string_view url);
    void reorder();
    vsoa_cli_id_t free_id();
    int64_t end_strangers(int64_t now);
    Audience& audience(std::unique_lock<std::mutex>& held, std::string_view url);
    void gather(Audience& audience, std::string_view url);
    std::vector<LinkPtr> publish_now(std::unique_lock<std::mutex>& held, std::string_view url, const Frame& frame);

    // loop, without the lock.
    void accept_all();
    bool accept_some(int most, int64_t now);
    void accept_one(Fd fd, const Address& peer);
    void make_room();
    LinkPtr first_to_go();
    void pause_accept(int64_t until);
    void check_deadlines();
    void arm();
    bool read_busy();
    void handle_ready(int timeout_ms);
    bool read_link(const LinkPtr& link);
    bool read_once(const LinkPtr& link);
    void read_pending(const LinkPtr& link);
    bool shake_hands(const LinkPtr& link);
    bool receives(int64_t now) const;
    void received(int64_t began);
    void receive_all(int64_t now);
    void report(const Link& link);
    void handle_received(const LinkPtr& link);
    bool handle_all(const LinkPtr& link);
    void pause(const LinkPtr& link);
    void resume_paused();
    void discard(const LinkPtr& link);
    void remove(const LinkPtr& link);
    void read_quick();
    void handle(const LinkPtr& link, const Packet& packet);
    void before_login(const LinkPtr& link, const Packet& packet);
    void login(const LinkPtr& link, const Packet& packet);
    void refuse(const LinkPtr& link, const Packet& packet);
    bool password_fits(const Packet& packet) const;
    void answer(const LinkPtr& link, const Packet& packet, uint8_t status);
    void subscribe(const LinkPtr& link, const Packet& packet, bool on);
    void call(const LinkPtr& link, Packet packet);

    vsoa_server_t* const handle_;
    const std::string info_;
    std::mutex lock_;
    std::mutex next_;              // held by who is the next to get the lock, see enter
    std::atomic<int> fanning_{0};  // publishes that go to many
    Poller poller_;
    Writer writer_{lock_, poller_, [this](int64_t now) { return end_strangers(now); }};
    Counts counts_;
    Fd listen_, udp_;
    std::string interface_;
    std::atomic<bool> started_{false};

    // Under the lock.
    std::unordered_map<vsoa_cli_id_t, LinkPtr> links_;
    std::vector<LinkPtr> order_;  // clients logged in, high priority first
    // Of urls published lately: who has subscribed them, in the order of order_.
    struct Audience {
        std::string url;
        uint64_t made = 0;
        bool busy = false;  // a publish to them is under way: the next of this url comes after it
        std::vector<LinkPtr> links;
    };
    std::array<Audience, 4> audiences_;
    size_t oldest_audience_ = 0;
    std::condition_variable not_busy_;
    uint64_t subscriptions_changed_ = 1;  // count: an audience of another time is out of date
    std::vector<LinkPtr> waiting_;        // for a login
    vsoa_cli_id_t last_id_ = 0;
    int64_t send_timeout_ns_;
    std::string scratch_;
    tls::SetupPtr secure_;  // null: no TLS. Changed by the loop alone, which may read it without the lock
    UrlTable<Callback<vsoa_server_cmd_func_t>> listeners_;

    // loop
    std::string password_;
    Callback<vsoa_server_cli_func_t> on_client_;
    Callback<vsoa_server_dat_func_t> on_datagram_;
    std::deque<std::pair<int64_t, vsoa_cli_id_t>> logins_;  // deadlines of connections, in order
    size_t strangers_ = 0;                                  // connections that were not announced
    int64_t accept_again_ = kForever;
    int64_t accept_interval_ns_ = kNanosPerMs / kAcceptsPerMs;
    int64_t accept_due_ = 0;  // when the connections taken so far were due at the rate that may last
    std::deque<LinkPtr> paused_;
    bool same_port_ = false;  // of TCP and UDP
    uint16_t quick_port_ = 0;
    std::vector<uint64_t> datagram_;  // aligned for a header
    std::vector<uint8_t> arrived_;    // what was read from the connection that is being handled
    LinkPtr busy_;                    // the only one that had something the last time
    int guesses_ = 0;                 // in a row that it has something again
    // With TLS, where strangers cost most: they are received together, now and then.
    int handshakes_ = 0;   // that may go on in this turn
    bool behind_ = false;  // some were left for the next one
    std::vector<LinkPtr> parked_;
    int64_t reception_due_ = 0;
    uint64_t served_ = 0;  // packets of clients
    int64_t served_since_ = 0;
    bool busy_clients_ = false;
    bool receiving_ = false;
    int depth_ = 0;  // of `input` inside `input`
};

}  // namespace vsoa

struct vsoa_server {
    explicit vsoa_server(const char* info) : core(this, info) {}
    vsoa::Server core;
};
