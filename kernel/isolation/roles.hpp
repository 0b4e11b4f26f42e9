// SPDX-License-Identifier: Apache-2.0
//
// The roles as lists of slots: the one table from which the proxies in gantryd and the calls in a plugin's process
// follow. A new slot of the border is one line in roles.cpp (and its structs one each in members.hpp).
#pragma once

#include <gantry/abi/host.h>

#include "kernel/isolation/slots.hpp"

namespace gantry::isolation {

// Numbers of tables in messages.
inline constexpr std::uint16_t kRoleTable = 0, kSinkTable = 1, kLogTable = 2;

struct Role {
    std::string_view interface;  // of the table that travels: placement's is AskedPlacement
    std::span<const Slot> slots, sink;
    const void* sink_proxy;  // in a plugin's process: the table to report to
    // In a plugin's process: what the table says of itself, its slots first.
    void (*put_facts)(Writer& w, const void* table, void* self);
    // In gantryd: fills `room`, kTableRoom zeroed bytes, with a table of proxies. What it refers to lives in the
    // reader.
    void (*take_facts)(Reader& r, void* room);
};
inline constexpr std::size_t kTableRoom = 256;

// By the interface that a plugin offers; nullptr: no role of this kernel.
const Role* find_role(std::string_view interface);
// The log as a table to report to.
std::span<const Slot> log_slots();
const gantry_host_log* log_proxy();

// Places of the slots that have a mind of their own; see window.hpp.
inline constexpr std::uint16_t kTransportSend = 3, kTransportClose = 4;
inline constexpr std::uint16_t kSinkUp = 0, kSinkDown = 2, kSinkWritable = 3;

}  // namespace gantry::isolation
