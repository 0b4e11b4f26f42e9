// SPDX-License-Identifier: Apache-2.0
/**
 * @file vsoa.hpp
 * VSOA for C++20 programs: the C interface with owners that clean up, std::span, and coroutines. Header only, link with
 * -lvsoa as for C; whoever needs more than is here takes handle() and the C functions.
 *
 *     vsoa::Task<void> watch(vsoa::Client& client) {
 *         auto reply = co_await client.call("/limits");
 *         auto updates = co_await client.subscribe("/axis");
 *         while (auto message = co_await updates.next()) use(message->param);
 *     }
 *     vsoa::Client client;
 *     client.connect("vsoa://axis_server", "123456");
 *     client.run(watch(client));
 *
 * Errors: std::system_error with the errno that the C function names; std::bad_alloc. An RPC status that is not
 * VSOA_STATUS_SUCCESS is no error here: read Reply::status.
 *
 * Threads: a Client, its Tasks and its Subscriptions belong to the thread that calls wait() or run(); a Server to the
 * one that calls wait(), but publish(), subscribed() and Call::reply() may be used from any. A coroutine goes on inside
 * wait() or run(), never in another thread.
 *
 * Ownership: a Payload borrows what it was made of, until the function that takes it returns (for call(): until it was
 * awaited). Everything that was received is owned by who got it.
 */
#ifndef VSOA_HPP
#define VSOA_HPP

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "vsoa_client.h"
#include "vsoa_loop.h"
#include "vsoa_parser.h"
#include "vsoa_position.h"
#include "vsoa_server.h"
#include "vsoa_task.hpp"
#include "vsoa_tls.h"

namespace vsoa {

using Bytes = std::span<const std::byte>;
using Duration = std::chrono::nanoseconds;

/** How many messages of a subscription wait for next(); above it the oldest goes (Subscription::lost counts it). */
inline constexpr std::size_t kMaxWaiting = 1024;

inline constexpr Duration kCallTimeout = std::chrono::milliseconds(VSOA_CLIENT_DEF_TIMEOUT);

namespace detail {

[[noreturn]] inline void fail(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), "vsoa: " + what);
}

inline timespec spec(Duration time) {
    if (time < Duration::zero()) time = Duration::zero();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
    return {static_cast<time_t>(seconds.count()), static_cast<long>((time - seconds).count())};
}

// The C interface has no const in these two structures; it does not write through them.
inline vsoa_url_t url(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

// The rule of vsoa_server_publish.
inline bool matches(std::string_view subscription, std::string_view url) {
    if (subscription == "/" || subscription == url) return true;
    if (!subscription.ends_with('/')) return false;
    return url.starts_with(subscription) || url == subscription.substr(0, subscription.size() - 1);
}

}  // namespace detail

/** What a packet carries, borrowed. */
struct Payload {
    std::string_view param;
    Bytes data;

    Payload() = default;
    Payload(const char* json) : param(json) {}         // NOLINT: a text is a payload
    Payload(std::string_view json) : param(json) {}    // NOLINT
    Payload(const std::string& json) : param(json) {}  // NOLINT
    Payload(std::string_view json, Bytes bytes) : param(json), data(bytes) {}

    vsoa_payload_t c() const {
        return {const_cast<char*>(param.data()), param.size(), const_cast<std::byte*>(data.data()), data.size()};
    }
};

/** A publish or a datagram that arrived. */
struct Message {
    std::string url;
    std::string param;
    std::vector<std::byte> data;
    bool quick = false;  // over UDP

    Message() = default;
    Message(const vsoa_url_t& at, const vsoa_payload_t& payload, bool over_udp)
        : url(at.url, at.url_len),
          param(payload.param, payload.param_len),
          data(static_cast<const std::byte*>(payload.data),
               static_cast<const std::byte*>(payload.data) + payload.data_len),
          quick(over_udp) {}
};

/** The answer to a call. */
struct Reply {
    std::uint8_t status = VSOA_STATUS_SUCCESS;  // VSOA_STATUS_* or the application's own, 128 to 254
    std::string param;
    std::vector<std::byte> data;
    std::optional<std::uint16_t> tunnel;  // of an offered stream, for Client::stream

    bool ok() const { return status == VSOA_STATUS_SUCCESS; }
};

/** Where a service is. */
struct Address {
    sockaddr_storage storage{};
    socklen_t length = sizeof(sockaddr_storage);

    Address() = default;
    Address(const sockaddr* from, socklen_t size) : length(size) {
        if (size > sizeof(storage)) detail::fail(EINVAL, "an address of " + std::to_string(size) + " bytes");
        std::memcpy(&storage, from, size);
    }

    /** "127.0.0.1:3002" or "[::1]:3002"; nothing for any other text. */
    static std::optional<Address> parse(std::string_view text) {
        const auto colon = text.rfind(':');
        if (colon == std::string_view::npos) return std::nullopt;
        unsigned port = 0;
        const std::string_view digits = text.substr(colon + 1);
        if (digits.empty() || digits.size() > 5) return std::nullopt;
        for (const char digit : digits) {
            if (digit < '0' || digit > '9') return std::nullopt;
            port = port * 10 + static_cast<unsigned>(digit - '0');
        }
        if (port > 65535) return std::nullopt;
        std::string host(text.substr(0, colon));
        Address out;
        if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
            auto& v6 = reinterpret_cast<sockaddr_in6&>(out.storage);
            v6.sin6_family = AF_INET6;
            v6.sin6_port = htons(static_cast<std::uint16_t>(port));
            out.length = sizeof(v6);
            if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) == 1) return out;
            return std::nullopt;
        }
        auto& v4 = reinterpret_cast<sockaddr_in&>(out.storage);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(static_cast<std::uint16_t>(port));
        out.length = sizeof(v4);
        if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) return out;
        return std::nullopt;
    }

    const sockaddr* c() const { return reinterpret_cast<const sockaddr*>(&storage); }

    std::uint16_t port() const {
        return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(storage).sin6_port
                                                   : reinterpret_cast<const sockaddr_in&>(storage).sin_port);
    }
};

/** Asks the position servers for a name (vsoa_position_lookup); waits. Nothing: there is no service of that name.
 *  @param secure  receives whether the service wants TLS */
inline std::optional<Address> resolve(const std::string& name, Duration timeout = std::chrono::seconds(2),
                                      bool* secure = nullptr) {
    Address out;
    const timespec limit = detail::spec(timeout);
    if (vsoa_position_lookup(-1, name.c_str(), reinterpret_cast<sockaddr*>(&out.storage), &out.length, secure, &limit))
        return out;
    if (errno == ENOENT) return std::nullopt;
    detail::fail(errno, "look-up of " + name);
}

/** TLS of a Client or Server: what vsoa_tls.h says, "" = not given. */
struct Tls {
    std::string ca_file{}, cert_file{}, key_file{}, server_name{}, psk_file{};
    bool verify = true;                                     // false: VSOA_TLS_NO_VERIFY
    std::function<void(const std::string& why)> on_fail{};  // called inside connect(), wait() and where streams open
};

namespace detail {

inline vsoa_tls_t c_tls(Tls& tls, const std::string& server_name) {
    const auto text = [](const std::string& file) { return file.empty() ? nullptr : file.c_str(); };
    const auto told = [](void* arg, const sockaddr*, socklen_t, int, const char* reason) {
        if (const auto& on_fail = static_cast<Tls*>(arg)->on_fail) on_fail(reason);
    };
    return {sizeof(vsoa_tls_t),
            text(tls.ca_file),
            text(tls.cert_file),
            text(tls.key_file),
            text(server_name),
            tls.verify ? 0 : VSOA_TLS_NO_VERIFY,
            text(tls.psk_file),
            told,
            &tls};
}

// What one subscription has waiting, and who waits for it.
struct Topic {
    std::string url;
    std::deque<Message> waiting;
    std::uint64_t lost = 0;
    bool ended = false;
    std::coroutine_handle<> reader;

    void wake() {
        if (reader) std::exchange(reader, {}).resume();
    }
};

struct ClientClose {
    void operator()(vsoa_client_t* client) const { vsoa_client_close(client); }
};
struct ServerClose {
    void operator()(vsoa_server_t* server) const { vsoa_server_close(server); }
};
struct StreamClose {
    void operator()(vsoa_server_stream_t* stream) const { vsoa_server_stream_close(stream); }
};

}  // namespace detail

/** A byte stream beside the packets; a blocking descriptor. */
class Stream {
  public:
    explicit Stream(int fd) : fd_(fd) {}
    Stream(Stream&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Stream& operator=(Stream&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Stream() {
        if (fd_ >= 0) vsoa_client_stream_close(fd_);
    }

    int fd() const { return fd_; }

    /** Bytes read, empty at the peer's end. */
    std::span<std::byte> read(std::span<std::byte> into) {
        ssize_t got = 0;
        do got = ::recv(fd_, into.data(), into.size(), 0);
        while (got < 0 && errno == EINTR);
        if (got < 0) detail::fail(errno, "read of a stream");
        return into.first(static_cast<std::size_t>(got));
    }

    /** Writes all of it. */
    void write(Bytes bytes) {
        while (!bytes.empty()) {
            const ssize_t put = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (put < 0 && errno == EINTR) continue;
            if (put < 0) detail::fail(errno, "write to a stream");
            bytes = bytes.subspan(static_cast<std::size_t>(put));
        }
    }

    /** The peer reads the end; reading goes on. */
    void end() { (void)::shutdown(fd_, SHUT_WR); }

  private:
    int fd_;
};

/** The messages of one subscription, in their order. It ends when the connection does; destroying it unsubscribes. */
class Subscription {
  public:
    Subscription(Subscription&&) = default;
    Subscription& operator=(Subscription&&) = delete;
    ~Subscription() {
        if (!topic_ || topic_->ended) return;
        topic_->ended = true;
        const vsoa_url_t at = detail::url(topic_->url);
        (void)vsoa_client_unsubscribe(client_, &at, nullptr, nullptr, nullptr);
    }

    /** The next message; nothing when the connection is lost. One coroutine waits at a time. */
    auto next() {
        struct Awaiter {
            detail::Topic& topic;
            bool await_ready() const noexcept { return topic.ended || !topic.waiting.empty(); }
            void await_suspend(std::coroutine_handle<> reader) noexcept { topic.reader = reader; }
            std::optional<Message> await_resume() {
                if (topic.waiting.empty()) return std::nullopt;
                Message out = std::move(topic.waiting.front());
                topic.waiting.pop_front();
                return out;
            }
        };
        return Awaiter{*topic_};
    }

    /** Messages that were dropped because kMaxWaiting were waiting. */
    std::uint64_t lost() const { return topic_->lost; }

  private:
    friend class Client;
    Subscription(vsoa_client_t* client, std::shared_ptr<detail::Topic> topic)
        : client_(client), topic_(std::move(topic)) {}

    vsoa_client_t* client_;
    std::shared_ptr<detail::Topic> topic_;
};

/** A client whose loop is the program's: wait() or run(). Subscriptions and tasks must be gone before it is. */
class Client {
  public:
    Client() : self_(std::make_unique<Self>()) {
        self_->client.reset(vsoa_client_create(&Client::on_publish, self_.get()));
        if (!self_->client) detail::fail(errno, "create a client");
        vsoa_client_on_datagram(handle(), &Client::on_datagram, self_.get());
    }

    vsoa_client_t* handle() const { return self_->client.get(); }
    bool connected() const { return vsoa_client_is_connect(handle()); }

    /** Connections from now on speak TLS. A service that is found by its name must then have a certificate for it,
     *  unless server_name says another. */
    void tls(Tls config) {
        auto next = std::make_unique<Tls>(std::move(config));
        self_->use_tls(*next, next->server_name);
        self_->tls.push_back(std::move(next));
    }

    /** @param server  "host:port" with a numeric host, a service's name, or either behind "vsoa://". Waits. Throws
     *                 EPROTONOSUPPORT when the service's position says that it wants TLS, and tls() was not called
     *  @return the server's info text */
    std::string connect(std::string_view server, const std::string& password = {},
                        Duration timeout = std::chrono::seconds(10)) {
        const auto deadline = std::chrono::steady_clock::now() + timeout;
        if (server.starts_with("vsoa://")) server.remove_prefix(7);
        std::optional<Address> address = Address::parse(server);
        bool secure = false;
        const std::string name(address ? "" : server);
        if (!address) address = resolve(name, timeout, &secure);
        if (!address) detail::fail(ENOENT, "no service \"" + name + "\"");
        if (secure && self_->tls.empty()) detail::fail(EPROTONOSUPPORT, name + " wants TLS");
        if (!self_->tls.empty() && self_->tls.back()->server_name.empty()) self_->use_tls(*self_->tls.back(), name);
        const timespec left = detail::spec(deadline - std::chrono::steady_clock::now());
        std::string info(VSOA_MAX_DATA_LENGTH, '\0');
        if (!vsoa_client_connect(handle(), address->c(), address->length, &left, password.c_str(), info.data(),
                                 info.size()))
            detail::fail(errno, "connect to " + std::string(server));
        info.resize(std::strlen(info.c_str()));
        return info;
    }

    /** Handles what has arrived, waiting for it. False: the connection is lost; every waiting coroutine has heard so.
     */
    bool wait(std::optional<Duration> timeout = {}) {
        const timespec limit = detail::spec(timeout.value_or(Duration::zero()));
        if (vsoa_client_wait(handle(), timeout ? &limit : nullptr)) return true;
        self_->end_topics();
        return false;
    }

    /** Runs a task to its end and gives its result. */
    template <typename T>
    T run(Task<T> task) {
        bool done = false;
        std::exception_ptr error;
        std::conditional_t<std::is_void_v<T>, bool, std::optional<T>> result{};
        auto outer = [&]() -> Task<> {
            try {
                if constexpr (std::is_void_v<T>)
                    co_await std::move(task);
                else
                    result.emplace(co_await std::move(task));
            } catch (...) {
                error = std::current_exception();
            }
            done = true;
        };
        spawn(outer());
        while (!done) {
            if (!wait() && !done) detail::fail(ENOTCONN, "a task waits for something else than its lost connection");
        }
        if (error) std::rethrow_exception(error);
        if constexpr (!std::is_void_v<T>) return std::move(*result);
    }

    /** Calls an RPC. Await it; throws ETIMEDOUT without an answer in time, ENOTCONN when the connection is lost. */
    auto call(std::string_view url, Payload payload = {}, Duration timeout = kCallTimeout) {
        return CallAwaiter{*this, url, payload, timeout, VSOA_CLIENT_RPC_METHOD_GET, {}, {}};
    }
    auto set(std::string_view url, Payload payload = {}, Duration timeout = kCallTimeout) {
        return CallAwaiter{*this, url, payload, timeout, VSOA_CLIENT_RPC_METHOD_SET, {}, {}};
    }

    /** Subscribes; throws EACCES when the server refuses, ETIMEDOUT or ENOTCONN. */
    Task<Subscription> subscribe(std::string url, Duration timeout = kCallTimeout) {
        auto topic = std::make_shared<detail::Topic>();
        topic->url = std::move(url);
        self_->topics.push_back(topic);  // before the answer: the first message may come with it
        Subscription out(handle(), topic);
        const bool done = co_await ResultAwaiter{*this, [&](vsoa_client_res_func_t callback, void* arg) {
                                                     const vsoa_url_t at = detail::url(topic->url);
                                                     const timespec limit = detail::spec(timeout);
                                                     return vsoa_client_subscribe(handle(), &at, callback, arg, &limit);
                                                 }};
        if (!done) {
            topic->ended = true;
            self_->forget_ended();
            detail::fail(connected() ? EACCES : ENOTCONN, "subscribe to " + topic->url);
        }
        co_return out;
    }

    /** Asks for a sign of life. False: none in time. */
    Task<bool> ping(Duration timeout = std::chrono::seconds(1)) {
        co_return co_await ResultAwaiter{*this, [&](vsoa_client_res_func_t callback, void* arg) {
                                             const timespec limit = detail::spec(timeout);
                                             return vsoa_client_ping(handle(), callback, arg, &limit);
                                         }};
    }

    /** Sends a datagram, quick: over UDP. */
    void datagram(std::string_view url, Payload payload, bool quick = false) {
        const vsoa_url_t at = detail::url(url);
        const vsoa_payload_t content = payload.c();
        if (!(quick ? vsoa_client_quick_datagram : vsoa_client_datagram)(handle(), &at, &content))
            detail::fail(errno, "datagram to " + std::string(url));
    }
    void on_datagram(std::function<void(const Message&)> handler) { self_->datagram = std::move(handler); }

    /** Connects to a stream that Reply::tunnel offers; waits. */
    Stream stream(std::uint16_t tunnel, Duration timeout = std::chrono::seconds(10),
                  int keepalive = VSOA_CLIENT_KEEPALIVE_TIMEOUT) {
        const timespec limit = detail::spec(timeout);
        const int fd = vsoa_client_stream_create(handle(), tunnel, &limit, keepalive);
        if (fd < 0) detail::fail(errno, "open a stream");
        return Stream(fd);
    }

  private:
    struct Self {
        std::list<std::unique_ptr<Tls>> tls;  // for ever: the C interface holds pointers to them
        std::unique_ptr<vsoa_client_t, detail::ClientClose> client;
        std::list<std::shared_ptr<detail::Topic>> topics;
        std::function<void(const Message&)> datagram;

        void use_tls(Tls& config, const std::string& name) {
            const vsoa_tls_t c = detail::c_tls(config, name);
            if (!vsoa_client_tls(client.get(), &c)) detail::fail(errno, "use TLS");
        }
        void forget_ended() {
            topics.remove_if([](const auto& topic) { return topic->ended; });
        }
        void end_topics() {
            const auto all = std::exchange(topics, {});
            for (const auto& topic : all) topic->ended = true;
            for (const auto& topic : all) topic->wake();
        }
    };

    struct CallAwaiter {
        Client& client;
        std::string_view url;
        Payload payload;
        Duration timeout;
        int method;
        std::optional<Reply> reply;
        std::coroutine_handle<> waiting;

        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> handle) {
            waiting = handle;
            const vsoa_url_t at = detail::url(url);
            const vsoa_payload_t content = payload.c();
            const timespec limit = detail::spec(timeout);
            if (!vsoa_client_call(client.handle(), method, &at, &content, &answered, this, &limit))
                detail::fail(errno, "call " + std::string(url));
        }
        Reply await_resume() {
            if (reply) return std::move(*reply);
            detail::fail(client.connected() ? ETIMEDOUT : ENOTCONN, "call " + std::string(url));
        }
        static void answered(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* payload) {
            auto& self = *static_cast<CallAwaiter*>(arg);
            if (header != nullptr) {
                Message content({nullptr, 0}, *payload, false);
                self.reply.emplace(
                    Reply{vsoa_parser_get_status(header), std::move(content.param), std::move(content.data), {}});
                if ((vsoa_parser_get_flags(header) & VSOA_FLAG_TUNNEL) != 0)
                    self.reply->tunnel = vsoa_parser_get_tunid(header);
            }
            self.waiting.resume();
        }
    };

    template <typename Start>
    struct ResultAwaiter {
        Client& client;
        Start start;
        bool good = false;
        std::coroutine_handle<> waiting{};

        ResultAwaiter(Client& of, Start how) : client(of), start(std::move(how)) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> handle) {
            waiting = handle;
            if (!start(&ended, this)) detail::fail(errno, "send");
        }
        bool await_resume() const noexcept { return good; }
        static void ended(void* arg, vsoa_client_t*, bool success) {
            auto& self = *static_cast<ResultAwaiter*>(arg);
            self.good = success;
            self.waiting.resume();
        }
    };

    static void on_publish(void* arg, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
        auto& self = *static_cast<Self*>(arg);
        self.forget_ended();
        const auto all = self.topics;  // a reader may subscribe to more
        for (const auto& topic : all) {
            if (!detail::matches(topic->url, {url->url, url->url_len})) continue;
            if (topic->waiting.size() >= kMaxWaiting) {
                topic->waiting.pop_front();
                ++topic->lost;
            }
            topic->waiting.emplace_back(*url, *payload, quick);
            topic->wake();
        }
    }

    static void on_datagram(void* arg, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
        auto& self = *static_cast<Self*>(arg);
        if (self.datagram) self.datagram(Message(*url, *payload, quick));
    }

    std::unique_ptr<Self> self_;
};

class Server;

/** A call that a server was asked to answer. Answer it once, from any thread, while the server lives; one that is
 *  destroyed unanswered is answered with VSOA_STATUS_NO_RESPONDING. Move only. */
class Call {
  public:
    std::string url;
    std::string param;
    std::vector<std::byte> data;
    bool set = false;  // method SET, else GET
    vsoa_cli_id_t client = 0;

    Call(Call&& other) noexcept
        : url(std::move(other.url)),
          param(std::move(other.param)),
          data(std::move(other.data)),
          set(other.set),
          client(other.client),
          server_(std::exchange(other.server_, nullptr)),
          seqno_(other.seqno_) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
        if (server_ != nullptr)
            (void)vsoa_server_cli_reply(server_, client, VSOA_STATUS_NO_RESPONDING, seqno_, 0, nullptr);
    }

    /** @param tunnel  of an OfferedStream; 0 = none
     *  @return false: the client is gone */
    bool reply(Payload payload = {}, std::uint8_t status = VSOA_STATUS_SUCCESS, std::uint16_t tunnel = 0) {
        vsoa_server_t* server = std::exchange(server_, nullptr);
        if (server == nullptr) detail::fail(EALREADY, "a second reply to " + url);
        const vsoa_payload_t content = payload.c();
        if (vsoa_server_cli_reply(server, client, status, seqno_, tunnel, &content)) return true;
        if (errno == ENOENT || errno == ENOTCONN) return false;
        detail::fail(errno, "reply to " + url);
    }

  private:
    friend class Server;
    Call(vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, const vsoa_url_t& at,
         const vsoa_payload_t& payload)
        : url(at.url, at.url_len),
          param(payload.param, payload.param_len),
          data(static_cast<const std::byte*>(payload.data),
               static_cast<const std::byte*>(payload.data) + payload.data_len),
          set((vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0),
          client(id),
          server_(server),
          seqno_(vsoa_parser_get_seqno(header)) {}

    vsoa_server_t* server_;
    std::uint32_t seqno_;
};

/** A stream that a server offers: put tunnel() into a reply, then accept(). */
class OfferedStream {
  public:
    std::uint16_t tunnel() const { return vsoa_server_stream_tunid(stream_.get()); }

    /** Waits for the client. The descriptor is this object's. */
    int accept(int keepalive = VSOA_SERVER_KEEPALIVE_TIMEOUT) {
        const int fd = vsoa_server_stream_accept(stream_.get(), nullptr, nullptr, keepalive);
        if (fd < 0) detail::fail(errno, "accept a stream");
        return fd;
    }

  private:
    friend class Server;
    explicit OfferedStream(vsoa_server_stream_t* stream) : stream_(stream) {}
    std::unique_ptr<vsoa_server_stream_t, detail::StreamClose> stream_;
};

/** A server whose loop is the program's: wait(). */
class Server {
  public:
    /** A handler may be a coroutine that returns Task<>; it is spawned. An exception that leaves a handler, and leaves
     *  the call unanswered, ends the program as std::function and spawn() do. */
    using Handler = std::function<void(Call)>;

    /** @param info  JSON that each client receives at login */
    explicit Server(const std::string& info, const std::string& password = {}) : self_(std::make_unique<Self>()) {
        self_->server.reset(vsoa_server_create(info.c_str()));
        if (!self_->server) detail::fail(errno, "create a server");
        if (!vsoa_server_passwd(handle(), password.c_str())) detail::fail(errno, "set the password");
        vsoa_server_on_datagram(handle(), &Server::on_packet, self_.get());
        vsoa_server_on_cli(handle(), &Server::on_client, self_.get());
    }

    vsoa_server_t* handle() const { return self_->server.get(); }

    /** Speaks TLS: before start(), or again later with new files. */
    void tls(Tls config) {
        auto next = std::make_unique<Tls>(std::move(config));
        const vsoa_tls_t c = detail::c_tls(*next, {});
        if (!vsoa_server_tls(handle(), &c)) detail::fail(errno, "use TLS");
        self_->tls.push_back(std::move(next));
    }

    /** Listens. @param address  "0.0.0.0:3002"; port 0 = a free one. @return where it listens */
    Address start(std::string_view address) {
        const auto at = Address::parse(address);
        if (!at) detail::fail(EINVAL, "\"" + std::string(address) + "\" is no address; wanted is ip:port or [v6]:port");
        if (!vsoa_server_start(handle(), at->c(), at->length)) detail::fail(errno, "listen on " + std::string(address));
        Address out;
        if (!vsoa_server_address(handle(), reinterpret_cast<sockaddr*>(&out.storage), &out.length))
            detail::fail(errno, "ask for the own address");
        return out;
    }

    /** Handles what has arrived, waiting for it; handlers run in here. */
    void wait(std::optional<Duration> timeout = {}) {
        const timespec limit = detail::spec(timeout.value_or(Duration::zero()));
        if (!vsoa_server_wait(handle(), timeout ? &limit : nullptr)) detail::fail(errno, "wait for clients");
    }

    /** Answers the calls on url, see vsoa_server_add_listener. @param handler  void(Call) or Task<>(Call) */
    template <typename F>
    void on(std::string_view url, F handler) {
        if constexpr (std::is_same_v<std::invoke_result_t<F&, Call>, Task<>>)
            add(url, [handler = std::move(handler)](Call call) mutable { spawn(handler(std::move(call))); });
        else
            add(url, std::move(handler));
    }

    /** @param handler  (client, connected): a client logged in or is gone */
    void on_client(std::function<void(vsoa_cli_id_t, bool)> handler) { self_->client = std::move(handler); }
    void on_datagram(std::function<void(vsoa_cli_id_t, const Message&)> handler) {
        self_->datagram = std::move(handler);
    }

    bool subscribed(std::string_view url) const {
        const vsoa_url_t at = detail::url(url);
        return vsoa_server_is_subscribed(handle(), &at);
    }

    /** Sends to every subscriber; quick: over UDP. No subscriber is no error. */
    void publish(std::string_view url, Payload payload, bool quick = false) {
        const vsoa_url_t at = detail::url(url);
        const vsoa_payload_t content = payload.c();
        if (!(quick ? vsoa_server_quick_publish : vsoa_server_publish)(handle(), &at, &content))
            detail::fail(errno, "publish on " + std::string(url));
    }

    /** Sends a datagram to one client. False: it is gone. */
    bool datagram(vsoa_cli_id_t client, std::string_view url, Payload payload, bool quick = false) {
        const vsoa_url_t at = detail::url(url);
        const vsoa_payload_t content = payload.c();
        if ((quick ? vsoa_server_cli_quick_datagram : vsoa_server_cli_datagram)(handle(), client, &at, &content))
            return true;
        if (errno == ENOENT || errno == ENOTCONN) return false;
        detail::fail(errno, "datagram on " + std::string(url));
    }

    OfferedStream offer_stream() {
        vsoa_server_stream_t* stream = vsoa_server_stream_create(handle());
        if (stream == nullptr) detail::fail(errno, "offer a stream");
        return OfferedStream(stream);
    }

  private:
    struct Self {
        std::list<Handler> handlers;          // for ever: the C interface holds pointers to them,
        std::list<std::unique_ptr<Tls>> tls;  // and to these, also for streams that were offered before
        std::function<void(vsoa_cli_id_t, bool)> client;
        std::function<void(vsoa_cli_id_t, const Message&)> datagram;
        std::unique_ptr<vsoa_server_t, detail::ServerClose> server;  // closed first
    };

    void add(std::string_view url, Handler handler) {
        self_->handlers.push_back(std::move(handler));
        const vsoa_url_t at = detail::url(url);
        if (!vsoa_server_add_listener(handle(), &at, &Server::on_call, &self_->handlers.back()))
            detail::fail(errno, "listen to " + std::string(url));
    }

    static void on_call(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                        vsoa_payload_t* payload) {
        (*static_cast<Handler*>(arg))(Call(server, id, header, *url, *payload));
    }

    static void on_client(void* arg, vsoa_server_t*, vsoa_cli_id_t id, bool connect) {
        auto& self = *static_cast<Self*>(arg);
        if (self.client) self.client(id, connect);
    }

    static void on_packet(void* arg, vsoa_server_t*, vsoa_cli_id_t id, vsoa_url_t* url, vsoa_payload_t* payload,
                          bool quick) {
        auto& self = *static_cast<Self*>(arg);
        if (self.datagram) self.datagram(id, Message(*url, *payload, quick));
    }

    std::unique_ptr<Self> self_;
};

}  // namespace vsoa

#endif
