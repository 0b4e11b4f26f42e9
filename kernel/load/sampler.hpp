// SPDX-License-Identifier: Apache-2.0
//
// Sampler: what this node and its containers use, beside the load that placement sees. Once in a period the
// machine is read, in threads that may hang, and containers are asked of their runtimes, some at a time. What
// hangs, lies or does not exist is not known; it holds up nobody. Small changes are not told, so that a quiet node
// has nothing to say.
//
// Threads: the loop.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/core/agent.hpp"
#include "kernel/host/host.hpp"
#include "kernel/load/gauges.hpp"

namespace gantry::load {

class Sampler {
  public:
    static constexpr std::size_t kAskedAtOnce = 16;  // containers in one period
    static constexpr int kStale = 4;                 // periods after which what was found is not known any more

    // Does `work` on a thread that nobody waits for, then `done` on the loop; not at all once the sampler is gone.
    using Run = std::function<void(std::function<void()> work, std::function<void(const Status& ran)> done)>;
    struct Parts {
        std::filesystem::path disk;  // a folder on the disk that is looked at
        Run machine, heat;           // a thread each: a sensor that hangs holds up no other
        // Asks a container's runtime; an answer may come at any time.
        std::function<void(const core::Agent::CopyPlace& container, host::Done<host::ContainerStats> done)> ask;
        Duration period = seconds(5);
        std::function<Instant()> clock = &host::boottime_now;  // on any thread
        std::filesystem::path root = "/";                      // see gauges.hpp
    };
    explicit Sampler(Parts parts) : parts_(std::move(parts)) {}

    // What is known by now of the machine and of these containers; begins to read anew when it is time.
    std::optional<core::Usage> sample(const std::vector<core::Agent::Running>& running);

  private:
    struct Machine {  // one reading
        Instant at{};
        std::optional<Disk> disk;
        std::optional<Interfaces> traffic;
        std::optional<std::int64_t> cpu, memory, io;  // pressure
    };
    struct Container {
        core::CopyUsage told;
        Instant at{};              // of the last answer
        std::int64_t cpu_ns = -1;  // then
        bool asked = false;
    };
    void read();
    void take(const Machine& machine);
    void ask(const core::Agent::CopyPlace& place);
    void answered(Container& container, const host::ContainerStats& stats, Instant now);

    Parts parts_;
    std::map<std::string, Container> containers_;  // by name
    core::CopyId last_asked_;
    Machine machine_;
    Instant heat_at_{};
    bool reading_machine_ = false, reading_heat_ = false, known_ = false;
    Instant read_at_{};
    core::Usage told_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // answers of runtimes may come later than that
};

}  // namespace gantry::load
