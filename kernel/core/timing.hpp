// SPDX-License-Identifier: Apache-2.0
//
// The times of faults.md; [controller.timing] of the configuration sets them.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "kernel/base/json.hpp"
#include "kernel/base/time.hpp"

namespace gantry::core {

struct Timing {
    Duration heartbeat = milliseconds(200);
    Duration suspect_after = milliseconds(600);  // silence
    Duration lost_after = seconds(1);            // silence, on a link that was regular
    Duration lost_after_max = seconds(3);        // silence, on a link that never was
    Duration reset_grace = milliseconds(600);    // after a connection reset
    Duration hold = seconds(30);                 // after "hold": the daemon restarts
    Duration start_grace = seconds(5);           // after a controller start: nodes may take this long to come back
    Duration return_hold = seconds(30);          // the node on which an instance was lost is left out so long
    Duration mass_pause = seconds(30);           // more than half silent together: moves wait this long
    Duration restart_delay = seconds(1);         // of a crashed container; doubles with every crash of a row
    Duration restart_delay_max = seconds(60);    // it grows no further
    Duration stable_after = seconds(10);         // running this long ends a row of crashes
    std::uint32_t crashes_to_move = 5;           // in a row, then another node
    std::uint32_t nodes_to_give_up = 3;          // failed on so many (or all candidates): it stays and is failing
    Duration lease = seconds(3);                 // T: without a renewal a copy under forbid runs so long
    Duration kill_bound = milliseconds(500);     // K: what its lease no longer covers is dead by then
    std::uint32_t drift_ppm = 1'000;             // rho: no clock goes wrong by more, in millionths
    bool indirect = true;                        // a suspect node is asked about through others
};

inline constexpr int kLostAfterMax = 3;  // lost_after_max, if nobody sets it, in times of lost_after

// Times that fit together, for a kind of network. None: there is no such profile.
inline constexpr std::array<std::string_view, 3> kProfiles = {"lan", "wan", "lossy"};
std::optional<Timing> profile(std::string_view name);

// Whatever was granted until now has ended, and is dead, when so much time has passed on any other clock:
// (T + K)(1 + rho)/(1 - rho).
Duration lease_span(const Timing& timing);

// Refuses a set that contradicts a rule, naming the rule.
Status check_timing(const Timing& timing);

}  // namespace gantry::core
