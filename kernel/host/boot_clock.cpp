// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/boot_clock.hpp"

#include <time.h>

#include "kernel/host/host.hpp"

namespace gantry::host {

Instant boottime_now() {
    timespec t{};
    ::clock_gettime(CLOCK_BOOTTIME, &t);
    return {static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec};
}

BootClock::time_point BootClock::now() noexcept { return at(boottime_now()); }

}  // namespace gantry::host
