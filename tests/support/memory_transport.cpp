// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_transport.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <optional>

namespace gantry::test {

using host::Channel;
using host::Down;
using host::PeerId;
using host::Sent;

namespace {

constexpr Duration kFlushLimit = seconds(1);

std::pair<std::string, std::string> ordered(const std::string& a, const std::string& b) {
    return a < b ? std::pair(a, b) : std::pair(b, a);
}

}  // namespace

class MemoryTransport final : public host::Transport {
  public:
    MemoryTransport(MemoryNetwork& network, std::string name, std::string secret)
        : network_(network), name_(std::move(name)), secret_(std::move(secret)) {}
    ~MemoryTransport() override;

    std::int64_t message_max_bytes() const override { return network_.limits_.message_max_bytes; }
    void begin(host::TransportEvents events) override { events_ = std::move(events); }
    void listen(const std::string& address, host::Done<std::string> bound) override;
    void dial(const std::string& address, Duration limit, host::Done<PeerId> done) override;
    Sent send(PeerId peer, Channel channel, std::string_view bytes) override;
    void close(PeerId peer) override;

  private:
    friend class MemoryNetwork;

    void later(std::function<void()> fn) {
        network_.clock_.after({}, [alive = std::weak_ptr(alive_), fn = std::move(fn)] {
            if (alive.lock()) fn();
        });
    }
    void connect(const std::string& address, MemoryTransport& server, host::Done<PeerId> done);

    MemoryNetwork& network_;
    const std::string name_, secret_;
    std::string host_ = "127.0.0.1";  // from where it dials: where it listens, if it does
    host::TransportEvents events_;
    std::map<PeerId, std::pair<std::shared_ptr<MemoryNetwork::Connection>, int>> peers_;  // and our end of it
    PeerId next_peer_ = 1;
    const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Two ends, each with what it has sent and the other has not received.
struct MemoryNetwork::Connection {
    struct Message {
        Channel channel;
        std::string bytes;
    };
    struct Flight {
        Message message;
        Instant arrives;
    };
    struct End {
        MemoryTransport* transport = nullptr;  // null once it is gone
        std::string name;
        PeerId peer = 0;  // the other end, as this end calls it
        std::array<std::deque<Message>, 2> queued;
        std::deque<Flight> flying;
        std::int64_t queued_bytes = 0;
        bool busy = false, want_writable = false, closing = false, announced = false;
    };
    std::array<End, 2> ends;
    bool over = false;
};

MemoryNetwork::MemoryNetwork(Clock& clock, std::uint64_t seed, MemoryFaults faults, MemoryLimits limits)
    : clock_(clock), faults_(faults), limits_(limits), random_(seed) {}

MemoryNetwork::~MemoryNetwork() = default;

std::unique_ptr<host::Transport> MemoryNetwork::make(std::string name, std::string secret) {
    auto made = std::make_unique<MemoryTransport>(*this, std::move(name), std::move(secret));
    transports_[made.get()] = made->name_;
    return made;
}

bool MemoryNetwork::happens(std::uint32_t per_million) {
    return per_million > 0 && random_() % 1'000'000 < per_million;
}

Duration MemoryNetwork::delay() {
    const auto spread =
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, (faults_.delay_max - faults_.delay_min).count()));
    return faults_.delay_min + Duration(static_cast<std::int64_t>(spread == 0 ? 0 : random_() % (spread + 1)));
}

bool MemoryNetwork::is_cut(const std::string& a, const std::string& b) const { return cuts_.contains(ordered(a, b)); }

// ---- what a test does to the network

void MemoryNetwork::after(Duration wait, std::function<void()> fn) {
    clock_.after(wait, [alive = std::weak_ptr(alive_), fn = std::move(fn)] {
        if (alive.lock()) fn();
    });
}

void MemoryNetwork::cut(const std::string& a, const std::string& b) {
    const auto pair = ordered(a, b);
    if (cuts_.contains(pair)) return;
    const auto number = cuts_[pair] = next_cut_++;
    after(limits_.peer_timeout, [this, pair, number] {
        const auto found = cuts_.find(pair);
        if (found != cuts_.end() && found->second == number) watch_cut(pair.first, pair.second);
    });
}

void MemoryNetwork::watch_cut(const std::string& a, const std::string& b) {
    const auto all = connections_;
    for (const auto& connection : all) {
        if (ordered(connection->ends[0].name, connection->ends[1].name) == ordered(a, b)) {
            tear(connection, Down::kTimeout, "took nothing for too long");
        }
    }
}

void MemoryNetwork::heal(const std::string& a, const std::string& b) {
    if (cuts_.erase(ordered(a, b)) == 0) return;
    const auto all = connections_;
    for (const auto& connection : all) {
        for (int end : {0, 1}) pump(connection, end);
    }
}

void MemoryNetwork::reset(const std::string& name) {
    const auto all = connections_;
    for (const auto& connection : all) {
        if (connection->ends[0].name == name || connection->ends[1].name == name) {
            tear(connection, Down::kReset, "Connection reset by peer");
        }
    }
}

// ---- moving messages

// Puts what waits at `from` on the wire, as far as it is free.
void MemoryNetwork::pump(const std::shared_ptr<Connection>& connection, int from) {
    auto& end = connection->ends[from];
    const std::string& other = connection->ends[1 - from].name;
    if (connection->over || is_cut(end.name, other)) return;
    while (!end.busy) {
        auto& queue = end.queued[0].empty() ? end.queued[1] : end.queued[0];
        if (queue.empty()) break;
        auto message = std::move(queue.front());
        queue.pop_front();
        const auto size = static_cast<std::int64_t>(message.bytes.size());
        end.queued_bytes -= size;
        if (happens(faults_.break_per_million)) return tear(connection, Down::kReset, "Connection reset by peer");
        const auto takes = faults_.bytes_per_second == 0 ? Duration::zero()
                                                         : Duration(size * 1'000'000'000 / faults_.bytes_per_second);
        const auto last = end.flying.empty() ? clock_.now() : end.flying.back().arrives;
        const auto arrives = std::max(last, clock_.now() + takes + delay());
        end.flying.push_back({std::move(message), arrives});
        after(arrives - clock_.now(), [this, connection, from] { arrive(connection, from); });
        if (takes > Duration::zero()) {
            end.busy = true;
            after(takes, [this, connection, from] {
                connection->ends[from].busy = false;
                pump(connection, from);
            });
        }
    }
    if (end.want_writable && end.queued_bytes <= limits_.queue_max_bytes / 2 && end.transport) {
        end.want_writable = false;
        end.transport->later([transport = end.transport, peer = end.peer] {
            if (transport->peers_.contains(peer)) transport->events_.writable(peer);
        });
    }
    if (end.closing && end.queued[0].empty() && end.queued[1].empty() && end.flying.empty()) {
        finish_close(connection, from);
    }
}

void MemoryNetwork::arrive(const std::shared_ptr<Connection>& connection, int from) {
    auto& end = connection->ends[from];
    auto& other = connection->ends[1 - from];
    if (connection->over || end.flying.empty()) return;
    if (is_cut(end.name, other.name)) {
        // TCP repeats it until it passes or the cut has lasted too long.
        after(milliseconds(50), [this, connection, from] { arrive(connection, from); });
        return;
    }
    auto message = std::move(end.flying.front().message);
    end.flying.pop_front();
    // An end that has closed does not listen any more.
    if (other.transport && !other.closing) {
        other.transport->events_.message(other.peer, message.channel, std::move(message.bytes));
    }
    if (!connection->over && end.closing) pump(connection, from);
}

void MemoryNetwork::finish_close(const std::shared_ptr<Connection>& connection, int from) {
    tear(connection, Down::kClosed, connection->ends[from].closing ? "closed" : "");
}

void MemoryNetwork::tear(const std::shared_ptr<Connection>& connection, Down reason, const std::string& text) {
    if (connection->over) return;
    connection->over = true;
    connections_.erase(connection);
    for (auto& end : connection->ends) {
        auto* transport = std::exchange(end.transport, nullptr);
        if (!transport) continue;
        transport->peers_.erase(end.peer);
        if (!end.announced) continue;
        const auto why = end.closing ? Down::kClosed : reason;
        transport->later([transport, peer = end.peer, why, text] { transport->events_.down(peer, why, text); });
    }
}

// ---- one transport

MemoryTransport::~MemoryTransport() {
    for (auto& [peer, place] : peers_) place.first->ends[static_cast<std::size_t>(place.second)].transport = nullptr;
    const auto mine = std::exchange(peers_, {});
    for (const auto& [peer, place] : mine) network_.tear(place.first, Down::kReset, "Connection reset by peer");
    std::erase_if(network_.listeners_, [this](const auto& item) { return item.second == this; });
    network_.transports_.erase(this);
}

void MemoryTransport::listen(const std::string& address, host::Done<std::string> bound) {
    std::string real = address;
    if (real.ends_with(":0")) real.replace(real.size() - 1, 1, std::to_string(network_.next_port_++));
    host_ = real.substr(0, real.rfind(':'));
    const bool taken = !network_.listeners_.try_emplace(real, this).second;
    later([bound = std::move(bound), real, taken] {
        if (taken) return bound(fail(Code::kUnavailable, "cannot listen on " + real + ": Address already in use"));
        bound(real);
    });
}

void MemoryTransport::dial(const std::string& address, Duration limit, host::Done<PeerId> done) {
    const auto found = network_.listeners_.find(address);
    const auto server = found == network_.listeners_.end() ? nullptr : found->second;
    const auto trip = network_.delay() + network_.delay();
    if (server && (network_.is_cut(name_, server->name_) || trip >= limit)) {
        network_.after(limit, [alive = std::weak_ptr(alive_), done, address] {
            if (alive.lock()) done(fail(Code::kDeadline, "cannot dial " + address + ": no answer"));
        });
        return;
    }
    network_.after(trip, [this, alive = std::weak_ptr(alive_), address, done] {
        if (!alive.lock()) return;
        const auto now = network_.listeners_.find(address);
        if (now == network_.listeners_.end() || network_.happens(network_.faults_.dial_fail_per_million)) {
            return done(fail(Code::kUnavailable, "cannot dial " + address + ": Connection refused"));
        }
        connect(address, *now->second, done);
    });
}

void MemoryTransport::connect(const std::string& address, MemoryTransport& server, host::Done<PeerId> done) {
    const std::string here = host_ + ":" + std::to_string(network_.next_port_++);
    if (server.secret_ != secret_) {
        server.later([&server, here] { server.events_.refused(here, Down::kRefused, "the secrets differ"); });
        return done(fail(Code::kRefused, "cannot dial " + address + ": the secrets differ"));
    }
    auto connection = std::make_shared<MemoryNetwork::Connection>();
    connection->ends[0] = {this, name_, next_peer_++, {}, {}, 0, false, false, false, false};
    connection->ends[1] = {&server, server.name_, server.next_peer_++, {}, {}, 0, false, false, false, false};
    network_.connections_.insert(connection);
    const auto mine = connection->ends[0].peer, theirs = connection->ends[1].peer;
    peers_[mine] = {connection, 0};
    server.peers_[theirs] = {connection, 1};
    server.later([&server, connection, theirs, here, address] {
        if (!server.peers_.contains(theirs)) return;
        connection->ends[1].announced = true;
        server.events_.up(theirs, true, here, address);
    });
    connection->ends[0].announced = true;
    events_.up(mine, false, address, here);
    done(mine);
}

Sent MemoryTransport::send(PeerId peer, Channel channel, std::string_view bytes) {
    const auto found = peers_.find(peer);
    if (found == peers_.end()) return Sent::kGone;
    const auto& [connection, index] = found->second;
    auto& end = connection->ends[static_cast<std::size_t>(index)];
    if (end.closing) return Sent::kGone;
    const auto size = static_cast<std::int64_t>(bytes.size());
    if (size > network_.limits_.message_max_bytes) return Sent::kTooLong;
    if (end.queued_bytes > 0 && end.queued_bytes + size > network_.limits_.queue_max_bytes) {
        end.want_writable = true;
        return Sent::kFull;
    }
    end.queued_bytes += size;
    end.queued[static_cast<std::size_t>(channel)].push_back({channel, std::string(bytes)});
    network_.after({},
                   [&network = network_, connection = connection, index = index] { network.pump(connection, index); });
    return Sent::kOk;
}

void MemoryTransport::close(PeerId peer) {
    const auto found = peers_.find(peer);
    if (found == peers_.end()) return;
    const auto [connection, index] = found->second;
    auto& end = connection->ends[static_cast<std::size_t>(index)];
    if (end.closing) return;
    end.closing = true;
    network_.after({}, [&network = network_, connection, index] { network.pump(connection, index); });
    network_.after(kFlushLimit, [&network = network_, connection] {
        network.tear(connection, Down::kReset, "Connection reset by peer");
    });
}

}  // namespace gantry::test
