// SPDX-License-Identifier: Apache-2.0
//
// CLOCK_BOOTTIME for Asio: it goes on while the machine sleeps, as deadlines and leases need.
#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <chrono>

#include "kernel/base/time.hpp"

namespace gantry::host {

struct BootClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<BootClock>;
    static constexpr bool is_steady = true;
    static time_point now() noexcept;
    static time_point at(Instant instant) noexcept { return time_point(duration(instant.ns)); }
};

using BootTimer = boost::asio::basic_waitable_timer<BootClock>;

}  // namespace gantry::host
