// SPDX-License-Identifier: Apache-2.0
//
// Guard: the gantry-guard of one simulated machine. It holds deadlines in that machine's own time and keeps what the
// promise of overlap = "forbid" assumes of it (docs/faults.md): at D it kills, within K, and what it has killed does
// not run again. It goes on without gantryd and ends with the machine. When it dies gantryd starts another, as
// kernel/control/lease_guard.cpp does: that one is told every deadline again, and the core hears of what takes long.
#pragma once

#include <map>
#include <string>

#include "kernel/core/agent.hpp"
#include "kernel/sim/random.hpp"

namespace gantry::sim {

class World;
class Machine;

class Guard {
  public:
    Guard(World& world, Machine& machine, Random random);

    void arm(const core::Arm& effect);  // answered by Armed, if gantryd still runs then
    void disarm(const std::string& name);
    void tell();              // what it holds, to a gantryd that has just started
    void die(Duration away);  // only beside a gantryd that runs
    bool away() const { return away_; }
    void power_off();
    // Or will again in a moment.
    bool holds(const std::string& name) const { return held_.contains(name) || known_.contains(name); }
    bool killed(const std::string& name) const;

  private:
    struct Held {
        std::string runtime;
        Instant until{};
        bool watched = false, killed = false;
    };
    void arm_in(Duration takes, const core::Arm& effect, std::uint64_t run);
    Status hold(const core::Arm& effect);
    void watch(const std::string& name);
    void kill(const std::string& name);

    World& world_;
    Machine& machine_;
    Random random_;
    std::map<std::string, Held> held_;
    std::map<std::string, Held> known_;  // to gantryd, while there is none
    bool away_ = false;
    std::uint64_t boot_ = 0;  // of the guard or its machine
};

}  // namespace gantry::sim
