// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/timing.hpp"

#include "kernel/base/units.hpp"

namespace gantry::core {

namespace {

Status at_least(const char* name, Duration got, const std::string& rule, Duration least) {
    if (got >= least) return {};
    return fail(Code::kInvalid,
                std::string(name) + " is " + format_duration(got) + ", expected " + rule + ", that is at least " +
                    format_duration(least),
                std::string("controller.timing.") + name);
}

Status at_most(const char* name, Duration got, const std::string& rule, Duration most) {
    if (got <= most) return {};
    return fail(Code::kInvalid,
                std::string(name) + " is " + format_duration(got) + ", expected " + rule + ", that is at most " +
                    format_duration(most),
                std::string("controller.timing.") + name);
}

constexpr std::int64_t kMillion = 1'000'000;

}  // namespace

std::optional<Timing> profile(std::string_view name) {
    Timing t;
    if (name == kProfiles[1]) {  // a round trip of up to 300 ms, now and then a second lost
        t.heartbeat = milliseconds(500);
        t.suspect_after = seconds(2);
        t.lost_after = seconds(4);
        t.reset_grace = seconds(2);
        t.start_grace = seconds(15);
    } else if (name == kProfiles[2]) {  // one packet of twenty is lost: the fourth resend in a row comes after 3 s
        t.heartbeat = milliseconds(500);
        t.suspect_after = seconds(3);
        t.lost_after = seconds(6);
        t.reset_grace = seconds(4);
        t.start_grace = seconds(20);
    } else if (name != kProfiles[0]) {
        return std::nullopt;
    }
    t.lost_after_max = kLostAfterMax * t.lost_after;
    t.lease = 3 * t.lost_after;
    return t;
}

Duration lease_span(const Timing& t) {
#ifdef GANTRY_BUG_WITHOUT_KILL_BOUND
    const std::int64_t drift = t.drift_ppm, time = t.lease.count();
#else
    const std::int64_t drift = t.drift_ppm, time = (t.lease + t.kill_bound).count();
#endif
    // Divided first: a lease of an hour times a million does not fit.
    return Duration((time / (kMillion - drift) + 1) * (kMillion + drift));
}

Status check_timing(const Timing& t) {
    GANTRY_CHECK(at_least("heartbeat", t.heartbeat, "no more than a hundred heartbeats a second", milliseconds(10)));
    GANTRY_CHECK(at_most("heartbeat", t.heartbeat, "one heartbeat a minute or more", seconds(60)));
    GANTRY_CHECK(
        at_least("suspect_after", t.suspect_after, "two heartbeats or more: one may be late", 2 * t.heartbeat));
    GANTRY_CHECK(at_least("lost_after", t.lost_after, "more than suspect_after: a node is suspect before it is lost",
                          t.suspect_after + milliseconds(1)));
    GANTRY_CHECK(at_least("lost_after_max", t.lost_after_max,
                          "no less than lost_after: an irregular link gets more silence, not less", t.lost_after));
    GANTRY_CHECK(at_least("reset_grace", t.reset_grace, "time for a broken connection to come back: one heartbeat",
                          t.heartbeat));
    GANTRY_CHECK(at_least("hold", t.hold, "no less than lost_after: a hold is meant to be patient", t.lost_after));
    GANTRY_CHECK(at_least("start_grace", t.start_grace, "no less than lost_after: nodes must find the controller again",
                          t.lost_after));
    GANTRY_CHECK(at_least("return_hold", t.return_hold, "no negative time", Duration(0)));
    GANTRY_CHECK(
        at_least("mass_pause", t.mass_pause, "no less than lost_after: it is a pause before the loss", t.lost_after));
    GANTRY_CHECK(at_least("restart_delay", t.restart_delay, "a pause between crashes", milliseconds(1)));
    GANTRY_CHECK(at_least("restart_delay_max", t.restart_delay_max, "no less than restart_delay: pauses grow up to it",
                          t.restart_delay));
    GANTRY_CHECK(at_least("stable_after", t.stable_after, "more than restart_delay: else no crash ever follows another",
                          t.restart_delay + milliseconds(1)));
    GANTRY_CHECK(at_least("lease", t.lease, "three heartbeats or more: two renewals may be lost", 3 * t.heartbeat));
    GANTRY_CHECK(at_most("lease", t.lease, "an hour or less", seconds(3'600)));
    GANTRY_CHECK(
        at_least("kill_bound", t.kill_bound, "time for the guard to wake up and the kernel to kill", milliseconds(50)));
    GANTRY_CHECK(at_most("kill_bound", t.kill_bound, "a minute or less", seconds(60)));
    if (t.drift_ppm > kMillion / 10)
        return fail(Code::kInvalid, "drift_bound is more than 0.1: no such clock can keep a lease",
                    "controller.timing.drift_bound");
    if (t.crashes_to_move < 1)
        return fail(Code::kInvalid, "crashes_to_move is 0, expected 1 or more", "controller.timing.crashes_to_move");
    if (t.nodes_to_give_up < 1)
        return fail(Code::kInvalid, "nodes_to_give_up is 0, expected 1 or more", "controller.timing.nodes_to_give_up");
    return {};
}

}  // namespace gantry::core
