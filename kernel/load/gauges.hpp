// SPDX-License-Identifier: Apache-2.0
//
// What Linux tells of this machine beside its load: disk, network, pressure, temperature. None: the machine does not
// have it, or says what cannot be. A file system or a sensor that does not answer blocks, so these belong on a lane.
//
// root: the folder in which proc and sys are, so that tests can make one up.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "kernel/base/time.hpp"

namespace gantry::load {

struct Disk {
    std::int64_t total_bytes = 0, free_bytes = 0;  // as df has them: without what is kept back for root
};
std::optional<Disk> disk_now(const std::filesystem::path& folder);

// Bytes since boot by interface. Those with hardware behind them, and ppp links: a bridge, a tunnel or a container's
// end shows the same bytes again. Where there are none (a container), all but loopback.
struct Traffic {
    std::uint64_t received = 0, sent = 0;
};
using Interfaces = std::map<std::string, Traffic>;
std::optional<Interfaces> traffic_now(const std::filesystem::path& root = "/");
struct Rates {
    std::int64_t received_per_s = 0, sent_per_s = 0;
};
// Of the interfaces that are in both and did not begin anew. None: no time has passed.
std::optional<Rates> rates(const Interfaces& before, const Interfaces& now, Duration passed);

// "some avg10" of what: "cpu", "memory", "io"; in thousandths.
std::optional<std::int64_t> pressure_now(const std::string& what, const std::filesystem::path& root = "/");

// Of the hottest thermal zone, in degrees Celsius.
std::optional<std::int64_t> temperature_now(const std::filesystem::path& root = "/");

}  // namespace gantry::load
