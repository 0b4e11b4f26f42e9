// SPDX-License-Identifier: Apache-2.0
//
// What moves cost: from the records of nodes, which may come late, and with their errors (docs/faults.md).
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

Span around(Instant at, Duration error = milliseconds(2)) { return {at - error, at + error}; }

// The node reports what it has, and these runs.
void tell(ControllerShell& c, const std::string& name, std::vector<Run> runs) {
    auto& peer = c.node(name);
    Report report;
    report.applied = peer.applied;
    report.load = peer.load;
    for (const auto& [id, copy] : peer.copies) report.copies.push_back(copy);
    report.told = peer.told = {runs.empty() ? peer.told.no : peer.told.no + 1,
                               std::max<std::uint64_t>(peer.told.since, 1), c.now};
    report.runs = std::move(runs);
    c.say(name, report);
}

Run run_of(const CopyId& copy, Instant began) {
    Run run{copy, 1, around(began)};
    run.turns = {around(began + milliseconds(100))};
    return run;
}

// Applies the newest list; what is in it is ready, and began when it was reported.
void obey_and_tell(ControllerShell& c, const std::string& name) {
    auto& peer = c.node(name);
    peer.applied = peer.list.no;
    peer.copies.clear();
    std::vector<Run> runs;
    for (const auto& entry : peer.list.copies) {
        c.set(name, entry.copy, CopyState::kReady);
        runs.push_back(run_of(entry.copy, c.now - milliseconds(100)));
    }
    tell(c, name, std::move(runs));
}

void connect_again(ControllerShell& c, const std::string& name) {
    c.connect(name);
    c.node(name).told.no = 0;  // a new session
}

// A little later it says that nothing has changed.
void later(ControllerShell& c, const std::string& name) {
    c.wait(milliseconds(200), {"n1", "n2"});
    tell(c, name, {});
}

ControllerShell two_nodes(const std::string& max_gap = "10s", const std::string& max_overlap = "10s") {
    ControllerShell c;
    for (const auto* name : {"n1", "n2"}) c.join(name);
    auto document = manifest("s", {"n1", "n2"});
    document.at("service").as_object()["max_gap"] = max_gap;
    document.at("service").as_object()["max_overlap"] = max_overlap;
    REQUIRE(c.deploy(document).has_value());
    REQUIRE(c.where("s.0") == "n1");
    obey_and_tell(c, "n1");
    return c;
}

json::object moves(const ControllerShell& c) { return c.core->service("s")->at("moves").as_object(); }
json::object last_move(const ControllerShell& c) { return moves(c).at("last").as_object(); }

void check_figure(const json::value& figure, int ms, int error_ms) {
    REQUIRE(figure.is_object());
    CHECK(figure.at("ms").to_number<int>() == ms);
    CHECK(figure.at("error_ms").to_number<int>() == error_ms);
}

}  // namespace

TEST_CASE("an unplanned move: the gap is known when the new copy is ready, the overlap when the old node is back") {
    ControllerShell c = two_nodes();
    const CopyId old = c.copy("s.0");
    CHECK(moves(c).at("last").is_null());
    c.wait(seconds(2), {"n1", "n2"});
    const Instant last_word = c.now;
    c.wait(seconds(2), {"n2"});
    REQUIRE(c.where("s.0") == "n2");
    obey_and_tell(c, "n2");  // began a tenth of a second ago, ready now
    const Instant ready = c.now;
    REQUIRE(c.count("moved") == 1);
    CHECK_THAT(c.last("moved"),
               Contains("s.0 moved from n1 to n2: 2.025 s ± 0.027 s") && Contains("is known when n1 is back"));
    CHECK(ready - last_word == seconds(2));
    check_figure(last_move(c).at("gap"), 2'025, 27);  // it may have ended just before its node's last word
    CHECK(last_move(c).at("overlap").is_null());
    CHECK_FALSE(last_move(c).at("complete").as_bool());
    CHECK_THAT(std::string(last_move(c).at("why").as_string()), Contains("n1 was lost: silence"));

    c.wait(seconds(60), {"n2"});
    const Instant stopped = c.now;
    connect_again(c, "n1");
    tell(c, "n1", {});  // still has it
    auto& n1 = c.node("n1");
    n1.applied = n1.list.no;
    n1.copies.clear();
    Run run = run_of(old, last_word - seconds(2));
    run.ended = around(stopped);
    tell(c, "n1", {run});
    CHECK(c.count("move-measured") == 0);  // nor did the new copy end meanwhile
    later(c, "n2");
    REQUIRE(c.count("move-measured") == 1);
    CHECK(last_move(c).at("complete").as_bool());
    check_figure(last_move(c).at("gap"), 2'000, 2);
    check_figure(last_move(c).at("overlap"), 60'100, 4);
    CHECK(c.count("budget-exceeded") == 1);
    CHECK_THAT(c.last("budget-exceeded"), Contains("above its max_overlap of 10 s"));
    c.heartbeat("n1");
    CHECK(c.node("n1").ack.runs_no == n1.told.no);
    CHECK(c.node("n1").ack.at == c.now);

    // It is stored, and shown with its revision.
    const auto before = to_text(c.core->service("s")->at("moves"));
    c.start();
    CHECK(to_text(c.core->service("s")->at("moves")) == before);
    const auto history = *c.core->history("s");
    REQUIRE(history.at(0).at("moves").as_array().size() == 1);
    CHECK(history.at(0).at("moves").at(0).at("instance").as_string() == "s.0");
}

TEST_CASE("a planned move has no gap, and the time in which two copies ran is told when the old one has stopped") {
    ControllerShell c = two_nodes("10s", "100ms");
    const CopyId old = c.copy("s.0");
    const Instant began = c.now;
    c.wait(seconds(1), {"n1", "n2"});
    REQUIRE(c.api(ApiSetIntent{0, "n1", "draining"}).has_value());
    c.wait(milliseconds(200), {"n1", "n2"});
    obey_and_tell(c, "n2");
    const Instant next_began = c.now - milliseconds(100);
    REQUIRE(c.where("s.0") == "n2");
    CHECK(c.count("moved") == 0);
    c.wait(milliseconds(400), {"n1", "n2"});
    auto& n1 = c.node("n1");
    n1.applied = n1.list.no;
    n1.copies.clear();
    Run run = run_of(old, began);
    run.ended = around(c.now);
    CHECK(c.now - next_began == milliseconds(500));
    tell(c, "n1", {run});
    later(c, "n2");
    REQUIRE(c.count("moved") == 1);
    check_figure(last_move(c).at("gap"), 0, 0);
    check_figure(last_move(c).at("overlap"), 500, 4);
    CHECK(last_move(c).at("why").as_string() == "drain");
    CHECK(c.count("budget-exceeded") == 1);
}

TEST_CASE("a move that is under way when the controller is started anew is measured: its nodes tell all of it again") {
    ControllerShell c = two_nodes();
    const CopyId old = c.copy("s.0");
    const Instant began = c.now - milliseconds(100);
    c.wait(seconds(1), {"n1", "n2"});
    REQUIRE(c.api(ApiSetIntent{0, "n1", "draining"}).has_value());
    c.wait(milliseconds(200), {"n1", "n2"});
    auto& n2 = c.node("n2");
    REQUIRE(n2.list.copies.size() == 1);
    const CopyId next = n2.list.copies[0].copy;
    // Its first container ended soon, which the controller that is there now hears.
    Run first{next, GENERATE(1U, 2U), around(c.now)};
    const bool whole = first.attempt == 1;
    c.wait(milliseconds(300), {"n1", "n2"});
    first.ended = around(c.now);
    n2.applied = n2.list.no;
    c.set("n2", next, CopyState::kWaiting);
    tell(c, "n2", {first});
    c.start();
    c.wait(seconds(1), {});
    for (const auto* name : {"n1", "n2"}) c.connect(name);
    Run second{next, first.attempt + 1, around(c.now)};
    second.turns = {around(c.now + milliseconds(100))};
    c.wait(milliseconds(100), {"n1", "n2"});
    c.set("n2", next, CopyState::kReady);
    tell(c, "n2", {first, second});
    REQUIRE(c.where("s.0") == "n2");
    Run run = run_of(old, began);
    tell(c, "n1", {run});
    CHECK(c.count("moved") == 0);
    auto& n1 = c.node("n1");
    n1.applied = n1.list.no;
    n1.copies.clear();
    c.wait(milliseconds(400), {"n1", "n2"});
    run.ended = around(c.now);
    tell(c, "n1", {run});
    later(c, "n2");
    // Of one whose first attempt nobody tells it is not known what else there was.
    REQUIRE(c.count("moved") == (whole ? 1 : 0));
    if (!whole) return;
    check_figure(last_move(c).at("gap"), 0, 0);
    check_figure(last_move(c).at("overlap"), 800, 8);  // 0.3 s, and 0.5 s
    CHECK(last_move(c).at("why").as_string() == "drain");
}

TEST_CASE("a copy that is in reach again is a move of its own; one that only was not ready is none") {
    ControllerShell c = two_nodes();
    const CopyId copy = c.copy("s.0");
    c.set("n1", copy, CopyState::kRunning);
    c.report("n1");
    c.set("n1", copy, CopyState::kReady);
    c.report("n1");
    CHECK(moves(c).at("last").is_null());
    c.drop("n2", Down::kClosed);
    c.wait(seconds(2), {"n1"});
    c.wait(seconds(3), {});
    REQUIRE(c.liveness("n1") == "lost");
    connect_again(c, "n1");
    tell(c, "n1", {});
    REQUIRE(c.count("moved") == 1);
    CHECK_THAT(c.last("moved"), Contains("s.0 is back on n1: 3.000 s"));
    check_figure(last_move(c).at("gap"), 3'000, 0);
    CHECK(last_move(c).at("complete").as_bool());
}

TEST_CASE("what ran in an earlier boot ended before the new one was heard") {
    ControllerShell c = two_nodes();
    c.wait(seconds(2), {"n1", "n2"});
    c.wait(seconds(2), {"n2"});
    obey_and_tell(c, "n2");
    c.wait(seconds(4), {"n2"});
    c.reboot("n1");
    connect_again(c, "n1");
    tell(c, "n1", {});
    later(c, "n2");
    REQUIRE(c.count("move-measured") == 1);
    check_figure(last_move(c).at("overlap"), 2'051, 2'051);  // none up to all the time until it was back
    CHECK(c.count("budget-exceeded") == 0);                  // which is no proof of one
}

TEST_CASE("what an agent lost of its records widens the figures") {
    ControllerShell c = two_nodes();
    c.wait(seconds(2), {"n1", "n2"});
    c.wait(seconds(2), {"n2"});
    obey_and_tell(c, "n2");
    c.wait(seconds(4), {"n2"});
    connect_again(c, "n1");
    auto& n1 = c.node("n1");
    n1.told.since = 2;  // other records than before, in which the copy is not
    n1.copies.clear();
    tell(c, "n1", {});
    n1.applied = n1.list.no;
    tell(c, "n1", {});
    later(c, "n2");
    REQUIRE(c.count("move-measured") == 1);
    CHECK_THAT(c.last("move-measured"), Contains("two copies ran for at most 4.102 s"));
}

TEST_CASE("a copy that was not ready when its node was lost had served before") {
    ControllerShell c = two_nodes();
    const CopyId old = c.copy("s.0");
    c.wait(seconds(2), {"n1", "n2"});
    Run run = run_of(old, c.now - seconds(2));
    const Instant unready = c.now;
    run.turns.push_back(around(unready));
    c.set("n1", old, CopyState::kRunning);
    tell(c, "n1", {run});
    c.wait(seconds(1), {"n1", "n2"});
    c.wait(seconds(2), {"n2"});
    obey_and_tell(c, "n2");
    REQUIRE(c.count("moved") == 1);
    check_figure(last_move(c).at("gap"), 2'501, 503);  // it may have been ready again when its node was heard last
    // It was ready again where nobody reached it.
    run.turns.push_back(around(c.now - seconds(1)));
    c.wait(seconds(1), {"n2"});
    run.ended = around(c.now);
    connect_again(c, "n1");
    tell(c, "n1", {});
    auto& n1 = c.node("n1");
    n1.applied = n1.list.no;
    n1.copies.clear();
    tell(c, "n1", {run});
    later(c, "n2");
    REQUIRE(c.count("move-measured") == 1);
    check_figure(last_move(c).at("gap"), 3'000, 4);
}

TEST_CASE("what a lost node had no time to tell may have been ready until its last word") {
    ControllerShell c = two_nodes();
    const CopyId old = c.copy("s.0");
    c.wait(seconds(2), {"n1", "n2"});
    Run run = run_of(old, c.now - seconds(2));
    run.ended = around(c.now);
    c.set("n1", old, CopyState::kWaiting);
    tell(c, "n1", {run});
    ++c.node("n1").told.no;  // of another run, in a report that does not come
    c.wait(seconds(1), {"n1", "n2"});
    c.wait(seconds(2), {"n2"});
    obey_and_tell(c, "n2");
    REQUIRE(c.count("moved") == 1);
    check_figure(last_move(c).at("gap"), 2'501, 503);  // since its last word, or since the run that is known ended
}

TEST_CASE("a gap above its budget is an event") {
    ControllerShell c = two_nodes("1s");
    c.wait(seconds(1), {"n1", "n2"});
    c.wait(seconds(2), {"n2"});
    obey_and_tell(c, "n2");
    REQUIRE(c.count("budget-exceeded") == 1);
    CHECK_THAT(c.last("budget-exceeded"), Contains("2.025 s ± 0.027 s is above its max_gap of 1 s"));
}

TEST_CASE("a drill begins on a node that is ready and permits its kind") {
    ControllerShell c;
    c.join("n1", [](Hello& hello) { hello.drills = {"cut", "kill"}; });
    c.join("n2");
    CHECK(c.core->drilled("n1", "cut").value() == c.node("n1").peer);
    CHECK(c.core->drilled("n3", "cut").error().code == Code::kNotFound);
    CHECK_THAT(c.core->drilled("n1", "freeze").error().message, Contains("only cut, kill"));
    CHECK(c.core->drilled("n2", "cut").error().code == Code::kRefused);
    c.drop("n1", Down::kClosed);
    CHECK(c.core->drilled("n1", "cut").error().code == Code::kConflict);
}
