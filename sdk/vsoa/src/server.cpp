#include "sdk/vsoa/src/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sdk/vsoa/src/json.hpp"

namespace vsoa {
namespace {

// With port 0 the kernel picks the TCP port, and UDP wants the same; another program may have it.
constexpr int kPortAttempts = 16;
constexpr int kBacklog = 512;  // in step with what server_input.cpp takes of them
constexpr size_t kReadAtOnce = 64 * 1024;
constexpr size_t kFlatPublish = 16 * 1024;  // a packet up to this is put together once for all subscribers
constexpr size_t kBreath = 16;              // subscribers for which a publish may keep others from the server

/// From the address that the client is connected to: another of this machine's would not pass its connected socket.
bool send_quick(int fd, const Link& link, const Frame& frame) {
    Frame::Pieces pieces;
    const size_t count = frame.pieces(0, pieces);
    return send_datagram(fd, pieces.data(), count, *link.quick, link.own);
}

bool reuse_address(int fd) {
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
}

}  // namespace

Server::Server(vsoa_server_t* handle, const char* info)
    : handle_(handle),
      info_(info != nullptr ? info : ""),
      send_timeout_ns_(VSOA_SERVER_DEF_SEND_TIMEOUT * kNanosPerMs),
      datagram_((VSOA_MAX_QPACKET_LENGTH + sizeof(uint64_t)) / sizeof(uint64_t)),
      arrived_(kReadAtOnce) {}

Server::~Server() {
    const auto guard = enter();
    writer_.no_alarm();
    for (auto& [id, link] : links_) {
        writer_.forget(*link);
        if (link->tls) link->tls->goodbye();
    }
}

bool Server::open() { return poller_.open(); }

bool Server::password(const char* text) {
    std::string wanted = text != nullptr ? text : "";
    std::string login = "{\"passwd\":";
    json::append_string(login, wanted);
    if (VSOA_HDR_LENGTH + login.size() + 1 > kMaxLoginPacket) {
        errno = EMSGSIZE;
        return false;
    }
    password_ = std::move(wanted);
    return true;
}

bool Server::secure(tls::SetupPtr setup) {
    if (started_ && (!setup || !secure_)) {
        errno = EALREADY;
        return false;
    }
    const auto guard = enter();
    secure_.swap(setup);
    return true;
}

bool Server::start(const Address& address) {
    if (started_) {
        errno = EALREADY;
        return false;
    }
    if (!bind_sockets(address) || !poller_.add(listen_.get(), EPOLLIN, kListenTag) ||
        !poller_.add(udp_.get(), EPOLLIN, kQuickTag)) {
        listen_.reset();
        udp_.reset();
        return false;
    }
    const auto tcp = Address::local(listen_.get()), udp = Address::local(udp_.get());
    quick_port_ = udp ? udp->port() : 0;
    same_port_ = tcp && tcp->port() == quick_port_;
    started_ = true;
    return true;
}

bool Server::bind_sockets(const Address& wanted) {
    for (int attempt = 1;; ++attempt) {
        listen_ = open_socket(wanted.family(), SOCK_STREAM);
        udp_ = open_socket(wanted.family(), SOCK_DGRAM);
        if (!listen_ || !udp_ || !tied(listen_.get()) || !tied(udp_.get())) return false;
        // No SO_REUSEADDR on UDP: two servers would share one port without a word.
        if (!reuse_address(listen_.get()) || bind(listen_.get(), wanted.raw(), wanted.length) != 0) return false;
        auto bound = Address::local(listen_.get());
        if (!bound) return false;
        const bool any_port = wanted.port() == 0;
        if (any_port && attempt == kPortAttempts) bound->port(0);
        if (bind(udp_.get(), bound->raw(), bound->length) != 0) {
            if (any_port && errno == EADDRINUSE) continue;
            return false;
        }
        set_nodelay(listen_.get());  // inherited by accepted sockets
        return listen(listen_.get(), kBacklog) == 0;
    }
}

bool Server::tied(int fd) const {
    return interface_.empty() || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface_.c_str(),
                                            static_cast<socklen_t>(interface_.size() + 1)) == 0;
}

bool Server::bind_interface(const char* name) {
    interface_ = name;
    return !started_ || (tied(listen_.get()) && tied(udp_.get()));
}

std::optional<Address> Server::address() const {
    errno = ENOTCONN;
    return started_ ? Address::local(listen_.get()) : std::nullopt;
}

LinkPtr Server::find(vsoa_cli_id_t id) {
    const auto found = links_.find(id);
    if (found != links_.end() && found->second->living()) return found->second;
    errno = ENOENT;
    return nullptr;
}

int Server::count() {
    const auto guard = enter();
    return static_cast<int>(std::count_if(order_.begin(), order_.end(), [](const LinkPtr& l) { return l->living(); }));
}

int Server::ids(vsoa_cli_id_t* out, int max) {
    const auto guard = enter();
    int written = 0;
    for (const LinkPtr& link : order_) {
        if (written >= max) break;
        if (link->living()) out[written++] = link->id;
    }
    return written;
}

bool Server::reaches(const Link& link, std::string_view url) {
    return link.living() && link.authed && link.subscriptions.best(url, scratch_) != nullptr;
}

bool Server::is_subscribed(std::string_view url) {
    const auto guard = enter();
    return std::any_of(order_.begin(), order_.end(), [&](const LinkPtr& link) { return reaches(*link, url); });
}

bool Server::is_subscribed(vsoa_cli_id_t id, std::string_view url) {
    return with_client(id, [&](Link& link) { return reaches(link, url); });
}

bool Server::publish(std::string_view url, const Frame& frame) {
    if (!started_) {
        errno = ENOTCONN;
        return false;
    }
    std::array<uint8_t, kFlatPublish> room;
    Frame flat = frame;
    flat.flatten(room);
    auto held = enter();
    // Those without room come last, so that they delay nobody else's copy of this packet.
    const std::vector<LinkPtr> full = publish_now(held, url, flat);
    for (const LinkPtr& link : full) writer_.send(held, *link, flat);
    return true;
}

Server::Audience& Server::audience(std::unique_lock<std::mutex>& held, std::string_view url) {
    for (;; not_busy_.wait(held)) {
        const auto known =
            std::find_if(audiences_.begin(), audiences_.end(), [&](const Audience& a) { return a.url == url; });
        if (known != audiences_.end()) {
            if (known->busy) continue;
            if (known->made != subscriptions_changed_) gather(*known, url);
            return *known;
        }
        for (size_t i = 0; i < audiences_.size(); ++i) {
            Audience& oldest = audiences_[oldest_audience_++ % audiences_.size()];
            if (oldest.busy) continue;
            gather(oldest, url);
            return oldest;
        }
    }
}

void Server::gather(Audience& audience, std::string_view url) {
    audience.made = 0;
    audience.links.clear();
    for (const LinkPtr& link : order_) {
        if (link->subscriptions.best(url, scratch_) != nullptr) audience.links.push_back(link);
    }
    audience.url = url;
    audience.made = subscriptions_changed_;
}

struct Server::Fan {
    Fan(Server& of, Audience& to, bool wide) : server(of), audience(to), many(wide) {
        audience.busy = many;
        server.fanning_ += many;
    }
    ~Fan() {
        if (!many) return;
        audience.busy = false;
        --server.fanning_;
        server.not_busy_.notify_all();
    }
    Server& server;
    Audience& audience;
    const bool many;
};

/// To those with room; returns the others.
std::vector<LinkPtr> Server::publish_now(std::unique_lock<std::mutex>& held, std::string_view url, const Frame& frame) {
    std::vector<LinkPtr> full;
    Audience& to = audience(held, url);
    const uint64_t made = to.made;
    const std::vector<LinkPtr>& links = to.links;
    const bool many = links.size() > kBreath;
    const Fan fan(*this, to, many);
    for (size_t i = 0; i < links.size(); ++i) {
        if (many && i % kBreath == kBreath - 1) {
            // Whoever waits for the lock has it before this thread has it again.
            held.unlock();
            const std::lock_guard next(next_);
            held.lock();
        }
        if (i + 1 < links.size()) __builtin_prefetch(links[i + 1].get());
        Link& link = *links[i];
        if (!link.living() || !link.authed) continue;
        // Who has unsubscribed meanwhile may have been told so.
        if (subscriptions_changed_ != made && !reaches(link, url)) continue;
        if (writer_.offer(link, frame) == Writer::Offer::kFull) full.push_back(links[i]);
    }
    return full;
}

bool Server::quick_publish(std::string_view url, const Frame& frame) {
    if (!started_) {
        errno = ENOTCONN;
        return false;
    }
    const auto guard = enter();
    if (secure_) {
        errno = EOPNOTSUPP;
        return false;
    }
    for (const LinkPtr& link : order_) {
        // A datagram that the kernel does not take is lost, as any may be.
        if (link->quick && reaches(*link, url)) send_quick(udp_.get(), *link, frame);
    }
    return true;
}

bool Server::send_to(vsoa_cli_id_t id, const Frame& frame) {
    auto held = enter();
    const LinkPtr link = find(id);
    return link && writer_.send(held, *link, frame);
}

bool Server::quick_datagram(vsoa_cli_id_t id, const Frame& frame) {
    return with_client(id, [&](Link& link) {
        if (link.quick) return send_quick(udp_.get(), link, frame);
        errno = EOPNOTSUPP;
        return false;
    });
}

bool Server::drop_client(vsoa_cli_id_t id) {
    return with_client(id, [&](Link& link) {
        writer_.release(link);
        writer_.drop(link);
        return true;
    });
}

bool Server::priority(vsoa_cli_id_t id, int value) {
    auto held = enter();
    const LinkPtr link = find(id);
    if (!link) return false;
    link->priority = value;
    reorder();
    set_priority(link->fd.get(), link->peer.family(), value);
    return writer_.send(held, *link, Frame(VSOA_TYPE_QOSSETUP, VSOA_FLAG_REPLY, static_cast<uint8_t>(value)));
}

void Server::reorder() {
    ++subscriptions_changed_;
    std::stable_sort(order_.begin(), order_.end(),
                     [](const LinkPtr& a, const LinkPtr& b) { return a->priority > b->priority; });
}

void Server::send_timeout(bool present_too, int64_t timeout_ns) {
    const auto guard = enter();
    send_timeout_ns_ = timeout_ns;
    if (!present_too) return;
    for (auto& [id, link] : links_) link->send_timeout_ns = timeout_ns;
}

int64_t Server::send_timeout() {
    const auto guard = enter();
    return send_timeout_ns_;
}

void Server::listener(std::string_view url, vsoa_server_cmd_func_t callback, void* arg) {
    const auto guard = enter();
    listeners_.set(url, Callback<vsoa_server_cmd_func_t>{callback, arg});
}

void Server::remove_listener(std::string_view url) {
    const auto guard = enter();
    listeners_.erase(url);
}

vsoa_cli_id_t Server::free_id() {
    do {
        ++last_id_;
    } while (last_id_ == 0 || links_.contains(last_id_));
    return last_id_;
}

Fd Server::stream_listener(uint16_t& tunid, tls::SetupPtr& setup) {
    {
        const auto guard = enter();
        setup = secure_;
    }
    auto where = address();
    if (!where) return Fd();
    where->port(0);
    Fd fd(::socket(where->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd || !tied(fd.get()) || bind(fd.get(), where->raw(), where->length) != 0 || listen(fd.get(), 1) != 0)
        return Fd();
    where = Address::local(fd.get());
    if (!where) return Fd();
    tunid = htons(where->port());
    return fd;
}

}  // namespace vsoa
