// What arrives at a client. All of it in the thread of the event loop.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/src/client.hpp"

namespace vsoa {
namespace {

constexpr int kDatagramBatch = 64;
constexpr uint8_t kMaxPriority = 7;  // the vendor's C library stops at 5, its JavaScript server at 7

}  // namespace

void Client::on_datagram(vsoa_client_dat_func_t callback, void* arg) {
    on_datagram_ = callback;
    on_datagram_arg_ = arg;
}

bool Client::input(int timeout_ms) {
    bool tcp = false, udp = false;
    for (const epoll_event& event : poller_.ready(timeout_ms)) {
        tcp = tcp || event.data.u64 == kTcpTag;
        udp = udp || event.data.u64 == kUdpTag;
    }
    ConnectionPtr connection;
    {
        const std::lock_guard guard(lock_);
        connection = connection_;
    }
    if (connection && udp) read_quick(connection);
    if (connection && present(connection)) read(connection, tcp);
    expire();
    end_orphans();
    return connected();
}

bool Client::present(const ConnectionPtr& connection) {
    const std::lock_guard guard(lock_);
    return connection_ == connection;
}

void Client::read(const ConnectionPtr& connection, bool readable) {
    bool good = dispatch_all(connection);
    // A callback may have disconnected, and even connected anew.
    if (!present(connection)) return;
    if (good && readable) {
        const Receiver::Space space = connection->receiver.space();
        const ssize_t got = recv(connection->fd.get(), space.at, space.room, 0);
        if (got > 0) {
            connection->receiver.commit(static_cast<size_t>(got));
            good = dispatch_all(connection);
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            good = false;
        }
    }
    if (!good && present(connection)) disconnect();
}

/// False: what came is not VSOA.
bool Client::dispatch_all(const ConnectionPtr& connection) {
    vsoa_header_t* header = nullptr;
    for (;;) {
        const Receiver::Next next = connection->receiver.next(header);
        if (next != Receiver::Next::kPacket) return next == Receiver::Next::kMore;
        dispatch(*connection, Packet(header));
        if (!present(connection)) return true;
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
    const auto found = calls_.find(packet.seqno);
    // The number alone decides with the vendor; a wrong type can only be a confused server, whose answer proves
    // nothing.
    if (found == calls_.end() || found->second.type != packet.type) return;
    const Call call = found->second;
    calls_.erase(found);
    if (call.sync != nullptr) return end_sync(*call.sync, packet.header);
    held.unlock();
    if (call.on_reply != nullptr) {
        call.on_reply(call.arg, handle_, packet.header, &packet.payload);
    } else {
        call.on_result(call.arg, handle_, packet.status == VSOA_STATUS_SUCCESS);
    }
}

void Client::end_sync(vsoa_client_sync_call_t& sync, const vsoa_header_t* reply) {
    sync.ended = true;
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
    sync.changed.notify_all();
}

void Client::read_quick(const ConnectionPtr& connection) {
    if (datagram_.empty()) datagram_.resize((VSOA_MAX_QPACKET_LENGTH + sizeof(uint32_t)) / sizeof(uint32_t));
    for (int i = 0; i < kDatagramBatch && present(connection); ++i) {
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
        for (auto entry = calls_.begin(); entry != calls_.end();) {
            const Call& call = entry->second;
            if (call.sync == nullptr && call.deadline <= now) {
                late.push_back(call);
                entry = calls_.erase(entry);
                continue;
            }
            if (call.sync == nullptr) first = std::min(first, call.deadline);
            ++entry;
        }
        watch_deadline(first);
        orphans_.insert(orphans_.end(), late.begin(), late.end());
    }
}

/// Ends calls that get no answer.
void Client::end_orphans() {
    std::vector<Call> ended;
    {
        const std::lock_guard guard(lock_);
        ended.swap(orphans_);
        for (const Call& call : ended) {
            if (call.sync != nullptr) end_sync(*call.sync, nullptr);
        }
    }
    for (const Call& call : ended) {
        if (call.on_reply != nullptr) call.on_reply(call.arg, handle_, nullptr, nullptr);
        if (call.on_result != nullptr) call.on_result(call.arg, handle_, false);
    }
}

}  // namespace vsoa
