// SPDX-License-Identifier: Apache-2.0
//
// Monitor: sees every call between the plugins of this process and its fake hosts, for tools that judge plugins, and
// may refuse what a plugin asks for. gantry-plugin check is built on it.
#pragma once

#include <gantry/abi/base.h>

#include <cstdint>

namespace gantry::testing {

// A plugin calls its host.
struct HostCall {
    std::uint64_t instance;  // Instance::handle()
    const char* service;     // GANTRY_HOST_LOG ..., or "sink": a report to the role's sink
    const char* slot;        // "watch"
    std::uint64_t op;        // of complete and cancelled, else 0
    bool alive;              // false: the instance was stopped; the call will answer GANTRY_STALE
};

class Monitor {
  public:
    virtual ~Monitor() = default;
    // Before each call, on the calling thread. Another answer than GANTRY_OK is what the plugin gets, and nothing is
    // done; slots that answer no status are done all the same. [any]
    virtual gantry_status host_called(const HostCall& call) noexcept {
        (void)call;
        return GANTRY_OK;
    }
    // Around each call of a fake host into a plugin that is tagged [loop]; slot: "init", "check", "timer". They nest.
    // [loop]
    virtual void slot_entered(const char* slot) noexcept { (void)slot; }
    virtual void slot_left(const char* slot) noexcept { (void)slot; }
};

// The one of this process; nullptr: none. It stays the caller's. Change it only while no plugin lives.
void set_monitor(Monitor* monitor) noexcept;

}  // namespace gantry::testing
