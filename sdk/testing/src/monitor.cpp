// SPDX-License-Identifier: Apache-2.0
#include <atomic>

#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

std::atomic<Monitor*> g_monitor{nullptr};

}  // namespace

void set_monitor(Monitor* monitor) noexcept { g_monitor = monitor; }

gantry_status tell_monitor(std::uint64_t handle, const char* service, const char* slot, std::uint64_t op) noexcept {
    Monitor* const monitor = g_monitor;
    return monitor == nullptr ? GANTRY_OK : monitor->host_called({handle, service, slot, op, Loop::alive(handle)});
}

InSlot::InSlot(const char* slot) noexcept : monitor_(g_monitor), slot_(slot) {
    if (monitor_ != nullptr) monitor_->slot_entered(slot_);
}

InSlot::~InSlot() {
    if (monitor_ != nullptr) monitor_->slot_left(slot_);
}

}  // namespace gantry::testing
