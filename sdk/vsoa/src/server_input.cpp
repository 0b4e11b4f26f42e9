// What arrives at a server: connections, logins, packets, time limits. All of it in the thread of the event loop.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/src/server.hpp"

namespace vsoa {
namespace {

// What one peer, or all new ones, may cost in one turn of the loop, before it is the others' turn.
constexpr int kAcceptBatch = 2, kHandshakeBatch = 2, kDatagramBatch = 8, kPacketBatch = 128, kPendingReads = 4;
// With TLS a stranger costs as much as a hundred calls, and each one alone would make a call of somebody else's late.
// So, as long as clients are busy, strangers are received together and make one of them late.
constexpr int kReceivedConnections = 8;
constexpr size_t kReceivedHandshakes = 32;
constexpr int64_t kReceptionRest_ns = 5 * kNanosPerMs, kReceptionShare = 2;  // and at least so many times what it took
constexpr uint64_t kBusyPackets = 64;                                        // of clients in such a rest
constexpr size_t kMaxLogins = 4 * kMaxStrangers;        // deadlines kept, also of connections that are gone
constexpr int64_t kAcceptPause_ns = 100 * kNanosPerMs;  // no descriptor is free
constexpr int64_t kAcceptRest_ns = 2 * kNanosPerMs;     // they come too fast
constexpr int64_t kLoopLate_ns = 500 * kNanosPerMs;     // then others end who does not log in
constexpr int64_t kHandshake_ns = VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT * kNanosPerMs;

constexpr int kGuesses = 16;

struct Within {
    explicit Within(bool& said) : flag(said), before(std::exchange(said, true)) {}
    ~Within() { flag = before; }
    bool& flag;
    const bool before;
};

struct Inside {
    explicit Inside(int& times) : depth(times) { ++depth; }
    ~Inside() { --depth; }
    int& depth;
};

/// All of the urls or, when they are too many or too long, none.
bool add_all(Subscriptions& to, const std::vector<std::string>& urls) {
    std::vector<std::string_view> added;
    for (const std::string& url : urls) {
        if (to.set(url)) added.emplace_back(url);
        if (to.size() <= kMaxSubscriptions && to.bytes() <= kMaxSubscribedBytes) continue;
        for (const std::string_view again : added) to.erase(again);
        return false;
    }
    return true;
}

}  // namespace

void Server::input(int timeout_ms) {
    const Inside inside(depth_);
    if (timeout_ms == 0 && read_busy()) return;
    handle_ready(timeout_ms);
    if (!paused_.empty() && depth_ == 1) resume_paused();
    check_deadlines();
}

/// One client that calls again and again needs no question whether it did. Others wait for some rounds at most.
bool Server::read_busy() {
    if (!busy_ || busy_->dead || busy_->refused || !paused_.empty() || ++guesses_ > kGuesses) return false;
    const LinkPtr link = busy_;
    return read_link(link);
}

void Server::handle_ready(int timeout_ms) {
    const auto events = poller_.ready(timeout_ms);
    busy_.reset();
    guesses_ = 0;
    handshakes_ = kHandshakeBatch;
    for (const epoll_event& event : events) {
        if (event.data.u64 == kListenTag) {
            accept_all();
        } else if (event.data.u64 == kQuickTag) {
            read_quick();
        } else {
            LinkPtr link;
            {
                const auto guard = enter();
                const auto found = links_.find(static_cast<vsoa_cli_id_t>(event.data.u64));
                if (found != links_.end()) link = found->second;
            }
            if (!link) continue;
            link->spoke = true;
            if (read_link(link) && events.size() == 1 && link->announced) busy_ = link;
        }
    }
}

void Server::accept_all() {
    const int64_t now = now_ns();
    accept_due_ = std::max(accept_due_, now);
    if (accept_due_ - now > kAcceptBurst * accept_interval_ns_) return pause_accept(now + kAcceptRest_ns);
    if (!receives(now)) return pause_accept(reception_due_);
    // Whose handshake has begun comes before who is new, and would have to give way to them before it is done.
    if (std::exchange(behind_, false)) return;
    {
        const Within within(receiving_);
        accept_some(kAcceptBatch, now);
    }
    received(now);
}

/// True: there may be more of them.
bool Server::accept_some(int most, int64_t now) {
    for (int i = 0; i < most; ++i) {
        Address peer;
        peer.length = sizeof peer.storage;
        Fd fd(accept4(listen_.get(), peer.raw(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (fd) {
            accept_due_ += accept_interval_ns_;
            ++counts_.accepted;
            accept_one(std::move(fd), peer);
            continue;
        }
        // No descriptor is free: the waiting connection would make the event loop spin.
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accept(now + kAcceptPause_ns);
        if (errno != EINTR && errno != ECONNABORTED) return false;
    }
    return true;
}

void Server::accept_one(Fd fd, const Address& peer) {
    make_room();
    auto link = std::make_shared<Link>();
    link->fd = std::move(fd);
    link->peer = peer;
    link->receiver.limit(kMaxLoginPacket);
    const auto guard = enter();
    link->id = free_id();
    link->send_timeout_ns = send_timeout_ns_;
    if (secure_ && !(link->tls = secure_->session(link->fd.get()))) return;
    if (!poller_.add(link->fd.get(), EPOLLIN | EPOLLRDHUP, link->id)) return;
    links_.emplace(link->id, link);
    link->login_by = now_ns() + kHandshake_ns;
    waiting_.push_back(link);
    writer_.alarm(link->login_by + kLoopLate_ns);
    ++strangers_;
    if (logins_.size() >= kMaxLogins) {
        std::erase_if(logins_, [&](const auto& login) {
            const auto found = links_.find(login.second);
            return found == links_.end() || found->second->announced;
        });
    }
    logins_.emplace_back(link->login_by, link->id);
    if (logins_.size() == 1) arm();
}

/// Who has waited longest without a login gives way: connections that say nothing keep out nobody who can log in.
/// Before it go who was refused, and of the older half who has not said anything, for the sake of handshakes that are
/// under way. A login that has arrived, but was not read yet, counts.
void Server::make_room() {
    while (strangers_ >= kMaxStrangers) {
        const LinkPtr goes = first_to_go();
        uint8_t byte;
        const bool speaks = !goes->spoke && recv(goes->fd.get(), &byte, 1, MSG_PEEK) > 0;
        goes->spoke = goes->spoke || speaks;
        read_link(goes);
        if (goes->announced || speaks) continue;
        // A reset costs this side half of an orderly end, and keeps nothing of it.
        if (goes->fd && !goes->refused) set_linger(goes->fd.get(), 0);
        if (!goes->refused) ++counts_.late;
        remove(goes);
    }
}

LinkPtr Server::first_to_go() {
    const auto guard = enter();
    const auto end = waiting_.end(), half = waiting_.begin() + static_cast<ptrdiff_t>(waiting_.size() / 2);
    const auto refused = std::find_if(waiting_.begin(), end, [](const LinkPtr& link) { return link->refused; });
    if (refused != end) return *refused;
    const auto silent = std::find_if(waiting_.begin(), half, [](const LinkPtr& link) { return !link->spoke; });
    return silent != half ? *silent : waiting_.front();
}

/// Who waits to be taken is left alone until then.
void Server::pause_accept(int64_t until) {
    const int saved = errno;
    poller_.remove(listen_.get());
    accept_again_ = until;
    arm();
    errno = saved;
}

void Server::arm() {
    const int64_t login = logins_.empty() ? kForever : logins_.front().first;
    poller_.arm(std::min({login, accept_again_, parked_.empty() ? kForever : reception_due_}));
}

void Server::check_deadlines() {
    if (logins_.empty() && accept_again_ == kForever) return;
    const int64_t now = now_ns();
    if (reception_due_ <= now && (!parked_.empty() || (busy_clients_ && accept_again_ <= now))) receive_all(now);
    bool changed = poller_.rang();  // maybe for one that is gone: the next one's time limit is still to come
    if (accept_again_ <= now) {
        accept_again_ = kForever;
        poller_.add(listen_.get(), EPOLLIN, kListenTag);
        changed = true;
    }
    while (!logins_.empty() && logins_.front().first <= now) {
        LinkPtr late;
        {
            const auto guard = enter();
            const auto found = links_.find(logins_.front().second);
            if (found != links_.end() && !found->second->logged_in) late = found->second;
        }
        logins_.pop_front();
        if (late && !late->refused) ++counts_.late;
        if (late) remove(late);
        changed = true;
    }
    if (changed) arm();
}

/// Of a program that does not come to its event loop: whoever should have logged in is cut off all the same.
int64_t Server::end_strangers(int64_t now) {
    int64_t next = kForever;
    for (const LinkPtr& link : waiting_) {
        const int64_t limit = link->login_by + kLoopLate_ns;
        if (limit <= now) {
            writer_.drop(*link);
        } else {
            next = std::min(next, limit);
        }
    }
    return next;
}

void Server::remove(const LinkPtr& link) {
    {
        const auto guard = enter();
        if (links_.erase(link->id) == 0) return;
        std::erase(link->logged_in ? order_ : waiting_, link);
        ++subscriptions_changed_;
        for (Audience& audience : audiences_) {
            if (!audience.busy) audience.links.clear();
        }
        writer_.release(*link);
        writer_.forget(*link);
        poller_.remove(link->fd.get());
        if (link->tls && !link->dead) link->tls->goodbye();
        link->dead = true;
        link->tls.reset();
        link->fd.reset();
    }
    if (!link->announced) --strangers_;
    if (link->parked) std::erase(parked_, link);
    if (link->announced && on_client_.function != nullptr) {
        on_client_.function(on_client_.arg, handle_, link->id, false);
    }
}

/// Nothing that a refused peer says counts. It closes when it has read the answer, or its time limit ends it.
void Server::discard(const LinkPtr& link) {
    char bytes[kMaxLoginPacket];
    const ssize_t got = recv(link->fd.get(), bytes, sizeof bytes, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) remove(link);
}

/// False: nothing was there.
bool Server::read_link(const LinkPtr& link) {
    if (link->paused) return false;
    if (link->refused) {
        discard(link);
        return true;
    }
    if (link->tls && !link->tls->ready() && !shake_hands(link)) return true;
    if (!read_once(link)) return false;
    read_pending(link);
    return true;
}

/// What TLS has taken from the socket already, epoll tells nobody of.
void Server::read_pending(const LinkPtr& link) {
    for (int reads = 1; link->pending() && !link->paused && !link->refused; ++reads) {
        // Who sends faster than it is read has something here at every look.
        if (reads == kPendingReads) return pause(link);
        if (!read_once(link)) return;
    }
}

/// Whether strangers may take their time now.
bool Server::receives(int64_t now) const {
    return receiving_ || !secure_ || !busy_clients_ || now >= reception_due_ || accept_interval_ns_ == 0;
}

void Server::received(int64_t began) {
    if (!secure_ || receiving_) return;
    const int64_t now = now_ns(), observed = now - served_since_;
    reception_due_ = now + std::max(kReceptionRest_ns, kReceptionShare * (now - began));
    if (observed < kReceptionRest_ns) return;
    busy_clients_ = served_ >= kBusyPackets * static_cast<uint64_t>(observed / kReceptionRest_ns);
    served_ = 0;
    served_since_ = now;
}

void Server::receive_all(int64_t now) {
    std::vector<LinkPtr> links(parked_.begin(),
                               parked_.begin() + static_cast<ptrdiff_t>(std::min(parked_.size(), kReceivedHandshakes)));
    parked_.erase(parked_.begin(), parked_.begin() + static_cast<ptrdiff_t>(links.size()));
    for (const LinkPtr& link : links) link->parked = false;
    {
        const Within within(receiving_);
        for (const LinkPtr& link : links) {
            if (link->dead ||
                !poller_.add(link->fd.get(), EPOLLIN | EPOLLRDHUP | (link->writes ? EPOLLOUT : 0u), link->id)) {
                remove(link);
            } else {
                read_link(link);
            }
        }
        // As long as more are waiting, the listening socket is looked at in receptions only.
        if (accept_again_ <= now && accept_some(kReceivedConnections, now)) accept_again_ = now + kReceptionRest_ns;
    }
    received(now);
    arm();
}

/// False: it is not done.
bool Server::shake_hands(const LinkPtr& link) {
    if (link->parked) return false;
    const int64_t began = now_ns();
    if (!receives(began)) {
        link->parked = true;
        parked_.push_back(link);
        poller_.remove(link->fd.get());
        if (parked_.size() == 1) arm();
        return false;
    }
    // The rest waits for the next turn.
    if (!receiving_ && handshakes_-- <= 0) {
        behind_ = true;
        return false;
    }
    const tls::Session::Step step = link->tls->handshake();
    received(began);
    const bool writes = step == tls::Session::Step::kWritable;
    if (writes != link->writes && !link->dead) {
        link->writes = writes;
        poller_.change(link->fd.get(), EPOLLIN | EPOLLRDHUP | (writes ? EPOLLOUT : 0u), link->id);
    }
    if (step == tls::Session::Step::kDone) return true;
    if (step != tls::Session::Step::kFailed) return false;
    ++counts_.insecure;
    report(*link);
    // The peer has been told why; it would not read that from a connection that is reset.
    link->refused = true;
    shutdown(link->fd.get(), SHUT_WR);
    return false;
}

void Server::report(const Link& link) {
    const tls::SetupPtr setup = secure_;  // the program may change it when it hears of this
    if (setup && link.tls) setup->report(link.peer, *link.tls);
}

/// False: nothing was there.
bool Server::read_once(const LinkPtr& link) {
    // A callback may call the event loop: what it reads must not overwrite what is being handled.
    const Receiver::Space space = link->receiver.space(depth_ == 1 ? std::span(arrived_) : std::span<uint8_t>());
    const ssize_t got = link->receive(space.at, space.room);
    if (got <= 0) link->receiver.give_back();
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got <= 0) {
        if (link->tls && link->tls->trouble().error != 0) ++counts_.insecure;
        report(*link);
        remove(link);
        return true;
    }
    link->receiver.commit(static_cast<size_t>(got));
    handle_received(link);
    return true;
}

void Server::handle_received(const LinkPtr& link) {
    try {
        if (!handle_all(link)) remove(link);
    } catch (...) {
        // The rest of what came lies where the next client's packets will.
        link->refused = true;
        const auto guard = enter();
        writer_.drop(*link);
        throw;
    }
}

/// Until the others have had their turn, and until the peer has read what it asked for before: it must not make the
/// loop wait for room.
void Server::pause(const LinkPtr& link) {
    link->receiver.give_back();
    link->paused = true;
    poller_.remove(link->fd.get());
    paused_.push_back(link);
    if (!link->clogged) poller_.wake();  // else the Writer does
}

void Server::resume_paused() {
    for (size_t left = paused_.size(); left > 0; --left) {
        const LinkPtr link = std::move(paused_.front());
        paused_.pop_front();
        if (link->clogged && !link->dead) {
            paused_.push_back(link);
            continue;
        }
        link->paused = false;
        if (link->dead || !poller_.add(link->fd.get(), EPOLLIN | EPOLLRDHUP, link->id)) {
            remove(link);
        } else {
            handle_received(link);
            read_pending(link);
        }
    }
}

/// False: the connection is over.
bool Server::handle_all(const LinkPtr& link) {
    Batch batch(writer_, *link);
    vsoa_header_t* header = nullptr;
    for (int handled = 1;; ++handled) {
        const Receiver::Next next = link->receiver.next(header);
        if (next == Receiver::Next::kBad) ++counts_.broken;
        if (next != Receiver::Next::kPacket) return next == Receiver::Next::kMore;
        const bool another = link->receiver.another();
        batch.packet(another);
        handle(link, Packet(header));
        if (link->refused) {
            link->receiver.give_back();
            return true;
        }
        // A callback, or another thread, may have dropped the client.
        if (link->dead) return false;
        if (link->clogged || (another && handled >= kPacketBatch)) {
            pause(link);
            return true;
        }
    }
}

void Server::read_quick() {
    const size_t room = datagram_.size() * sizeof(uint64_t);
    for (int i = 0; i < kDatagramBatch; ++i) {
        Address from;
        from.length = sizeof from.storage;
        const ssize_t got = recvfrom(udp_.get(), datagram_.data(), room, 0, from.raw(), &from.length);
        if (got < 0) return;
        vsoa_header_t* header = check_datagram(datagram_.data(), static_cast<size_t>(got));
        if (header == nullptr || header->type != VSOA_TYPE_DATAGRAM || on_datagram_.function == nullptr) continue;
        Packet packet(header);
        // The number alone is no proof of the sender: number and source address must be of one client.
        const bool known = with_client(packet.seqno, [&](Link& l) { return l.quick && l.quick->same(from); });
        if (known) {
            on_datagram_.function(on_datagram_.arg, handle_, packet.seqno, &packet.url, &packet.payload, true);
        }
    }
}

void Server::handle(const LinkPtr& link, const Packet& packet) {
    if (packet.reply || packet.type == VSOA_TYPE_NOOP) return;
    if (!link->announced) return before_login(link, packet);
    ++served_;
    switch (packet.type) {
        case VSOA_TYPE_SERVINFO:
            return login(link, packet);
        case VSOA_TYPE_RPC:
            return call(link, packet);
        case VSOA_TYPE_SUBSCRIBE:
            return subscribe(link, packet, true);
        case VSOA_TYPE_UNSUBSCRIBE:
            return subscribe(link, packet, false);
        case VSOA_TYPE_PINGECHO:
            return answer(link, packet, VSOA_STATUS_SUCCESS);
        case VSOA_TYPE_DATAGRAM:
            if (on_datagram_.function != nullptr) {
                Packet copy = packet;
                on_datagram_.function(on_datagram_.arg, handle_, link->id, &copy.url, &copy.payload, false);
            }
            return;
        default:
            return;  // PUBLISH, QOSSETUP and unknown types are nothing a client sends
    }
}

void Server::before_login(const LinkPtr& link, const Packet& packet) {
    switch (packet.type) {
        case VSOA_TYPE_SERVINFO:
            return login(link, packet);
        case VSOA_TYPE_RPC:
        case VSOA_TYPE_SUBSCRIBE:
        case VSOA_TYPE_UNSUBSCRIBE:
        case VSOA_TYPE_PINGECHO:
            return refuse(link, packet);
        default:
            return;
    }
}

/// Says so and closes this side; the peer gets the answer before the end. The login's time limit ends the rest.
void Server::refuse(const LinkPtr& link, const Packet& packet) {
    ++counts_.refused;
    answer(link, packet, VSOA_STATUS_PASSWORD);
    link->refused = true;
    if (link->tls) link->tls->goodbye();
    shutdown(link->fd.get(), SHUT_WR);
}

bool Server::password_fits(const Packet& packet) const {
    if (password_.empty()) return true;
    bool fits = false;
    const bool object = json::read_object(packet.param_text(), [&](std::string_view key, const json::Value& value) {
        if (key == "passwd") fits = value.kind == json::Value::Kind::kString && value.text == password_;
    });
    return object && fits;
}

void Server::login(const LinkPtr& link, const Packet& packet) {
    // A login on a live connection is checked again; a wrong one ends it.
    if (!password_fits(packet)) {
        if (!link->announced) return refuse(link, packet);
        ++counts_.refused;
        answer(link, packet, VSOA_STATUS_PASSWORD);
        const auto guard = enter();
        return writer_.drop(*link);
    }
    uint8_t data[6] = {static_cast<uint8_t>(link->id >> 24),   static_cast<uint8_t>(link->id >> 16),
                       static_cast<uint8_t>(link->id >> 8),    static_cast<uint8_t>(link->id),
                       static_cast<uint8_t>(quick_port_ >> 8), static_cast<uint8_t>(quick_port_)};
    const vsoa_payload_t payload = {const_cast<char*>(info_.data()), info_.size(), data, same_port_ ? 4u : 6u};
    Frame frame(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, VSOA_STATUS_SUCCESS, packet.seqno);
    const bool first = !link->announced;
    {
        auto held = enter();
        link->quick.reset();
        if (!link->tls && (packet.header->flags & VSOA_FLAG_TUNNEL) != 0 && packet.header->tunid != 0) {
            link->quick = link->peer;
            link->quick->port(ntohs(packet.header->tunid));
            link->own = Address::local(link->fd.get());
        }
        // One send, before anything else can be sent to this client: the vendor's Python client takes only what comes
        // with the first segment.
        if (!frame.body(nullptr, &payload) || !writer_.send(held, *link, frame)) return writer_.drop(*link);
        if (first) {
            link->logged_in = true;
            std::erase(waiting_, link);
            const auto less = [](const LinkPtr& a, const LinkPtr& b) { return a->priority > b->priority; };
            order_.insert(std::upper_bound(order_.begin(), order_.end(), link, less), link);
            ++subscriptions_changed_;
        }
    }
    if (!first) return;
    link->announced = true;
    ++counts_.logins;
    --strangers_;
    link->receiver.limit(VSOA_MAX_PACKET_LENGTH);
    if (on_client_.function != nullptr) on_client_.function(on_client_.arg, handle_, link->id, true);
}

void Server::answer(const LinkPtr& link, const Packet& packet, uint8_t status) {
    auto held = enter();
    writer_.send(held, *link, Frame(packet.type, VSOA_FLAG_REPLY, status, packet.seqno));
}

void Server::subscribe(const LinkPtr& link, const Packet& packet, bool on) {
    std::vector<std::string> urls;
    bool good = true;
    const bool all = !on && packet.url.url_len == 0 && packet.payload.param_len == 0;
    if (packet.url.url_len > 0) {
        urls.emplace_back(packet.url_text());
    } else if (!all) {
        good = json::read_strings(packet.param_text(), urls) && !urls.empty();
    }
    good = good && std::all_of(urls.begin(), urls.end(), [](const std::string& url) { return is_url(url); });
    uint8_t status = good ? VSOA_STATUS_SUCCESS : VSOA_STATUS_ARGUMENTS;
    if (good) {
        const auto guard = enter();
        Subscriptions& present = link->subscriptions;
        ++subscriptions_changed_;
        if (all) present.clear();
        if (on) {
            if (!add_all(present, urls)) status = VSOA_STATUS_NO_MEMORY;
        } else {
            for (const std::string& url : urls) present.erase(url);
        }
    }
    answer(link, packet, status);
}

void Server::call(const LinkPtr& link, Packet packet) {
    if (!is_url(packet.url_text())) return answer(link, packet, VSOA_STATUS_ARGUMENTS);
    Callback<vsoa_server_cmd_func_t> listener;
    {
        const auto guard = enter();
        if (const auto* found = listeners_.best(packet.url_text(), scratch_)) listener = *found;
    }
    if (listener.function == nullptr) return answer(link, packet, VSOA_STATUS_INVALID_URL);
    listener.function(listener.arg, handle_, link->id, packet.header, &packet.url, &packet.payload);
}

}  // namespace vsoa
