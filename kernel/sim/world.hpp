// SPDX-License-Identifier: Apache-2.0
//
// World: machines, a controller and the links between them, in virtual time and from one seed. While faults are on they
// befall everything; then they stop, and desired must equal actual within a bound. The first invariant that breaks is
// kept in `breach`, and the world stops there.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/sim/digest.hpp"
#include "kernel/sim/judge.hpp"
#include "kernel/sim/machine.hpp"
#include "kernel/sim/people.hpp"
#include "kernel/sim/policies.hpp"
#include "kernel/sim/relays.hpp"
#include "kernel/sim/seat.hpp"

namespace gantry::sim {

inline constexpr const char* kClusterId = "5eed0001-0000-4000-8000-000000000000";
inline constexpr Duration kNamesLag = seconds(1);

class Recorder;

struct Setup {
    std::uint64_t seed = 1;
    int nodes = 4;
    Duration hostile = seconds(30);
    Duration calm = seconds(300);  // desired equals actual by then
    Faults faults;
    core::Timing timing;
    bool alike = false;  // nodes are all of one kind, and people do only what a scenario says
    bool judged = true;  // false: only the cores and the wires, for figures
    bool tell = false;   // prints events as they happen
    // What every seed but `seed` shares: a swarm's world of this seed.
    static Setup swarm(std::uint64_t seed);
};

struct Counts {
    std::uint64_t controller_steps = 0, agent_steps = 0, messages = 0, heartbeats = 0, commits = 0, placements = 0,
                  losses = 0, moves = 0, gaps = 0, starts = 0, boots = 0, questions = 0, crashes = 0, displaced = 0,
                  leased = 0,                     // starts under forbid
        measured = 0;                             // moves whose figures were compared with the truth
    std::map<std::string, std::uint64_t> events;  // by kind
};

class World {
  public:
    World(Setup setup, Policies& policies, Recorder* recorder = nullptr);
    ~World();

    // Faults until setup.hostile is over, then calm: `breach` says whether all is well.
    void play();
    void run_until(Instant when);
    void settle();

    // --- wires
    core::PeerId link(Machine& machine);
    void to_controller(core::PeerId peer, Machine& machine, core::AgentMessage message);
    void to_node(core::PeerId peer, core::ControllerMessage message);
    void hang_up_node(core::PeerId peer, Machine& machine, core::Down cause);
    void hang_up_controller(core::PeerId peer);
    void all_links_down();
    Machine* machine_of(core::PeerId peer) const;  // nullptr: the controller's end is gone
    Machine* machine(const std::string& name);
    std::string address_of(const Machine& machine) const;

    Instant now() const { return time.now(); }
    void broken(const std::string& invariant, const std::string& how);

    Setup setup;
    Faults faults;  // none when calm
    bool calm = false;
    Timeline time;
    Policies& policies;
    Recorder* recorder;
    Digest digest;
    Counts counts;
    std::string breach;
    Judge judge;
    Seat seat;
    Relays relays;
    Instant policies_away{};  // they are being exchanged until then
    std::vector<std::unique_ptr<Machine>> machines;
    People people;

  private:
    struct Link {
        Machine* machine = nullptr;
        bool node_end = true, controller_end = true;
        std::array<Instant, 2> last{};  // arrival of what was sent last: out, in
    };
    Instant arrival(Link& link, Machine& machine, bool out);
    void clockwork();

    Random network_, fate_;
    std::map<core::PeerId, Link> links_;
    core::PeerId last_peer_ = 0;
};

}  // namespace gantry::sim
