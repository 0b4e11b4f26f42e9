// What arrives at a client. All of it in the thread of the event loop.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/src/client.hpp"

namespace vsoa {
namespace {

constexpr int kDatagramBatch = 64, kGuesses = 16, kPendingReads = 4;
constexpr uint8_t kMaxPriority = 7;  // the vendor's C library stops at 5, its JavaScript server at 7

}  // namespace

void Client::on_datagram(vsoa_client_dat_func_t callback, void* arg) {
    on_datagram_ = callback;
    on_datagram_arg_ = arg;
}

bool Client::input(int timeout_ms) {
    const Loop loop(*this);
    if (timeout_ms != 0 || !read_again()) read_ready(timeout_ms);
    // A lost connection ends its calls now: the program may not come back. Another thread may have found it broken;
    // one that does so from here on is heard in the next round.
    if (connection_ && connection_->dead) lose(connection_);
    if (orphaned_) end_orphans();
    return connection_ != nullptr;
}

void Client::read_ready(int timeout_ms) {
    bool tcp = false, udp = false;
    for (const epoll_event& event : poller_.ready(timeout_ms)) {
        tcp = tcp || event.data.u64 == kTcpTag;
        udp = udp || event.data.u64 == kUdpTag;
    }
    only_tcp_ = tcp && !udp;
    guesses_ = 0;
    const ConnectionPtr connection = connection_;
    const bool rang = poller_.rang();
    if (connection && udp) read_quick(connection);
    // Packets may have come right behind the login's answer.
    if (connection && connection_ == connection && !connection->receiver.empty()) {
        if (!dispatch_all(connection) && connection_ == connection) disconnect();
    }
    // A callback may have disconnected, and even connected anew.
    if (connection && connection_ == connection && (tcp || connection->pending())) read(connection);
    if (rang) expire();
}

/// Where only the connection had something, it may have again; that is read without a question. Other things wait for
/// some rounds at most.
bool Client::read_again() {
    if (!only_tcp_ || !connection_ || orphaned_ || ++guesses_ > kGuesses) return false;
    const ConnectionPtr connection = connection_;
    return read(connection);
}

/// False: nothing was there.
bool Client::read(const ConnectionPtr& connection) {
    if (!read_once(connection)) return false;
    // What TLS has taken from the socket already, epoll tells nobody of.
    for (int reads = 1; connection_ == connection && connection->pending(); ++reads) {
        // A server that sends faster than this client reads must not keep it from all else.
        if (reads == kPendingReads) {
            poller_.wake();
            break;
        }
        if (!read_once(connection)) break;
    }
    return true;
}

bool Client::read_once(const ConnectionPtr& connection) {
    const Receiver::Space space = connection->receiver.space(arrived_);
    const ssize_t got = connection->receive(space.at, space.room);
    if (got <= 0) connection->receiver.give_back();
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got > 0) connection->receiver.commit(static_cast<size_t>(got));
    const bool good = got > 0 && dispatch_all(connection);
    if (!good && connection_ == connection) lose(connection);
    return true;
}

void Client::lose(const ConnectionPtr& connection) {
    const ConnectionPtr lost = connection;  // it may be the member that disconnect clears
    const std::unique_ptr<tls::Session> session = [&] {
        const std::lock_guard guard(lock_);
        writer_.drop(*lost);
        return std::move(lost->tls);
    }();
    disconnect();
    if (session) lost->setup->report(lost->server, *session);
}

/// False: what came is not VSOA.
bool Client::dispatch_all(const ConnectionPtr& connection) {
    Batch batch(writer_, *connection);
    vsoa_header_t* header = nullptr;
    for (;;) {
        const Receiver::Next next = connection->receiver.next(header);
        if (next != Receiver::Next::kPacket) return next == Receiver::Next::kMore;
        batch.packet(connection->receiver.another());
        dispatch(*connection, Packet(header));
        // A callback may have disconnected, and even connected anew.
        if (connection_ != connection) return true;
    }
}

void Client::dispatch(Connection& connection, Packet packet) {
    switch (packet.type) {
        case VSOA_TYPE_PUBLISH:
        case VSOA_TYPE_DATAGRAM:
            return deliver(packet, false);
        case VSOA_TYPE_QOSSETUP:
            if (packet.status > kMaxPriority) return;
            set_priority(connection.fd.get(), connection.server.family(), packet.status);
            if (connection.udp) set_priority(connection.udp.get(), connection.server.family(), packet.status);
            return;
        default:
            if (packet.reply) answered(packet);
            return;
    }
}

void Client::deliver(Packet& packet, bool quick) {
    if (packet.type == VSOA_TYPE_PUBLISH) {
        if (on_message_ != nullptr) on_message_(on_message_arg_, handle_, &packet.url, &packet.payload, quick);
    } else if (packet.type == VSOA_TYPE_DATAGRAM) {
        if (on_datagram_ != nullptr) on_datagram_(on_datagram_arg_, handle_, &packet.url, &packet.payload, quick);
    }
}

void Client::answered(Packet& packet) {
    std::unique_lock held(lock_);
    const Call* const found = calls_.find(packet.seqno);
    // The number alone decides with the vendor; a wrong type can only be a confused server, whose answer proves
    // nothing.
    if (found == nullptr || found->type != packet.type) return;
    const Call call = *found;
    calls_.erase(packet.seqno);
    if (call.sync != nullptr) end_sync(*call.sync, packet.header);
    held.unlock();
    if (call.sync != nullptr) return wake_sleepers(call.sync->ended);
    if (call.on_reply != nullptr) {
        call.on_reply(call.arg, handle_, packet.header, &packet.payload);
    } else {
        call.on_result(call.arg, handle_, packet.status == VSOA_STATUS_SUCCESS);
    }
}

void Client::end_sync(vsoa_client_sync_call_t& sync, const vsoa_header_t* reply) {
    if (reply != nullptr) {
        const auto length = static_cast<size_t>(packet_length(*reply, false));
        const size_t words = (length + sizeof(uint32_t) - 1) / sizeof(uint32_t);
        // Without "dynamic" the buffer has its largest size from the beginning and stays.
        if (sync.dynamic || sync.reply.size() < words) {
            sync.reply.resize(words);
            sync.reply.shrink_to_fit();
        }
        std::memcpy(sync.reply.data(), reply, length);
        sync.answered = true;
    }
    sync.ended = 1;
}

void Client::read_quick(const ConnectionPtr& connection) {
    if (datagram_.empty()) datagram_.resize((VSOA_MAX_QPACKET_LENGTH + sizeof(uint32_t)) / sizeof(uint32_t));
    for (int i = 0; i < kDatagramBatch && connection_ == connection; ++i) {
        const ssize_t got = recv(connection->udp.get(), datagram_.data(), datagram_.size() * sizeof(uint32_t), 0);
        if (got < 0) {
            if (errno == ECONNREFUSED) continue;  // about an earlier datagram of ours
            return;
        }
        if (vsoa_header_t* header = check_datagram(datagram_.data(), static_cast<size_t>(got))) {
            Packet packet(header);
            deliver(packet, true);
        }
    }
}

void Client::expire() {
    std::vector<Call> late;
    {
        const std::lock_guard guard(lock_);
        const int64_t now = now_ns();
        if (now < armed_) return;
        armed_ = kForever;
        int64_t first = kForever;
        calls_.erase_if([&](const Call& call) {
            if (call.sync != nullptr) return false;
            if (call.deadline <= now)
                late.push_back(call);
            else
                first = std::min(first, call.deadline);
            return call.deadline <= now;
        });
        watch_deadline(first);
        orphans_.insert(orphans_.end(), late.begin(), late.end());
        orphaned_ = orphaned_ || !late.empty();
    }
}

/// Ends calls that get no answer.
void Client::end_orphans() {
    std::vector<Call> ended;
    {
        const std::lock_guard guard(lock_);
        ended.swap(orphans_);
        orphaned_ = false;
        for (const Call& call : ended) {
            if (call.sync != nullptr) end_sync(*call.sync, nullptr);
        }
    }
    for (const Call& call : ended) {
        if (call.sync != nullptr) wake_sleepers(call.sync->ended);
        if (call.on_reply != nullptr) call.on_reply(call.arg, handle_, nullptr, nullptr);
        if (call.on_result != nullptr) call.on_result(call.arg, handle_, false);
    }
}

}  // namespace vsoa
