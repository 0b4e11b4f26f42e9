// SPDX-License-Identifier: Apache-2.0
//
// The transport role without sockets: a network in memory whose faults come from a seed. It keeps the role's contract
// (tests/unit/plugins/transport runs the same suite over it and over the plugin): in order per peer and channel, at
// most once, control first, nothing after down. So "loss" is a connection that breaks with what was under way, and
// messages overtake each other only between different peers.
//
//     VirtualClock clock;
//     MemoryNetwork network(clock, seed, {.delay_max = milliseconds(5), .break_per_million = 2'000});
//     auto controller = network.make("controller", "secret");
//     auto agent = network.make("SNode1", "secret");      // a host::Transport each
//     network.cut("controller", "SNode1");                // silence; heal() ends it
//
// Threads: one, the clock's. The network outlives its transports; the clock may outlive both.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>

#include "kernel/host/roles.hpp"
#include "tests/support/clock.hpp"

namespace gantry::test {

struct MemoryFaults {
    Duration delay_min = milliseconds(0), delay_max = milliseconds(0);  // of each message, drawn evenly
    std::uint32_t break_per_million = 0;                                // messages at which the connection breaks
    std::uint32_t dial_fail_per_million = 0;
    std::int64_t bytes_per_second = 0;  // of each direction of a connection; 0: no limit
};

struct MemoryLimits {
    std::int64_t message_max_bytes = 1 << 20, queue_max_bytes = 4 << 20;
    Duration peer_timeout = seconds(2);  // a cut that lasts so long ends connections
};

class MemoryTransport;

class MemoryNetwork {
  public:
    MemoryNetwork(Clock& clock, std::uint64_t seed, MemoryFaults faults = {}, MemoryLimits limits = {});
    ~MemoryNetwork();
    MemoryNetwork(const MemoryNetwork&) = delete;
    MemoryNetwork& operator=(const MemoryNetwork&) = delete;

    // A transport on the host `name`; only those with one secret get along. Its end is sudden for the others.
    std::unique_ptr<host::Transport> make(std::string name, std::string secret);
    // From now on; also for what is under way.
    void set_faults(MemoryFaults faults) { faults_ = faults; }
    // Between two hosts nothing passes until heal.
    void cut(const std::string& a, const std::string& b);
    void heal(const std::string& a, const std::string& b);
    // Every connection of that host breaks.
    void reset(const std::string& name);

  private:
    friend class MemoryTransport;
    struct Connection;

    bool is_cut(const std::string& a, const std::string& b) const;
    void after(Duration wait, std::function<void()> fn);
    bool happens(std::uint32_t per_million);
    Duration delay();
    void pump(const std::shared_ptr<Connection>& connection, int from);
    void arrive(const std::shared_ptr<Connection>& connection, int from);
    void tear(const std::shared_ptr<Connection>& connection, host::Down reason, const std::string& text);
    void finish_close(const std::shared_ptr<Connection>& connection, int from);
    void watch_cut(const std::string& a, const std::string& b);

    Clock& clock_;
    MemoryFaults faults_;
    const MemoryLimits limits_;
    std::mt19937_64 random_;
    std::map<std::string, MemoryTransport*> listeners_;  // by address
    std::map<MemoryTransport*, std::string> transports_;
    std::set<std::shared_ptr<Connection>> connections_;
    std::map<std::pair<std::string, std::string>, std::uint64_t> cuts_;  // number of the cut
    std::uint64_t next_cut_ = 1;
    std::uint16_t next_port_ = 40'000;
    const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gantry::test
