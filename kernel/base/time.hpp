// SPDX-License-Identifier: Apache-2.0
//
// Time as the kernel counts it: nanoseconds of CLOCK_BOOTTIME. Nothing here reads a clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace gantry {

using Duration = std::chrono::nanoseconds;

// An instant on some machine's CLOCK_BOOTTIME. Instants of two machines are never compared.
struct Instant {
    std::int64_t ns = 0;

    friend auto operator<=>(const Instant&, const Instant&) = default;
    friend Instant operator+(Instant at, Duration by) { return {at.ns + by.count()}; }
    friend Instant operator-(Instant at, Duration by) { return {at.ns - by.count()}; }
    friend Duration operator-(Instant a, Instant b) { return Duration(a.ns - b.ns); }
};

inline constexpr Instant kNever{INT64_MAX};

constexpr Duration milliseconds(std::int64_t n) { return std::chrono::milliseconds(n); }
constexpr Duration seconds(std::int64_t n) { return std::chrono::seconds(n); }

}  // namespace gantry
