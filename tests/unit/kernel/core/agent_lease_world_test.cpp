// SPDX-License-Identifier: Apache-2.0
//
// overlap = "forbid" with both cores in true time: for each assumption of docs/faults.md a scenario that breaks it and
// shows what then happens. Histories in which all of them hold are the simulator's.
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

}  // namespace

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
