// SPDX-License-Identifier: Apache-2.0
//
// Seat: the simulated controller: clock, store, and the real core::Controller and CommitGate, driven as
// kernel/control/controller_loop.cpp drives them. It may end, fail to commit, or stand still at any point.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernel/core/commit_gate.hpp"
#include "kernel/core/controller.hpp"
#include "kernel/sim/faults.hpp"
#include "kernel/sim/timeline.hpp"

namespace gantry::sim {

class World;
class Machine;

class Seat {
  public:
    explicit Seat(World& world, Random random);

    void start();
    void kill(Duration away);
    void pause(Duration lag);  // the process stands still
    // Answered by one Reply, or lost with the core.
    // As `gantry restart INSTANCE`: its node is told, if there is one.
    void restart(const std::string& instance);
    core::RequestId request(const std::function<core::Input(core::RequestId)>& make);
    void turn(const core::Input& input);
    void hear(core::PeerId peer, const std::string& address, core::AgentMessage message);
    void lost_link(core::PeerId peer, core::Down cause);
    Instant local() const;
    // It has not ended since, and stood still if so only as a loop may that is late.
    bool ran_since(Instant when) const { return core && quiet_since <= when; }
    bool undisturbed_since(Instant when) const { return ran_since(when) && paused <= when; }

    std::optional<core::Controller> core;
    core::CommitGate gate;
    std::map<std::string, std::string> durable;
    Clock clock;
    core::Timing timing;
    std::vector<std::string> policies;
    Instant paused{};
    Instant quiet_since{};
    std::uint64_t starts = 0, run = 0;
    std::optional<core::Names> names;

  private:
    void load();
    void gather(core::Effects& effects);
    void pump();
    void finish_commit();
    void apply(const core::CommitGate::Commit& commit);
    void act(core::Effect effect);
    void published_through(const Machine& via, const core::Forward& forward);
    void arm();
    void tick(Instant due);
    void drop_core();

    World& world_;
    Random random_;
    std::optional<core::CommitGate::Commit> flight_;
    std::set<core::PeerId> joined_;
    core::RequestId last_request_ = 0;
    Instant armed_ = kNever;
};

}  // namespace gantry::sim
