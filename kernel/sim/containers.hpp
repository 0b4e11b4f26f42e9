// SPDX-License-Identifier: Apache-2.0
//
// Containers: the runtime of one simulated machine. What it has is the truth; what it says of it may be late, missing
// or wrong as a runtime's may be. Containers outlive gantryd and end with the machine.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernel/core/agent.hpp"
#include "kernel/sim/faults.hpp"
#include "kernel/sim/timeline.hpp"

namespace gantry::sim {

class World;
class Machine;

class Containers {
  public:
    struct Box {
        bool running = false, created = true;
        bool zombie = false;  // does not end when it is told to
        bool planted = false;
        bool fenced = false;
        bool hidden = false;  // the last list left it out; no two in a row do
        int exit_code = 0;
        std::uint64_t run = 0;  // grows with each start
        Instant started{};
        core::CopyId copy;
        std::uint64_t busy = 0;  // id of the operation under way
        std::int64_t memory_bytes = 0;
        std::vector<std::uint16_t> ports;  // on which it listens while it runs
    };

    Containers(World& world, Machine& machine, std::string name);

    // Each is answered by one input of the machine's agent, some time later, if gantryd still runs then.
    void list();
    void list_images();
    void create(const core::Create& effect);
    void start(const core::Start& effect);
    void stop(const core::Stop& effect);
    void remove(const core::Remove& effect);
    void fetch(const core::FetchImage& effect);
    void keep_images(const std::vector<std::string>& digests);
    void check(const core::Check& effect);

    void power_off();   // everything ends, nobody hears of it
    void agent_gone();  // operations go on, nobody waits for them
    void crash(const std::string& name);
    void fence(const std::string& name);  // its cgroup is killed and stays frozen
    void restart();                       // forgets who waits for what, and the ends it has not told
    void plant(const std::string& name);  // runs and was made by nobody
    void curse(const core::InstanceId& instance, Instant until);  // it crashes here, again and again
    void heal();                                                  // what cannot be stopped can be, from now on

    const std::map<std::string, Box>& boxes() const { return boxes_; }
    const std::string& name() const { return name_; }
    std::int64_t memory_bytes() const;  // that what runs has declared

  private:
    void operate(std::uint64_t id, const std::string& name, Duration limit, std::function<Status()> work);
    void run(const std::string& name, Box& box);
    bool cursed(const core::InstanceId& instance) const;
    void end(const std::string& name, int code, bool asked, bool tell);
    void answer(std::uint64_t agent_run, core::AgentInput input);
    Duration pace();

    World& world_;
    Machine& machine_;
    std::string name_;
    std::map<std::string, Box> boxes_;
    std::set<std::string> images_, names_used_;
    // Operation -> run of the agent that waits; 0: this run was given a list.
    std::map<std::uint64_t, std::uint64_t> waiting_;
    std::map<std::string, std::uint64_t> fetching_;
    std::map<core::InstanceId, Instant> cursed_;
    Random random_;
};

}  // namespace gantry::sim
