// SPDX-License-Identifier: Apache-2.0
//
// Relays: connections between two machines, over which one passes on what the other and the controller say to each
// other (docs/detection.md). Each end has a number of its own, as a transport gives them.
#pragma once

#include <array>
#include <map>

#include "kernel/core/agent.hpp"
#include "kernel/sim/random.hpp"

namespace gantry::sim {

class World;
class Machine;

class Relays {
  public:
    explicit Relays(World& world);

    core::PeerId dial(Machine& via, std::uint64_t route, Machine& to);  // the number at `via`
    bool dialled(const Machine& to, core::PeerId peer) const;           // whether it is the end of one that was dialled
    void up(core::PeerId at_to, const core::AgentMessage& message);
    void down(core::PeerId at_via, const json::object& message);
    void hang_up(core::PeerId either, core::Ended how);  // the other end hears of it
    void gone(const Machine& machine);                   // its gantryd has ended
    // The machine at the end of a route of the controller through `via`; nullptr: none that is known.
    Machine* end_of(const Machine& via, std::uint64_t route) const;

  private:
    struct Relay {
        Machine *via = nullptr, *to = nullptr;
        core::PeerId at_via = 0, at_to = 0;
        std::array<Instant, 2> last{};  // arrival of what was sent last: up, down
        Instant heard{};
    };
    Instant arrival(Relay& relay, bool up);
    void watch(core::PeerId at_via);
    std::map<core::PeerId, Relay>::iterator find(core::PeerId either);

    World& world_;
    Random random_;
    std::map<core::PeerId, Relay> relays_;  // by the number at `via`
    std::map<core::PeerId, core::PeerId> at_to_;
    std::map<std::pair<const Machine*, std::uint64_t>, Machine*> routes_;
    core::PeerId last_ = core::PeerId{1} << 40;
};

}  // namespace gantry::sim
