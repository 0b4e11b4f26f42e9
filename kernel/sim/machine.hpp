// SPDX-License-Identifier: Apache-2.0
//
// Machine: a simulated node: clock, disk, runtimes, and gantryd with the real core::Agent, driven as
// kernel/control/agent_loop.cpp drives it: effects in order, everything behind a Save waits for the disk, signs of life
// pass ahead. gantryd and the machine may end between any two effects.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "kernel/core/agent.hpp"
#include "kernel/sim/containers.hpp"
#include "kernel/sim/guard.hpp"

namespace gantry::sim {

class Machine {
  public:
    Machine(World& world, std::size_t number, Random random);

    void power_on();
    void power_off(Duration away);
    void kill_agent(Duration away);                 // gantryd dies; containers run on
    void restart_agent(Duration away);              // the same in order: it says hold
    void go_down(Duration at_most, Duration away);  // an announced shutdown
    void start_agent();

    void turn(const core::AgentInput& input);
    void hear(core::PeerId peer, core::ControllerMessage message);
    void lost_link(core::PeerId peer);
    void dial();

    Containers* runtime(const std::string& name);
    Instant local() const;
    bool can_send() const;
    bool can_hear() const;
    bool stopping() const { return stopping_; }
    // Something kept it from its controller just now.
    void disturbed();
    bool in_contact_since(Instant when) const;

    std::string name;
    std::size_t number = 0;
    Clock clock;
    core::AgentFacts facts;
    bool up = false;
    std::optional<core::Agent> agent;
    std::uint64_t run = 0;  // of gantryd, grows when it ends
    std::vector<std::unique_ptr<Containers>> runtimes;
    Guard guard;
    core::PeerId peer = 0;
    bool welcomed = false;
    core::ListNo taken;                      // of the last list that arrived in this run
    bool list_heard = false;                 // a list arrived in this run, or an answer that confirms the saved one
    bool list_of_boot = false;               // a list arrived in this boot
    bool table_restored = false;             // the table of names is the saved one
    Instant cut_out{}, cut_in{}, clogged{};  // until then nothing leaves, arrives, or it waits
    Instant cut_up_out{}, cut_up_in{};       // the same, but only between it and the controller
    Instant late_until{};                    // what the controller sends it until then is late by `late`
    Duration late{};
    Instant quiet_since{};  // nothing has kept it from its controller since
    std::vector<core::NameEntry> served;
    bool leaving = false;
    bool broken_disk = false;

  private:
    void act(core::AgentEffect effect);
    void drain();
    void pass_ahead();
    void save(std::string document);
    void say(core::Send effect);
    void arm();
    void measure();
    void watch_link();
    void end_agent();
    void reach(const core::Reach& effect);
    bool port_is_free(std::uint16_t port);

    World& world_;
    Random random_;
    std::optional<std::string> file_;
    bool file_lost_ = false;
    std::deque<core::AgentEffect> effects_;
    bool saving_ = false, save_failed_ = false, draining_ = false, stopping_ = false;
    std::optional<std::string> writing_;
    core::ListNo applied_told_;
    std::uint64_t seq_ = 0;
    std::uint64_t boots_ = 0;
    Instant armed_ = kNever, heard_{};
    Duration away_{};
    bool dialling_ = false;
};

}  // namespace gantry::sim
