// SPDX-License-Identifier: Apache-2.0
//
// People: those who deploy, drain, roll back and remove, at random; and what befalls a world while faults are on.
#pragma once

#include "kernel/base/json.hpp"
#include "kernel/sim/random.hpp"

namespace gantry::sim {

class World;
class Machine;

class People {
  public:
    People(World& world, std::uint64_t seed);

    void begin();   // images and first services
    void change();  // one change of something
    void misfortune();
    void besiege();  // what befalls leases, guards, links to the controller alone, and plugins
    void by_hand();  // a service or an instance is stopped, started, restarted
    void heal();     // faults have stopped: nodes are active again, rollouts go on

  private:
    json::value manifest(const std::string& name);
    Machine& any();
    void besiege_lease(Machine& machine);
    void befall(Machine& machine, int what);

    World& world_;
    Random people_, fate_, siege_, hands_, apart_, ports_;
};

}  // namespace gantry::sim
