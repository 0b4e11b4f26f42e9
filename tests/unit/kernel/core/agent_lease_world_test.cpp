// SPDX-License-Identifier: Apache-2.0
//
// overlap = "forbid" with both cores in true time: random histories in which the assumptions of docs/faults.md hold,
// and for each assumption a scenario that breaks it and shows what then happens.
#include <random>

#include "tests/unit/kernel/core/lease_world.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

// s.0 runs on host 0 with a fresh lease, and would move to host 1.
struct Pair : LeaseWorld {
    explicit Pair(std::int64_t drift_ppm = 0, std::int64_t controller_ppm = 0) : LeaseWorld(1, 2) {
        controller_drift_ppm = controller_ppm;
        host(0).drift_ppm = drift_ppm;
        host(1).drift_ppm = 0;
        host(0).kill_takes = timing.kill_bound;
        run_for(seconds(1));
        intent(1, "cordoned");
        deploy(1);
        run_for(seconds(2));
        REQUIRE(running() == std::vector<std::size_t>{0});
        intent(1, "active");
        run_for(milliseconds(50));
    }
    // Until it runs on host 1.
    bool moves(Duration limit) {
        const Instant end = now + limit;
        const auto there = [this] {
            const auto at = running();
            return std::find(at.begin(), at.end(), std::size_t{1}) != at.end();
        };
        while (!there() && now < end) run_for(milliseconds(5));
        return there();
    }
};

void misfortune(LeaseWorld& w) {
    const auto i = static_cast<std::size_t>(w.random.below(static_cast<int>(w.size())));
    auto& host = w.host(i);
    switch (w.random.below(16)) {
        case 0:
            return w.cut(i);
        case 1:
            host.cut_in = true;
            return;
        case 2:
            host.cut_out = true;
            return;
        case 3:
            host.delay_in = w.random.time(0, 5'000);
            host.delay_out = w.random.time(0, 5'000);
            return;
        case 4:
        case 5:
        case 6:
            return w.mend(i);
        case 7:
            return host.runs ? w.kill_agent(i) : w.start_agent(i);
        case 8:
            w.power_off(i);
            w.run_for(w.random.time(0, 3'000));
            return w.power_on(i);
        case 9:
            return w.has_controller() ? w.kill_controller() : w.start_controller();
        case 10:
            return w.intent(i, w.random.chance(50) ? "draining" : "active");
        case 11:
            return w.deploy(1 + w.random.below(3), 1 + w.random.below(3));
        case 12:
            if (const auto running = host.shell.running(); !running.empty() && host.runs)
                host.shell.crash(running[static_cast<std::size_t>(w.random.below(static_cast<int>(running.size())))]);
            return;
        case 13:
        case 14:
            w.kill_controller();
            w.run_for(w.random.time(0, 300));
            return w.start_controller();
        default:
            return w.start_agent(i);
    }
}

}  // namespace

TEST_CASE("5: whatever happens, of an instance under forbid never two copies run at once in true time") {
    const auto first = std::random_device{}();
    std::size_t expired = 0, returned = 0, starts = 0;
    for (unsigned round = 0; round < 150; ++round) {
        const unsigned seed = first + round;
        INFO("seed " << seed);
        LeaseWorld w(seed, 3);
        w.slow_percent = w.random.below(3) * 10;
        w.repeated_percent = w.random.below(3) * 10;
        w.run_for(seconds(1));
        w.deploy(2);
        for (int i = 0; i < 60 && w.breach.empty(); ++i) {
            misfortune(w);
            w.run_for(w.random.time(0, 2'000));
        }
        CHECK(w.breach == "");
        // Faults stop: everything runs again.
        w.slow_percent = w.repeated_percent = 0;
        w.start_controller();
        for (std::size_t i = 0; i < w.size(); ++i) {
            w.start_agent(i);
            w.mend(i);
            w.intent(i, "active");
        }
        const Instant end = w.now + seconds(150);
        while (!w.all_ready() && w.now < end) w.run_for(seconds(1));
        INFO(to_text(w.instances()));
        CHECK(w.all_ready());
        CHECK(w.breach == "");
        expired += w.count("lease-expired");
        returned += w.count("returned");
        starts += w.starts;
    }
    // The histories are about something.
    CHECK(expired > 50);
    CHECK(returned > 50);
    CHECK(starts > 1'000);
}

TEST_CASE("5: with every assumption at its limit a lost copy is dead before the other one starts, and it does start") {
    for (const std::int64_t drift : {-1'000, 0, 1'000}) {
        Pair w(drift, -drift);
        w.cut(0);
        REQUIRE(w.moves(seconds(6)));
        CHECK(w.breach == "");
        CHECK(w.running() == std::vector<std::size_t>{1});
    }
}

TEST_CASE("assumption: a clock that loses more than rho lets two run for as long as it has lost in T + K") {
    Pair w(-100'000);  // a tenth
    w.kill_agent(0);   // else it would help
    w.cut(0);
    REQUIRE(w.moves(seconds(6)));
    w.run_for(seconds(2));
    CHECK(w.breach != "");
    CHECK(w.together > milliseconds(100));
    CHECK(w.together < milliseconds(500));
    CHECK(w.running() == std::vector<std::size_t>{1});
}

TEST_CASE("assumption: a kill that takes longer than K lets two run for the rest of it") {
    Pair w;
    w.kill_agent(0);
    w.cut(0);
    w.host(0).kill_takes = seconds(2);
    REQUIRE(w.moves(seconds(6)));
    w.run_for(seconds(3));
    CHECK(w.breach != "");
    CHECK(w.together < milliseconds(1'700));
    CHECK(w.running() == std::vector<std::size_t>{1});
}

TEST_CASE("assumption: a machine that is frozen beyond U and thawed runs on for as long as its guard takes to kill") {
    Pair w;
    w.freeze(0, seconds(8));
    w.host(0).kill_takes = milliseconds(30);  // wakes up, and kills
    REQUIRE(w.moves(seconds(6)));
    w.run_for(seconds(6));
    CHECK(w.breach != "");
    CHECK(w.together <= milliseconds(50));
    CHECK(w.running() == std::vector<std::size_t>{1});
}

TEST_CASE("assumption: a boot id that is new though the machine was not rebooted lets two run until D + K") {
    Pair w;
    w.cut(0);
    w.run_for(seconds(1));
    // What was cloned from it, or restored from its snapshot, says hello as the same machine after a reboot.
    auto& shell = w.host(0).shell;
    const auto boxes = shell.boxes;
    shell.boxes["oci"].clear();
    const auto guard = shell.guard;
    w.kill_agent(0);
    w.host(0).cut_in = w.host(0).cut_out = false;
    w.power_on(0);
    shell.boxes = boxes;
    shell.guard = guard;
    w.host(0).kill_takes = milliseconds(100);
    REQUIRE(w.moves(seconds(3)));
    w.run_for(seconds(5));
    CHECK(w.breach != "");
    CHECK(w.together < w.timing.lease + w.timing.kill_bound);
    CHECK(w.running().size() == 1);
}

TEST_CASE("assumption: a boot id that is the same after a reboot only costs time") {
    Pair w;
    const std::string boot = w.host(0).shell.facts.boot_id;
    w.power_off(0);
    w.run_for(seconds(1));
    w.host(0).shell.facts.boot_id = boot;
    w.start_agent(0);
    w.run_for(seconds(10));
    CHECK(w.breach == "");
    CHECK(w.running().size() == 1);
}

TEST_CASE("assumption: a store that loses what it said was durable lets two run until the stray one is reported") {
    Pair w;
    const auto old = w.store;
    w.cut(0);
    REQUIRE(w.moves(seconds(6)));
    w.run_for(seconds(1));
    REQUIRE(w.breach == "");
    w.kill_controller();
    w.store = old;  // as before the move
    w.mend(0);
    w.cut(1);  // it cannot report what it runs
    w.start_controller();
    w.run_for(seconds(8));
    w.mend(1);
    w.run_for(seconds(20));
    CHECK(w.breach != "");
    CHECK(w.together < w.timing.lease + w.timing.kill_bound);
    CHECK(w.running().size() == 1);
}
