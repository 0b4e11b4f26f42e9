// SPDX-License-Identifier: Apache-2.0
//
// When what ran: recorded by the node's clock, told by the controller's (docs/faults.md).
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

const CopyId kCopy{{12, 0}, 3};
constexpr Duration kAhead = seconds(5'000);  // the controller's clock shows so much more

// The last heartbeat is answered `back` after it was sent; the controller took it `there` after that.
void answer(AgentShell& a, Duration there, Duration back, std::uint64_t runs_no = 0) {
    a.run_for(milliseconds(200));
    const auto* beat = a.last_sent<Heartbeat>();
    REQUIRE(beat);
    HeartbeatAck ack;
    ack.seq = beat->id.seq;
    ack.current = {1, 1};
    ack.beat = beat->beat;
    ack.at = a.now + there + kAhead;
    ack.runs_no = runs_no;
    a.now = a.now + back;
    a.step(FromController{a.peer, ack});
    a.run_for(milliseconds(1));
}

const Run* told(const AgentShell& a) {
    for (auto at = a.sent.rbegin(); at != a.sent.rend(); ++at)
        if (const auto* report = std::get_if<Report>(&at->message); report && !report->runs.empty())
            return &report->runs.back();
    return nullptr;
}
std::uint64_t last_runs_no(const AgentShell& a) {
    std::uint64_t no = 0;
    for (const auto& send : a.sent)
        if (const auto* report = std::get_if<Report>(&send.message)) no = std::max(no, report->told.no);
    return no;
}

AgentShell one_copy() {
    AgentShell a;
    a.start();
    a.connect();
    a.give({1, 1}, {a.entry(kCopy, AgentShell::spec("s"))});
    REQUIRE(a.state(kCopy) == CopyState::kReady);
    return a;
}

bool holds(const Span& span, Instant local) { return span.from <= local + kAhead && local + kAhead <= span.to; }

}  // namespace

TEST_CASE("runs are told by the controller's clock, known within half a round trip") {
    AgentShell a = one_copy();
    const Instant began = a.now;
    CHECK(told(a) == nullptr);  // its clock is not known yet
    answer(a, milliseconds(4), milliseconds(10));
    const Run* run = told(a);
    REQUIRE(run);
    CHECK(run->copy == kCopy);
    CHECK(run->attempt == 1);
    CHECK(holds(run->began, began));
    REQUIRE(run->turns.size() == 1);
    const Span ready = run->turns[0];
    CHECK(holds(ready, began));
    CHECK(ready.to - ready.from >= milliseconds(10));
    CHECK(ready.to - ready.from < milliseconds(12));  // and what clocks drift in a fifth of a second
    CHECK_FALSE(run->ended);
}

TEST_CASE("a run is told until the controller has taken it, and its end even when the container is gone") {
    AgentShell a = one_copy();
    answer(a, milliseconds(1), milliseconds(2));
    const auto first = last_runs_no(a);
    REQUIRE(first != 0);
    answer(a, milliseconds(1), milliseconds(2), first);
    a.run_for(seconds(3));
    CHECK(last_runs_no(a) == first);
    const Instant stopped = a.now;
    a.give({1, 2}, {});
    REQUIRE(a.running().empty());
    a.run_for(seconds(3));
    CHECK(last_runs_no(a) > first + 1);  // again and again
    const Run* run = told(a);
    REQUIRE(run->ended);
    CHECK(holds(*run->ended, stopped));
    const auto last = last_runs_no(a);
    answer(a, milliseconds(1), milliseconds(2), last);
    a.run_for(seconds(3));
    CHECK(last_runs_no(a) == last);
}

TEST_CASE("what a copy of the list ran is told again to a controller that starts anew, also what was taken") {
    AgentShell a = one_copy();
    answer(a, milliseconds(1), milliseconds(2));
    a.crash(a.running().at(0));
    a.run_for(seconds(3));
    REQUIRE(a.state(kCopy) == CopyState::kReady);
    answer(a, milliseconds(1), milliseconds(2), last_runs_no(a));
    a.run_for(seconds(3));
    a.disconnect();
    a.sent.clear();
    a.connect();
    answer(a, milliseconds(1), milliseconds(2));
    std::set<std::uint64_t> attempts;
    for (const auto& send : a.sent)
        if (const auto* report = std::get_if<Report>(&send.message))
            for (const auto& run : report->runs) attempts.insert(run.attempt);
    CHECK(attempts == std::set<std::uint64_t>{1, 2});
}

TEST_CASE("what ended while no controller answered is told by what was known of its clock then") {
    AgentShell a = one_copy();
    answer(a, milliseconds(1), milliseconds(2));
    answer(a, milliseconds(1), milliseconds(2), last_runs_no(a));
    a.disconnect();
    const Instant ended = a.now;
    a.crash(a.running().at(0));
    a.run_for(seconds(600));
    // gantryd is restarted meanwhile: its records are saved.
    a.restart();
    a.connect(2);
    answer(a, milliseconds(1), milliseconds(2));
    bool found = false;
    for (const auto& send : a.sent)
        if (const auto* report = std::get_if<Report>(&send.message))
            for (const auto& run : report->runs) {
                if (run.attempt != 1 || !run.ended || send.peer != 2) continue;
                found = true;
                CHECK(holds(*run.ended, ended));
                // The drift of two clocks in ten minutes would be more than a second.
                CHECK(run.ended->to - run.ended->from < milliseconds(500));
            }
    CHECK(found);
}

TEST_CASE("another clock of the controller is taken for what it is") {
    AgentShell a = one_copy();
    answer(a, milliseconds(1), milliseconds(2));
    REQUIRE(holds(told(a)->began, Instant{1'000'000'000}));
    a.disconnect();
    a.connect(2);
    a.run_for(milliseconds(200));
    const auto* beat = a.last_sent<Heartbeat>();
    HeartbeatAck ack;
    ack.seq = beat->id.seq;
    ack.current = {1, 1};
    ack.beat = beat->beat;
    ack.at = a.now + seconds(7);
    a.step(FromController{2, ack});
    a.run_for(seconds(2));
    const Span began = told(a)->began;
    CHECK(began.from <= Instant{1'000'000'000} + seconds(7));
    CHECK(Instant{1'000'000'000} + seconds(7) <= began.to);
}

TEST_CASE("records outlive gantryd; where they did not, another number says so") {
    AgentShell a = one_copy();
    answer(a, milliseconds(1), milliseconds(2));
    const auto* beat = a.last_sent<Heartbeat>();
    const auto since = beat->told.since;
    REQUIRE(since != 0);
    a.run_for(milliseconds(200));
    beat = a.last_sent<Heartbeat>();
    CHECK(beat->told.no == last_runs_no(a));
    CHECK(beat->told.said <= a.now + kAhead);
    CHECK(a.now + kAhead - beat->told.said < milliseconds(205));
    a.restart();
    a.connect(2);
    CHECK(a.report.told.since == since);
    CHECK(a.report.told.said == Instant());  // the clock of this controller is not known
    answer(a, milliseconds(1), milliseconds(2));
    CHECK(a.report.told.said != Instant());
    a.disk.reset();
    a.restart();
    a.connect(3);
    CHECK(a.report.told.since != since);
}

TEST_CASE("what began before this run of gantryd, and is in no record, began at any time") {
    AgentShell a = one_copy();
    a.disk.reset();
    a.run_for(seconds(5));
    const Instant restarted = a.now;
    a.restart();
    a.connect(2);
    a.give({1, 1}, {a.entry(kCopy, AgentShell::spec("s"))});
    answer(a, milliseconds(1), milliseconds(2));
    const Run* run = told(a);
    REQUIRE(run);
    CHECK(holds(run->began, {}));
    CHECK(holds(run->began, restarted));
    REQUIRE(run->turns.size() == 1);
    CHECK(holds(run->turns[0], {}));
}
