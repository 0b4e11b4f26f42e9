// What the tests of libvsoa share: waiting with deadlines, a server and a client with a thread that runs their loop,
// and a peer that sends whatever bytes a test wants.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/socket.hpp"

namespace rig {

using namespace std::chrono_literals;
using Bytes = std::vector<uint8_t>;

inline constexpr auto kDeadline = 10s;

/// True as soon as condition holds, false when it does not in time. For what nobody announces.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = kDeadline) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// What callbacks put in one thread and the test takes in another.
template <typename T>
class Inbox {
  public:
    void put(T item) {
        const std::lock_guard guard(lock_);
        items_.push_back(std::move(item));
        changed_.notify_all();
    }
    std::optional<T> take(std::chrono::milliseconds limit = kDeadline) {
        std::unique_lock held(lock_);
        if (!changed_.wait_for(held, limit, [&] { return !items_.empty(); })) return std::nullopt;
        T item = std::move(items_.front());
        items_.pop_front();
        return item;
    }
    size_t size() {
        const std::lock_guard guard(lock_);
        return items_.size();
    }

  private:
    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<T> items_;
};

inline vsoa_url_t url(const char* text) { return {const_cast<char*>(text), std::strlen(text)}; }

inline vsoa_payload_t payload(std::string_view param, std::string_view data = {}) {
    return {const_cast<char*>(param.data()), param.size(), const_cast<char*>(data.data()), data.size()};
}

inline std::string text(const vsoa_url_t* u) { return {u->url, u->url_len}; }
inline std::string param(const vsoa_payload_t* p) { return {p->param, p->param_len}; }
inline std::string data(const vsoa_payload_t* p) { return {static_cast<char*>(p->data), p->data_len}; }

inline timespec span(std::chrono::milliseconds time) { return {time.count() / 1000, time.count() % 1000 * 1'000'000}; }

inline vsoa::Address loopback(uint16_t port = 0) { return *vsoa::Address::make("127.0.0.1", port); }

/// Runs a pselect loop without timeout in a thread: fds(set) says what to wait for, input(set) handles it and returns
/// false to end.
class Loop {
  public:
    template <typename Fds, typename Input>
    void start(Fds fds, Input input) {
        stop_ = vsoa::Fd(eventfd(0, EFD_CLOEXEC));
        thread_ = std::thread([this, fds, input] {
            for (;;) {
                fd_set set;
                FD_ZERO(&set);
                FD_SET(stop_.get(), &set);
                const int highest = std::max(fds(&set), stop_.get());
                if (pselect(highest + 1, &set, nullptr, nullptr, nullptr, nullptr) <= 0) continue;
                ++turns;
                if (FD_ISSET(stop_.get(), &set) || !input(&set)) return;
            }
        });
    }
    void stop() {
        if (!thread_.joinable()) return;
        const uint64_t one = 1;
        if (write(stop_.get(), &one, sizeof one) != sizeof one) std::abort();  // Catch's macros are for the main thread
        thread_.join();
    }
    ~Loop() { stop(); }

    std::atomic<int> turns{0};

  private:
    vsoa::Fd stop_;
    std::thread thread_;
};

/// A server on a free port of the loopback. Set callbacks, then `start`.
class RunningServer {
  public:
    explicit RunningServer(const char* password = nullptr) : handle(vsoa_server_create("{\"name\":\"rig\"}")) {
        REQUIRE(handle != nullptr);
        REQUIRE(vsoa_server_passwd(handle, password));
    }
    ~RunningServer() { close(); }
    void start(vsoa::Address where = loopback()) {
        REQUIRE(vsoa_server_start(handle, where.raw(), where.length));
        address.length = sizeof address.storage;
        REQUIRE(vsoa_server_address(handle, address.raw(), &address.length));
        run();
    }
    void run() {
        loop.start([this](fd_set* set) { return vsoa_server_fds(handle, set); },
                   [this](const fd_set* set) {
                       vsoa_server_input_fds(handle, set);
                       return true;
                   });
    }
    void close() {
        if (handle == nullptr) return;
        loop.stop();
        vsoa_server_close(std::exchange(handle, nullptr));
    }

    vsoa_server_t* handle;
    vsoa::Address address;
    Loop loop;
};

struct Message {
    std::string url, param, data;
    bool quick;
};

/// A client whose loop runs in a thread once `connect` has succeeded. Messages and datagrams end up in inboxes.
class RunningClient {
  public:
    RunningClient() : handle(vsoa_client_create(on_message, this)) {
        REQUIRE(handle != nullptr);
        vsoa_client_on_datagram(
            handle,
            [](void* arg, vsoa_client_t*, vsoa_url_t* u, vsoa_payload_t* p, bool quick) {
                static_cast<RunningClient*>(arg)->datagrams.put({text(u), param(p), data(p), quick});
            },
            this);
    }
    ~RunningClient() { close(); }
    bool connect(const vsoa::Address& to, const char* password = nullptr, std::chrono::milliseconds limit = 5s) {
        const timespec timeout = span(limit);
        char text[128] = "";
        if (!vsoa_client_connect(handle, to.raw(), to.length, &timeout, password, text, sizeof text)) return false;
        info = text;
        loop.start([this](fd_set* set) { return vsoa_client_fds(handle, set); },
                   [this](const fd_set* set) {
                       const bool good = vsoa_client_input_fds(handle, set);
                       if (!good) lost.put(true);
                       return good;
                   });
        return true;
    }
    bool subscribe(const char* topic) {
        const vsoa_url_t u = url(topic);
        REQUIRE(vsoa_client_subscribe(handle, &u, on_result, this, nullptr));
        return results.take().value_or(false);
    }
    void close() {
        if (handle == nullptr) return;
        loop.stop();
        vsoa_client_close(std::exchange(handle, nullptr));
    }
    static void on_result(void* arg, vsoa_client_t*, bool success) {
        static_cast<RunningClient*>(arg)->results.put(success);
    }

    vsoa_client_t* handle;
    std::string info;
    Inbox<Message> messages, datagrams;
    Inbox<bool> results, lost;
    Loop loop;

  private:
    static void on_message(void* arg, vsoa_client_t*, vsoa_url_t* u, vsoa_payload_t* p, bool quick) {
        static_cast<RunningClient*>(arg)->messages.put({text(u), param(p), data(p), quick});
    }
};

/// Bytes of one packet.
inline Bytes packet(uint8_t type, uint32_t seqno, const char* topic = "", const std::string& param_text = "",
                    const std::string& data_text = "", uint8_t flags = 0, uint16_t tunid = 0) {
    vsoa::Frame frame(type, flags, 0, seqno);
    const vsoa_url_t u = url(topic);
    const vsoa_payload_t p = payload(param_text, data_text);
    REQUIRE(frame.body(&u, &p));
    frame.tunid(htons(tunid));
    Bytes out;
    frame.append_to(out);
    return out;
}

inline Bytes operator+(Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

/// A TCP peer without manners.
class RawPeer {
  public:
    explicit RawPeer(const vsoa::Address& to) : fd_(vsoa::open_socket(to.family(), SOCK_STREAM)) {
        REQUIRE(vsoa::connect_until(fd_.get(), to, vsoa::now_ns() + kLimit));
        vsoa::set_nodelay(fd_.get());
    }
    /// False when the other side has closed.
    bool send(const Bytes& bytes) {
        for (size_t sent = 0; sent < bytes.size();) {
            const ssize_t part = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
            if (part > 0) sent += static_cast<size_t>(part);
            if (part < 0 && errno != EAGAIN) return false;
            if (part < 0 && !vsoa::wait_for(fd_.get(), POLLOUT, vsoa::now_ns() + kLimit)) return false;
        }
        return true;
    }
    /// The next packet; nothing when the connection ended or nothing came in time. Valid until the next call.
    std::optional<vsoa::Packet> receive() {
        const int64_t until = vsoa::now_ns() + kLimit;
        vsoa_header_t* header = nullptr;
        for (;;) {
            const auto next = receiver_.next(header);
            if (next == vsoa::Receiver::Next::kPacket) return vsoa::Packet(header);
            REQUIRE(next == vsoa::Receiver::Next::kMore);
            if (!vsoa::wait_for(fd_.get(), POLLIN, until)) return std::nullopt;
            const auto space = receiver_.space();
            const ssize_t got = recv(fd_.get(), space.at, space.room, 0);
            if (got <= 0) return std::nullopt;
            receiver_.commit(static_cast<size_t>(got));
        }
    }
    /// The other side ends the connection in time, having sent nothing more.
    bool ends() {
        uint8_t byte;
        if (!receiver_.empty() || !vsoa::wait_for(fd_.get(), POLLIN, vsoa::now_ns() + kLimit)) return false;
        return recv(fd_.get(), &byte, 1, 0) <= 0;
    }
    bool log_in(const char* password = nullptr, uint16_t quick_port = 0) {
        const std::string p = password != nullptr ? "{\"passwd\":\"" + std::string(password) + "\"}" : "";
        REQUIRE(send(packet(VSOA_TYPE_SERVINFO, 0, "", p, "", 0, quick_port)));
        const auto reply = receive();
        if (!reply || reply->type != VSOA_TYPE_SERVINFO || reply->status != 0) return false;
        REQUIRE(reply->payload.data_len == 4);
        std::memcpy(&id, reply->payload.data, 4);
        id = ntohl(id);
        return true;
    }
    int fd() const { return fd_.get(); }

    uint32_t id = 0;

  private:
    static constexpr int64_t kLimit = 10'000 * vsoa::kNanosPerMs;
    vsoa::Fd fd_;
    vsoa::Receiver receiver_;
};

}  // namespace rig
