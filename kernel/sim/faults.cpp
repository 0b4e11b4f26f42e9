// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/faults.hpp"

namespace gantry::sim {

Faults Faults::draw(Random& random) {
    Faults out;
    const auto rate = [&](int& of, int most) {
        if (random.chance(400)) of = random.between(1, most);
    };
    rate(out.loss, 60);
    rate(out.duplicates, 60);
    rate(out.disorder, 60);
    rate(out.delays, 60);
    rate(out.slow_runtime, 150);
    rate(out.failing_runtime, 100);
    rate(out.unknown_outcomes, 100);
    rate(out.zombies, 150);
    rate(out.lost_exits, 300);
    rate(out.hidden, 150);
    rate(out.runtime_restarts, 20);
    rate(out.crashes, 30);
    rate(out.probes, 50);
    rate(out.images, 300);
    rate(out.commits, 20);
    rate(out.saves, 60);
    rate(out.policies, 60);
    rate(out.drift_ppm, 1'000);
    for (bool* each : {&out.slow_disks, &out.power, &out.cuts, &out.one_way, &out.partitions, &out.clogs, &out.resets,
                       &out.restarts, &out.leaving, &out.controller_killed, &out.controller_paused, &out.configuration})
        *each = random.chance(450);
    out.jumps = random.chance(100);
    out.planted = random.chance(150);
    out.people = random.chance(850);
    out.between = random.ms(200, 3'000);
    // Where what it assumes holds (docs/faults.md): no clock jumps, and a list leaves nothing out.
    out.forbid = !out.jumps && out.hidden == 0 && random.chance(700);
    out.siege = out.forbid && random.chance(500);
    for (bool* each : {&out.relays, &out.guards, &out.exchange, &out.preempt}) *each = random.chance(400);
    return out;
}

int Faults::drift(Random& random) const {
    if (siege) return random.chance(500) ? drift_ppm : -drift_ppm;
    return random.between(-drift_ppm, drift_ppm);
}

}  // namespace gantry::sim
