// SPDX-License-Identifier: Apache-2.0
//
// Outbox: messages to peers that take them more slowly than we make them. Bounded: a peer that falls kQueueMax behind
// is closed; it comes back with a new connection and pulls what it lacks.
//
// Threads: the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>

#include "kernel/host/roles.hpp"

namespace gantry::control {

class Outbox {
  public:
    static constexpr std::size_t kQueueMax = 16 << 20;  // bytes per peer

    // refused is told of a message that is longer than the transport takes: it is not sent.
    void use(host::Transport* transport, std::function<void(host::PeerId, std::size_t bytes)> refused) {
        transport_ = transport;
        refused_ = std::move(refused);
    }
    void send(host::PeerId peer, host::Channel channel, std::string bytes);
    void writable(host::PeerId peer);
    void forget(host::PeerId peer) { queues_.erase(peer); }
    void close(host::PeerId peer);
    // Bytes that wait for this peer.
    std::size_t waiting(host::PeerId peer) const;

  private:
    struct Queue {
        std::deque<std::pair<host::Channel, std::string>> messages;
        std::size_t bytes = 0;
    };
    host::Sent hand_over(host::PeerId peer, host::Channel channel, const std::string& bytes);

    host::Transport* transport_ = nullptr;
    std::function<void(host::PeerId, std::size_t)> refused_;
    std::map<host::PeerId, Queue> queues_;
};

}  // namespace gantry::control
