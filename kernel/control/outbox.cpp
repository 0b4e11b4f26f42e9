// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/outbox.hpp"

namespace gantry::control {

void Outbox::send(host::PeerId peer, host::Channel channel, std::string bytes) {
    const auto found = queues_.find(peer);
    if (found == queues_.end() || found->second.messages.empty()) {
        if (hand_over(peer, channel, bytes) != host::Sent::kFull) return;  // a peer that is gone says so by down
    }
    auto& queue = queues_[peer];
    queue.bytes += bytes.size();
    queue.messages.emplace_back(channel, std::move(bytes));
    if (queue.bytes > kQueueMax) close(peer);
}

host::Sent Outbox::hand_over(host::PeerId peer, host::Channel channel, const std::string& bytes) {
    const auto sent = transport_->send(peer, channel, bytes);
    if (sent == host::Sent::kTooLong) refused_(peer, bytes.size());
    return sent;
}

void Outbox::writable(host::PeerId peer) {
    const auto found = queues_.find(peer);
    if (found == queues_.end()) return;
    auto& queue = found->second;
    while (!queue.messages.empty()) {
        const auto& [channel, bytes] = queue.messages.front();
        if (hand_over(peer, channel, bytes) == host::Sent::kFull) return;
        queue.bytes -= bytes.size();
        queue.messages.pop_front();
    }
    queues_.erase(found);
}

void Outbox::close(host::PeerId peer) {
    queues_.erase(peer);
    transport_->close(peer);
}

std::size_t Outbox::waiting(host::PeerId peer) const {
    const auto found = queues_.find(peer);
    return found == queues_.end() ? 0 : found->second.bytes;
}

}  // namespace gantry::control
