// SPDX-License-Identifier: Apache-2.0
//
// How long a node may be silent: the window of each node follows its own history (docs/detection.md).
#include "kernel/core/records.hpp"
#include "tests/unit/kernel/core/controller_shell.hpp"
#include "tests/unit/kernel/core/random.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

std::int64_t window_ms(const ControllerShell& c, const std::string& node) {
    return c.node_document(node).at("lost_after_ms").to_number<std::int64_t>();
}

// Its heartbeats come with these pauses; the controller looks whenever it wants to.
void beat(ControllerShell& c, const std::string& node, Duration pause) {
    const Instant at = c.now + pause;
    while (c.core->next_deadline() < at) {
        c.now = std::max(c.now, c.core->next_deadline());
        c.tick();
    }
    c.now = at;
    c.heartbeat(node);
}

}  // namespace

TEST_CASE("a greatest pause counts at once and is forgotten slowly") {
    Pace pace;
    Instant now{};
    CHECK(pace.greatest() == Duration(0));
    pace.heard(milliseconds(700), true, now);
    CHECK(pace.greatest() == milliseconds(700));
    for (int i = 0; i < 709; ++i) pace.heard(milliseconds(200), true, now);
    CHECK(pace.greatest() > milliseconds(349));
    CHECK(pace.greatest() < milliseconds(352));
    for (int i = 0; i < 3'000; ++i) pace.heard(milliseconds(200), true, now);
    CHECK(pace.greatest() == milliseconds(200));  // what happens every time is never forgotten
    pace.heard(milliseconds(100), false, now);
    CHECK(pace.greatest() == milliseconds(200));  // only heartbeats count the time
}

TEST_CASE("a pause that was the listener's own is taken back, an older one is not") {
    Pace pace;
    pace.heard(milliseconds(300), true, Instant{seconds(10).count()});
    pace.heard(seconds(20), true, Instant{seconds(30).count()});
    pace.take_back(milliseconds(200), Instant{seconds(30).count()});
    CHECK(pace.greatest() < milliseconds(301));
    pace.heard(milliseconds(900), true, Instant{seconds(31).count()});
    pace.take_back(milliseconds(200), Instant{seconds(40).count()});
    CHECK(pace.greatest() == milliseconds(900));
}

TEST_CASE("a regular link keeps the shortest window, an irregular one gets more, up to the configured bound") {
    ControllerShell c;
    c.join("n1");
    CHECK(window_ms(c, "n1") == 1'000);
    for (int i = 0; i < 50; ++i) beat(c, "n1", milliseconds(200));
    CHECK(window_ms(c, "n1") == 1'000);
    CHECK(c.node_document("n1").at("greatest_pause_ms").to_number<int>() == 200);
    beat(c, "n1", milliseconds(800));
    CHECK(window_ms(c, "n1") == 1'600);
    CHECK(c.count("node-suspect") == 1);
    beat(c, "n1", milliseconds(1'550));  // would have been lost
    CHECK(c.count("node-lost") == 0);
    CHECK(window_ms(c, "n1") == 3'000);
    beat(c, "n1", milliseconds(2'900));
    CHECK(c.count("node-lost") == 0);
    CHECK(window_ms(c, "n1") == 3'000);
    for (int i = 0; i < 2'000; ++i) beat(c, "n1", milliseconds(200));
    CHECK(window_ms(c, "n1") == 1'000);
    c.wait(milliseconds(1'100), {});
    CHECK(c.liveness("n1") == "lost");
}

TEST_CASE("between suspect and lost there is always the same time to ask others") {
    ControllerShell c;
    c.join("n1");
    const auto times = [&] {
        const Instant heard = c.now;
        while (c.liveness("n1") != "suspect") c.now = c.core->next_deadline(), c.tick();
        const Duration suspect = c.now - heard;
        while (c.liveness("n1") != "lost") c.now = c.core->next_deadline(), c.tick();
        return std::pair(suspect, c.now - heard);
    };
    SECTION("regular") { CHECK(times() == std::pair<Duration, Duration>(milliseconds(600), milliseconds(1'000))); }
    SECTION("irregular") {
        beat(c, "n1", milliseconds(900));
        CHECK(times() == std::pair<Duration, Duration>(milliseconds(1'400), milliseconds(1'800)));
    }
}

TEST_CASE("what a late controller took for a pause changes no window") {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    c.now = c.now + seconds(20);
    for (const auto* name : {"n1", "n2"}) c.heartbeat(name);  // the loop drains what came first
    CHECK(window_ms(c, "n1") == 3'000);
    c.step(LoopLate{seconds(20)});
    c.tick();
    for (const auto* name : {"n1", "n2"}) CHECK(window_ms(c, name) == 1'000);
}

TEST_CASE("an outage and a new connection say nothing of a link's pace") {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    c.wait(seconds(10), {"n2"});
    REQUIRE(c.liveness("n1") == "lost");
    c.connect("n1");
    c.report("n1");
    CHECK(window_ms(c, "n1") == 1'000);
}

TEST_CASE("whatever the pauses were: the window keeps its bounds, and who is never silent longer is never lost") {
    const auto seed = static_cast<std::uint64_t>(GENERATE(range(1, 41)));
    INFO("seed " << seed);
    Random random(seed);
    Timing timing = *profile(kProfiles[static_cast<std::size_t>(random.below(3))]);
    timing.lost_after_max = timing.lost_after * (1 + random.below(5));
    ControllerShell c(timing);
    c.join("n1");
    const auto least = timing.lost_after / milliseconds(1), most = timing.lost_after_max / milliseconds(1);
    for (int i = 0; i < 400; ++i) {
        const auto window = window_ms(c, "n1");
        REQUIRE(window >= least);
        REQUIRE(window <= most);
        REQUIRE(c.liveness("n1") == "ready");
        // Mostly regular, at times anything up to a moment before it would be lost.
        const auto regular = static_cast<int>(timing.heartbeat / milliseconds(1));
        const auto pause =
            random.chance(85) ? random.time(regular / 2, regular) : random.time(1, static_cast<int>(window) - 1);
        beat(c, "n1", pause);
        REQUIRE(c.count("node-lost") == 0);
    }
    // And who falls silent is lost at the end of its window, neither earlier nor later.
    const Instant lost = c.now + milliseconds(window_ms(c, "n1"));
    c.now = lost - milliseconds(1);
    c.tick();
    CHECK(c.liveness("n1") == "suspect");
    c.now = lost + milliseconds(1);  // documents are in whole milliseconds
    c.tick();
    CHECK(c.liveness("n1") == "lost");
}

TEST_CASE("every profile keeps the rules, and there are no others") {
    for (const auto name : kProfiles) {
        INFO(name);
        const auto timing = profile(name);
        REQUIRE(timing);
        CHECK(check_timing(*timing));
        CHECK(timing->lost_after_max == kLostAfterMax * timing->lost_after);
    }
    CHECK(profile("lan")->lost_after == Timing{}.lost_after);
    CHECK(profile("lossy")->lost_after > profile("wan")->lost_after);
    CHECK_FALSE(profile("LAN"));
    CHECK_FALSE(profile(""));
    Timing timing;
    timing.lost_after_max = milliseconds(999);
    const auto refused = check_timing(timing);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("an irregular link gets more silence, not less") != std::string::npos);
}
