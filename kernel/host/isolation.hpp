// SPDX-License-Identifier: Apache-2.0
//
// Isolation: a plugin in a process of its own, seen from here as a plugin like any other. kernel/isolation implements
// it, whoever makes a Host puts the two together; a Host without one refuses isolated plugins.
#pragma once

#include <gantry/abi/entry.h>
#include <gantry/abi/placement.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernel/host/roles.hpp"

namespace gantry::host {

class Context;
struct PluginFile;

struct IsolatedPlugin {
    std::shared_ptr<Context> context;  // its host services, ended by the caller
    std::shared_ptr<PluginFile> file;
    std::int64_t memory_max_bytes = 0;
    // Its running process ended by itself, other than by a SIGKILL from outside; `how` says how. False: it is not to be
    // started again. [loop]
    std::function<bool(const std::string& how)> survives;
};

struct IsolatedState {
    bool up = false;  // else it is being started again, or is stopped
    std::int64_t pid = 0;
    std::uint64_t restarts = 0;
    std::string reason;  // why it is not up
};

class Isolated {
  public:
    virtual ~Isolated() = default;  // [loop]
    // Its slots behave as entry.h says; init makes the process. Whenever that ends by itself it is made anew, with what
    // it had been told that lasts. The table that query gives is of the interface of the role, but for a placement:
    // AskedPlacement. Valid until this object is gone. [loop]
    virtual gantry_plugin plugin() = 0;
    virtual IsolatedState state() const = 0;  // [loop]
    // Of one that ended and was not to be started again: it is after all, at once. [loop]
    virtual void revive() = 0;
    // Starts a process on `file` beside the one that runs and gives it all further calls once it is ready. Errors: it
    // is not running now, the new one could not start (and the old one goes on). [loop]
    virtual void exchange(std::shared_ptr<PluginFile> file, const gantry_config& config, Done<void> done) = 0;
    // Tells a frontend to stop while the loop turns; done when its process has ended, perhaps at once. The slot stop
    // comes after, whatever became of it. [loop]
    virtual void finish(std::function<void()> done) = 0;
};

class Isolation {
  public:
    virtual ~Isolation() = default;
    virtual std::unique_ptr<Isolated> host(IsolatedPlugin plugin) = 0;  // runs nothing yet
};

// The role placement as an operation: for a policy in a process of its own, whose keys come in a later turn. No plugin
// has this table; kernel/isolation makes one over the plugin's.
struct PlacementKeys {  // result of score
    std::uint32_t struct_size;
    std::uint32_t reserved;
    const std::int64_t (*keys)[GANTRY_PLACEMENT_KEYS];  // in the order of the candidates
    std::size_t count;
};
struct AskedPlacement {
    std::uint32_t struct_size;
    std::uint32_t key_count;
    gantry_str key_names[GANTRY_PLACEMENT_KEYS];
    gantry_status (*score)(void* self, gantry_op op, const gantry_snapshot* snapshot,
                           const gantry_placement_request* request, const gantry_candidate* candidates,
                           std::size_t n) noexcept;
};

}  // namespace gantry::host
