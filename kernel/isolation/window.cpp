// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/window.hpp"

#include <algorithm>
#include <utility>

namespace gantry::isolation {

gantry_status Window::take(std::uint64_t peer, std::size_t bytes) {
    if (static_cast<std::int64_t>(bytes) > message_max_) return GANTRY_INVALID;
    const auto it = peers_.find(peer);
    if (it == peers_.end() || it->second.closed) return GANTRY_NOT_FOUND;
    // One message always has room: a window that is smaller than the longest message would stand still.
    if (it->second.outstanding > 0 && static_cast<std::int64_t>(it->second.outstanding + bytes) > queue_max_) {
        it->second.full = true;
        some_full_ = true;
        return GANTRY_FULL;
    }
    it->second.outstanding += bytes;
    return GANTRY_OK;
}

void Window::give_back(std::uint64_t peer, std::size_t bytes) {
    taken(peer, bytes);
    const auto it = peers_.find(peer);
    if (it == peers_.end()) return;
    it->second.full = true;
    some_full_ = true;
}

void Window::taken(std::uint64_t peer, std::uint64_t bytes) {
    const auto it = peers_.find(peer);
    if (it != peers_.end()) it->second.outstanding -= std::min(bytes, it->second.outstanding);
}

std::vector<std::uint64_t> Window::writable() {
    std::vector<std::uint64_t> out;
    if (!std::exchange(some_full_, false)) return out;
    for (auto& [number, peer] : peers_) {
        if (!peer.full || peer.closed) continue;
        if (static_cast<std::int64_t>(peer.outstanding) <= queue_max_ / 2) {
            peer.full = false;
            out.push_back(number);
        } else {
            some_full_ = true;
        }
    }
    return out;
}

bool Backlog::give(std::uint64_t number, Peer& peer, std::uint32_t channel, std::string_view bytes) {
    if (way_.send(way_.with, number, channel, bytes) == GANTRY_FULL) return false;
    // Refused for another reason it is gone as well: its peer is, or will be.
    peer.untold += bytes.size();
    const bool idle = peer.waiting[0].empty() && peer.waiting[1].empty();
    if (peer.untold < step_ && idle) return true;
    way_.taken(way_.with, number, std::exchange(peer.untold, 0));
    return true;
}

void Backlog::send(std::uint64_t number, std::uint32_t channel, std::string_view bytes) {
    Peer& peer = peers_[number];
    if (peer.closing) return;
    auto& queue = peer.waiting[channel == GANTRY_CHANNEL_CONTROL ? 0 : 1];
    const bool before = !peer.waiting[0].empty() || (channel != GANTRY_CHANNEL_CONTROL && !queue.empty());
    if (before || !give(number, peer, channel, bytes)) queue.emplace_back(bytes);
}

void Backlog::close(std::uint64_t number) {
    const auto it = peers_.find(number);
    const bool waits = it != peers_.end() && !(it->second.waiting[0].empty() && it->second.waiting[1].empty());
    if (!waits) return way_.close(way_.with, number);
    it->second.closing = true;
}

void Backlog::writable(std::uint64_t number) {
    const auto it = peers_.find(number);
    if (it == peers_.end()) return;
    Peer& peer = it->second;
    for (std::uint32_t channel = 0; channel < peer.waiting.size(); ++channel) {
        auto& queue = peer.waiting[channel];
        while (!queue.empty()) {
            const std::string bytes = std::move(queue.front());
            queue.pop_front();
            if (give(number, peer, channel, bytes)) continue;
            queue.push_front(bytes);
            return;
        }
    }
    if (peer.untold > 0) way_.taken(way_.with, number, std::exchange(peer.untold, 0));
    if (peer.closing) way_.close(way_.with, number);
}

}  // namespace gantry::isolation
