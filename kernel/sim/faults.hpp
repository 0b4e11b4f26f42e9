// SPDX-License-Identifier: Apache-2.0
//
// Faults: which kinds of misfortune a world knows. Swarm style: a seed draws some of them, so that each kind is also
// seen alone and in every company (docs/simulation.md).
#pragma once

#include "kernel/sim/random.hpp"

namespace gantry::sim {

struct Faults {
    // Of a thousand messages.
    int loss = 0, duplicates = 0, disorder = 0, delays = 0;
    // Of a thousand operations of a runtime, lists, containers a second, probes.
    int slow_runtime = 0, failing_runtime = 0, unknown_outcomes = 0, zombies = 0, lost_exits = 0, hidden = 0,
        runtime_restarts = 0, crashes = 0, probes = 0, images = 0;
    // Of a thousand commits, saves, questions to a policy.
    int commits = 0, saves = 0, policies = 0;
    bool slow_disks = false;
    int drift_ppm = 0;  // every machine's clock is up to so much wrong
    // Misfortunes, one of which befalls the world every now and then.
    bool power = false, cuts = false, one_way = false, partitions = false, clogs = false, resets = false,
         restarts = false, leaving = false, controller_killed = false, controller_paused = false, jumps = false,
         planted = false;
    // Configuration and plugins change at a start of the controller; people change things all the time.
    bool configuration = false, people = false;
    bool forbid = false;                   // every second service is under overlap = "forbid"
    bool siege = false;                    // of leases: what they assume holds, and only just
    bool relays = false;                   // nodes pass on what others say; links to the controller alone are cut
    bool guards = false;                   // guards die
    bool exchange = false;                 // the policies' plugin is exchanged
    bool preempt = false;                  // some services displace others
    bool by_hand = false;                  // people stop, start and restart
    bool apart = false;                    // some keep their instances apart, or spread them, at any price
    bool ports = false;                    // some leave their port to their node
    Duration between = milliseconds(500);  // misfortunes, on average

    static Faults none() { return {}; }
    int drift(Random& random) const;  // of one clock, in millionths
    static Faults draw(Random& random);
};

}  // namespace gantry::sim
