// SPDX-License-Identifier: Apache-2.0
//
// Back-pressure of an isolated transport. `send` must say at once whether there is room, which only the plugin knows.
// So gantryd keeps a window for each peer, as large as the plugin's own queue: what it sent and the plugin's process
// has not reported as taken. There, what the plugin has no room for waits in order for its `writable`; it holds at most
// a window a peer, as no more is sent.
#pragma once

#include <gantry/abi/transport.h>

#include <array>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::isolation {

class Window {  // in gantryd
  public:
    void use(std::int64_t message_max, std::int64_t queue_max) {
        message_max_ = message_max;
        queue_max_ = queue_max;
    }
    void up(std::uint64_t peer) { peers_[peer]; }
    void down(std::uint64_t peer) { peers_.erase(peer); }
    // Nothing can be sent to it any more; `down` is still to come.
    void close(std::uint64_t peer) {
        if (const auto it = peers_.find(peer); it != peers_.end()) it->second.closed = true;
    }
    // What send() answers; GANTRY_OK books the bytes.
    gantry_status take(std::uint64_t peer, std::size_t bytes);
    // Booked and not sent after all: the peer was told to wait.
    void give_back(std::uint64_t peer, std::size_t bytes);
    void taken(std::uint64_t peer, std::uint64_t bytes);
    // Those that were told to wait and have room again.
    std::vector<std::uint64_t> writable();
    const auto& peers() const { return peers_; }

  private:
    struct Peer {
        std::uint64_t outstanding = 0;
        bool full = false, closed = false;
    };
    std::int64_t message_max_ = 0, queue_max_ = 0;
    bool some_full_ = false;
    std::map<std::uint64_t, Peer> peers_;
};

class Backlog {  // in the plugin's process, on its loop
  public:
    // send: the plugin's slot; close: likewise; taken(peer, bytes): to be told to gantryd.
    struct Way {
        gantry_status (*send)(void* with, std::uint64_t peer, std::uint32_t channel, std::string_view bytes);
        void (*close)(void* with, std::uint64_t peer);
        void (*taken)(void* with, std::uint64_t peer, std::uint64_t bytes);
        void* with;
    };
    void use(const Way& way, std::int64_t queue_max) {
        way_ = way;
        step_ = static_cast<std::uint64_t>(queue_max > 8 ? queue_max / 8 : 1);
    }
    void send(std::uint64_t peer, std::uint32_t channel, std::string_view bytes);
    void close(std::uint64_t peer);
    void writable(std::uint64_t peer);
    void down(std::uint64_t peer) { peers_.erase(peer); }

  private:
    struct Peer {
        std::array<std::deque<std::string>, 2> waiting;  // by channel, the first goes first
        std::uint64_t untold = 0;                        // bytes taken since the last word
        bool closing = false;
    };
    // False: there is no room.
    bool give(std::uint64_t number, Peer& peer, std::uint32_t channel, std::string_view bytes);

    Way way_{};
    std::uint64_t step_ = 1;
    std::map<std::uint64_t, Peer> peers_;
};

}  // namespace gantry::isolation
