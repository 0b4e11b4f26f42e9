// Connections and calls of a client; what arrives is in client_input.cpp.
#include "sdk/vsoa/src/client.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/src/json.hpp"

namespace vsoa {
namespace {

constexpr size_t kReadAtOnce = 64 * 1024;

}  // namespace

std::optional<uint16_t> CallTable::add(const Call& call) {
    if (2 * size_ >= slots_.size() && slots_.size() < kMost) grow();
    if (size_ == slots_.size()) {
        errno = EAGAIN;
        return std::nullopt;
    }
    do {
        ++last_;
    } while (slot_of(last_).used);
    slot_of(last_) = {true, last_, call};
    ++size_;
    return last_;
}

const Call* CallTable::find(uint32_t number) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[number & (slots_.size() - 1)];
    return slot.used && slot.number == number ? &slot.call : nullptr;
}

bool CallTable::erase(uint32_t number) {
    if (find(number) == nullptr) return false;
    release(slot_of(number));
    return true;
}

void CallTable::clear() {
    slots_.clear();
    slots_.shrink_to_fit();
    size_ = 0;
    last_ = 0;
}

void CallTable::grow() {
    // Numbers that had different slots have so in a larger table.
    std::vector<Slot> larger(std::max(kFirst, 2 * slots_.size()));
    for (const Slot& slot : slots_) {
        if (slot.used) larger[slot.number & (larger.size() - 1)] = slot;
    }
    slots_.swap(larger);
}

Client::Client(vsoa_client_t* handle, vsoa_client_msg_func_t on_message, void* arg)
    : handle_(handle), on_message_(on_message), on_message_arg_(arg), arrived_(kReadAtOnce) {}

Client::~Client() { disconnect(); }

bool Client::open() { return poller_.open(); }

bool Client::connected() {
    const std::lock_guard guard(lock_);
    return living() != nullptr;
}

std::optional<Address> Client::server() {
    const std::lock_guard guard(lock_);
    if (living() != nullptr) return connection_->server;
    errno = ENOTCONN;
    return std::nullopt;
}

void Client::secure(tls::SetupPtr setup) {
    const std::lock_guard guard(lock_);
    secure_.swap(setup);
}

bool Client::secured() {
    const std::lock_guard guard(lock_);
    return bool(secure_);
}

std::optional<Client::StreamTarget> Client::stream_target() {
    const std::lock_guard guard(lock_);
    if (living() != nullptr) return StreamTarget{connection_->server, connection_->setup, connection_->name};
    errno = ENOTCONN;
    return std::nullopt;
}

bool Client::connect(const Address& server, int64_t deadline, std::string_view password, std::string& info, int stop_fd,
                     const std::string& name) {
    if (connected()) {
        errno = EISCONN;
        return false;
    }
    disconnect();
    const auto connection = std::make_shared<Connection>();
    connection->server = server;
    connection->name = name.empty() ? server.ip() : name;
    {
        const std::lock_guard guard(lock_);
        connection->setup = secure_;
    }
    if (!open_channels(*connection, deadline, stop_fd)) return false;
    if (log_in(*connection, deadline, password, info, stop_fd) && adopt(connection)) return true;
    fail(*connection);
    const int saved = errno;
    const std::lock_guard guard(lock_);
    writer_.forget(*connection);
    errno = saved;
    return false;
}

bool Client::open_channels(Connection& connection, int64_t deadline, int stop_fd) {
    const Address& server = connection.server;
    connection.fd = open_socket(server.family(), SOCK_STREAM);
    if (!connection.fd) return false;
    const int fd = connection.fd.get();
    set_nodelay(fd);
    if (!connect_until(fd, server, deadline, stop_fd)) return false;
    if (connection.setup) {
        // Without a quick channel: it cannot be encrypted.
        connection.tls = connection.setup->session(fd, connection.name);
        return connection.tls && connection.setup->shake_hands(fd, *connection.tls, server, deadline, stop_fd);
    }
    // Connected to the service's address: only the server can reach it. Without it there are just no quick messages.
    connection.udp = open_socket(server.family(), SOCK_DGRAM);
    if (connection.udp && ::connect(connection.udp.get(), server.raw(), server.length) != 0) connection.udp.reset();
    return true;
}

/// A login came to nothing. A server that does not like what this side showed says so after the handshake, maybe while
/// the login is being sent.
void Client::fail(Connection& connection) {
    if (!connection.tls) return;
    const int error = errno;
    char unused;
    if (connection.tls->trouble().error == 0 && (error == ENOTCONN || error == ECONNRESET || error == EPIPE)) {
        connection.tls->read(&unused, sizeof unused);
    }
    connection.setup->report(connection.server, *connection.tls);
    errno = connection.tls->trouble().error != 0 ? connection.tls->trouble().error : error;
}

bool Client::adopt(const ConnectionPtr& connection) {
    const std::lock_guard guard(lock_);
    if (!poller_.add(connection->fd.get(), EPOLLIN | EPOLLRDHUP, kTcpTag)) return false;
    if (connection->udp && !poller_.add(connection->udp.get(), EPOLLIN, kUdpTag)) connection->udp.reset();
    connection_ = connection;
    calls_.clear();
    last_unanswered_ = 0;
    if (!connection->receiver.empty() || connection->pending()) poller_.wake();  // what came right behind the answer
    return true;
}

bool Client::send_login(Connection& connection, std::string_view password) {
    std::string param;
    if (!password.empty()) {
        param = "{\"passwd\":";
        json::append_string(param, password);
        param += '}';
    }
    const vsoa_payload_t payload = {param.data(), param.size(), nullptr, 0};
    Frame frame(VSOA_TYPE_SERVINFO);
    if (const auto local = connection.udp ? Address::local(connection.udp.get()) : std::nullopt) {
        frame.tunid(htons(local->port()));
    }
    if (!frame.body(nullptr, &payload)) return false;
    std::unique_lock held(lock_);
    connection.send_timeout_ns = send_timeout_ns_;
    return writer_.send(held, connection, frame);
}

bool Client::log_in(Connection& connection, int64_t deadline, std::string_view password, std::string& info,
                    int stop_fd) {
    if (!send_login(connection, password)) return false;
    for (;;) {
        vsoa_header_t* header = nullptr;
        const Receiver::Next next = connection.receiver.next(header);
        if (next == Receiver::Next::kBad) {
            errno = EPROTO;
            return false;
        }
        if (next == Receiver::Next::kPacket) {
            // Nothing else has a meaning before the answer.
            if (header->type == VSOA_TYPE_SERVINFO) return accept_login(connection, Packet(header), info);
            continue;
        }
        // A server that talks without end has only so long, too.
        if (now_ns() >= deadline) {
            errno = ETIMEDOUT;
            return false;
        }
        const Receiver::Space space = connection.receiver.space();
        const ssize_t got = connection.receive(space.at, space.room);
        if (got > 0) connection.receiver.commit(static_cast<size_t>(got));
        if (got == 0) errno = ECONNRESET;
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return false;
        if (got < 0 && !wait_for(connection.fd.get(), POLLIN, deadline, stop_fd)) return false;
    }
}

bool Client::accept_login(Connection& connection, const Packet& packet, std::string& info) {
    // The vendor's Go server answers a missing password with a packet that is no reply.
    if (!packet.reply || packet.status != VSOA_STATUS_SUCCESS) {
        errno = !packet.reply || packet.status == VSOA_STATUS_PASSWORD ? EACCES : EPROTO;
        return false;
    }
    info.assign(packet.param_text());
    const auto* data = static_cast<const uint8_t*>(packet.payload.data);
    if (packet.payload.data_len >= 4) {
        uint32_t id;
        std::memcpy(&id, data, sizeof id);
        connection.id = ntohl(id);
        connection.quick = bool(connection.udp);
    }
    if (packet.payload.data_len >= 6 && connection.udp) {
        // Connecting again keeps the local port, which the server has been told.
        Address quick = connection.server;
        quick.port(static_cast<uint16_t>(data[4] << 8 | data[5]));
        if (::connect(connection.udp.get(), quick.raw(), quick.length) != 0) connection.quick = false;
    }
    return true;
}

void Client::disconnect() {
    const std::lock_guard guard(lock_);
    if (connection_) {
        poller_.remove(connection_->fd.get());
        if (connection_->udp) poller_.remove(connection_->udp.get());
        writer_.release(*connection_);
        writer_.drop(*connection_);  // wakes senders that wait for room
        writer_.forget(*connection_);
        connection_->tls.reset();
        connection_->fd.reset();
        connection_->udp.reset();
        connection_.reset();
    }
    calls_.erase_if([&](const Call& call) {
        orphans_.push_back(call);
        return true;
    });
    orphaned_ = orphaned_ || !orphans_.empty();
    if (!orphans_.empty()) poller_.wake();
}

bool Client::linger(int seconds) {
    const std::lock_guard guard(lock_);
    if (living() != nullptr) return set_linger(connection_->fd.get(), seconds);
    errno = ENOTCONN;
    return false;
}

void Client::send_timeout(int64_t timeout_ns) {
    const std::lock_guard guard(lock_);
    send_timeout_ns_ = timeout_ns;
    if (connection_) connection_->send_timeout_ns = timeout_ns;
}

void Client::watch_deadline(int64_t deadline) {
    if (deadline >= armed_) return;
    armed_ = deadline;
    poller_.arm(deadline);
}

bool Client::request(Frame& frame, const Call& call) {
    std::unique_lock held(lock_);
    const Connection* const connection = living();
    if (connection == nullptr) {
        errno = ENOTCONN;
        return false;
    }
    if (!call.wants_answer()) {
        // Numbers with an empty lower half are never waited for.
        if (++last_unanswered_ == 0) ++last_unanswered_;
        frame.seqno(uint32_t{last_unanswered_} << 16);
        return transmit(held, frame);
    }
    const auto number = calls_.add(call);
    if (!number) return false;
    frame.seqno(*number);
    if (call.sync != nullptr) {
        call.sync->seqno = *number;
    } else {
        watch_deadline(call.deadline);
    }
    if (transmit(held, frame)) return true;
    // The event loop may have noticed the loss first; then the call has been, or will be, ended as lost.
    return connection_.get() != connection || !calls_.erase(*number);
}

bool Client::transmit(std::unique_lock<std::mutex>& held, const Frame& frame) {
    const Writer::Offer offered = writer_.offer(*connection_, frame);
    if (offered == Writer::Offer::kTaken) return true;
    if (offered == Writer::Offer::kFull) {
        const ConnectionPtr kept = connection_;  // the lock is given away meanwhile
        return writer_.send(held, *kept, frame);
    }
    errno = ENOTCONN;
    return false;
}

bool Client::send(const Frame& frame) {
    std::unique_lock held(lock_);
    if (living() != nullptr) return transmit(held, frame);
    errno = ENOTCONN;
    return false;
}

bool Client::send_quick(Frame& frame) {
    const std::lock_guard guard(lock_);
    if (living() == nullptr || !connection_->quick) {
        errno = living() == nullptr ? ENOTCONN : EOPNOTSUPP;
        return false;
    }
    frame.seqno(connection_->id);
    Frame::Pieces pieces;
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = frame.pieces(0, pieces);
    // A refusal reported here is that of an earlier datagram; the second attempt sends this one.
    return sendmsg(connection_->udp.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 ||
           (errno == ECONNREFUSED && sendmsg(connection_->udp.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0);
}

bool Client::request_and_wait(Frame& frame, vsoa_client_sync_call_t& sync, int64_t deadline) {
    if (in_loop()) {
        errno = EDEADLK;
        return false;
    }
    sync.ended = 0;
    sync.answered = false;
    Call call;
    call.sync = &sync;
    if (!request(frame, call)) return false;
    if (sleep_while(sync.ended, 0, deadline)) return true;
    const std::lock_guard guard(lock_);
    if (sync.ended != 0) return true;
    // Nobody may touch sync after this call. After a new connection its number may be that of another call.
    if (const Call* own = calls_.find(sync.seqno); own != nullptr && own->sync == &sync) calls_.erase(sync.seqno);
    std::erase_if(orphans_, [&](const Call& orphan) { return orphan.sync == &sync; });
    return true;
}

bool Client::awaits_rpc() {
    const std::lock_guard guard(lock_);
    bool any = false;
    calls_.erase_if([&](const Call& call) {
        any = any || call.type == VSOA_TYPE_RPC;
        return false;
    });
    return any;
}

}  // namespace vsoa
