// SPDX-License-Identifier: Apache-2.0
//
// Cgroups: the groups of our containers, in every hierarchy of this node: v1 controllers, cgroup2, or both (hybrid).
//
//     /<parent>/<name>      a container's, made by the engine
//     /<parent>/_monitor    all conmons: outside the daemon's group, so that ending that one ends no container
//
// Paths are absolute in each hierarchy; nothing depends on the group the daemon itself is in. Methods may be called
// from every thread; they throw gantry::Failure.
#pragma once

#include <filesystem>
#include <gantry/runtime.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace oci {

class Cgroups {
  public:
    // Finds the mounted hierarchies. kUnavailable: there are none.
    explicit Cgroups(std::string parent);

    std::string path(const std::string& name) const { return "/" + parent_ + "/" + name; }
    // Memory limits may name a limit of memory and swap together.
    bool counts_swap() const;
    // A group has a weight of block I/O. Makes the parent, as only groups below the topmost show it.
    bool weighs_io();

    // Puts a process into the monitors' group, which is made if need be. The group stays as long as it has members.
    void adopt_monitor(pid_t pid);

    // SIGKILL to everything in the container's groups. Does not wait: answers a process that is still there, or 0.
    pid_t kill(const std::string& name) const;
    // SIGKILL to those of its processes that carry the mark (monitored::has_mark), again and again until none is left,
    // for a second at most.
    void kill_marked(const std::string& name, const std::string& mark) const;
    // Processor time of each period, in microseconds. Errors: kFailed, with the file.
    void limit_cpu(const std::string& name, std::int64_t quota_us, std::int64_t period_us) const;
    // Its limit leaves no room for what begins one more.
    bool no_more_processes(const std::string& name) const;
    // All its processes stand still, or go on; ends when they do. Errors: kUnsupported, kDeadline.
    void pause(const std::string& name, bool on, gantry::Instant deadline) const;
    bool paused(const std::string& name) const;  // or frozen for a moment
    // Deletes the container's groups, which must be empty; then what of the monitors' and the parent is not used.
    void remove(const std::string& name, gantry::Instant deadline);

    bool out_of_memory(const std::string& name) const;
    std::optional<gantry::ContainerStats> stats(const std::string& name) const;

  private:
    struct Hierarchy {
        std::filesystem::path mount;
        std::vector<std::string> controllers;  // empty: cgroup2
        bool unified() const { return controllers.empty(); }
    };

    const Hierarchy* with(std::string_view controller) const;
    std::filesystem::path folder(const Hierarchy& hierarchy, const std::string& name) const;
    std::vector<pid_t> members(const std::string& name) const;
    std::pair<std::filesystem::path, std::string> freezer(const std::string& name) const;
    bool freeze(const std::string& name) const;  // false: it was frozen already, or the node cannot
    void thaw(const std::string& name) const;
    void freeze_and_signal(const std::string& name) const;
    std::optional<long long> value(std::string_view controller, const std::string& name, const char* v1,
                                   const char* v2) const;

    std::string parent_;
    std::vector<Hierarchy> hierarchies_;
    std::mutex monitors_;          // the group is either being entered or deleted
    mutable std::mutex freezers_;  // a group is frozen for a moment, or paused
};

}  // namespace oci
