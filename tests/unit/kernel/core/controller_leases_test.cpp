// SPDX-License-Identifier: Apache-2.0
//
// overlap = "forbid" on the controller (faults.md 5): who is granted what, and when another copy may start.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

const Duration kSpan = lease_span(Timing{});  // from a grant to U

void guarded(Hello& hello) { hello.runtimes.at(0).guarded = true; }

json::value once(std::vector<std::string> nodes, int instances = 1, int version = 1) {
    auto out = manifest("s", std::move(nodes), instances);
    out.as_object()["placement"].as_object()["overlap"] = "forbid";
    out.as_object()["container"] = json::object{{"args", {"run", std::to_string(version)}}};
    return out;
}

bool granted(ControllerShell& c, const std::string& node, const CopyId& copy) {
    const auto& grants = c.node(node).ack.grants;
    return std::find(grants.begin(), grants.end(), copy) != grants.end();
}

bool lists(ControllerShell& c, const std::string& node) { return !c.node(node).list.copies.empty(); }

std::string state(ControllerShell& c) { return std::string(c.instance("s.0").at("state").as_string()); }

// s.0 is ready on `a` and granted there at `now`; `b` is well.
ControllerShell leased(Timing timing = {}) {
    ControllerShell c(timing);
    c.join("a", guarded);
    REQUIRE(c.deploy(once({"a", "b"})).has_value());
    c.obey("a", CopyState::kReady);
    c.join("b", guarded);
    c.heartbeat("a");
    REQUIRE(granted(c, "a", c.copy("s.0")));
    return c;
}

// Half a heartbeat before `until` nothing has moved; then it has.
void moves_at(ControllerShell& c, Instant until) {
    c.wait(until - c.now - milliseconds(1), {"b"});
    CHECK_FALSE(lists(c, "b"));
    CHECK(state(c) == "pending");
    c.wait(milliseconds(2), {"b"});
    CHECK(c.where("s.0") == "b");
    CHECK(c.copy("s.0").epoch == 2);
}

}  // namespace

TEST_CASE("5: U is (T + K)(1 + rho)/(1 - rho) after the grant, rounded up") {
    const double exact = 3.5e9 * 1.001 / 0.999;
    CHECK(static_cast<double>(kSpan.count()) >= exact);
    CHECK(static_cast<double>(kSpan.count()) < exact + 2e6);
    Timing none;
    none.drift_ppm = 0;
    CHECK(lease_span(none) >= milliseconds(3'500));
}

TEST_CASE("5: the answer to a heartbeat names it and grants the node's copies under forbid, and no others") {
    ControllerShell c;
    c.join("a", guarded);
    REQUIRE(c.deploy(once({"a"})).has_value());
    REQUIRE(c.deploy(manifest("free", {"a"})).has_value());
    CHECK(c.node("a").list.copies.at(0).forbid);
    CHECK_FALSE(c.node("a").list.copies.at(1).forbid);
    c.heartbeat("a");
    CHECK(c.node("a").ack.beat == c.node("a").beat);
    CHECK(c.node("a").ack.grants == std::vector<CopyId>{c.copy("s.0")});
    const auto lease = c.instance("s.0").at("lease").as_object();
    CHECK(lease.at("node") == "a");
    CHECK(lease.at("ends_in_ms").to_number<int>() == kSpan / milliseconds(1));
}

TEST_CASE("5: a node whose heartbeats have no number is granted nothing") {
    auto c = leased();
    c.say("a", Heartbeat{{}, c.node("a").applied, c.node("a").load});
    CHECK(c.node("a").ack.grants.empty());
}

TEST_CASE("5: a lost copy is started elsewhere when U has passed, not before") {
    auto c = leased();
    const Instant until = c.now + kSpan;
    SECTION("silence") {}
    SECTION("reset") { c.reset("a"); }
    SECTION("the operator says that it is lost") {
        c.wait(milliseconds(700), {"b"});
        REQUIRE(c.api(ApiConfirmLost{0, {"a"}}).has_value());
    }
    SECTION("the operator removes the node") {
        c.reset("a");
        c.wait(seconds(1), {"b"});
        REQUIRE(c.api(ApiRemoveNode{0, "a", true}).has_value());
    }
    moves_at(c, until);
    CHECK(c.count("lost") == 1);
    CHECK(c.count("move-waits-for-lease") == 1);
    CHECK_THAT(c.last("move-waits-for-lease"), Contains("epoch 1 may run on a until"));
    CHECK(c.count("lease-expired") == 1);
}

TEST_CASE("5: a copy that was never granted has not run: it moves as soon as its node is lost") {
    ControllerShell c;
    c.join("a", guarded);
    c.join("b", guarded);
    REQUIRE(c.deploy(once({"a", "b"})).has_value());
    c.reset("a");
    c.wait(milliseconds(700), {"b"});
    CHECK(c.where("s.0") == "b");
    CHECK(c.count("move-waits-for-lease") == 0);
}

TEST_CASE("5: before U a word of the same boot cancels the move") {
    auto c = leased();
    const Instant until = c.now + kSpan;
    c.reset("a");
    c.wait(until - c.now - milliseconds(50), {"b"});
    CHECK(c.where("s.0") == "");
    c.connect("a", guarded);
    SECTION("it reports at once") {}
    SECTION("it reports when U has passed") {
        c.wait(milliseconds(200), {"b"});
        CHECK_FALSE(lists(c, "b"));
    }
    c.report("a");
    CHECK(c.where("s.0") == "a");
    CHECK(c.copy("s.0").epoch == 1);
    CHECK(c.count("returned") == 1);
    c.obey("a", CopyState::kReady);
    c.wait_all(seconds(10));
    CHECK(c.where("s.0") == "a");
    CHECK(granted(c, "a", c.copy("s.0")));
    CHECK(c.count("lease-expired") == 0);
}

TEST_CASE("5: a node that says hello before U and then nothing more does not keep the move for ever") {
    auto c = leased();
    c.reset("a");
    c.wait(seconds(3), {"b"});
    c.connect("a", guarded);
    c.wait(seconds(3), {"b"});
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("5: at U the move is certain: the old epoch is never granted again, though there is no other candidate") {
    ControllerShell c;
    c.join("a", guarded);
    REQUIRE(c.deploy(once({"a"})).has_value());
    c.obey("a", CopyState::kReady);
    c.heartbeat("a");
    const CopyId old = c.copy("s.0");
    c.reset("a");
    SECTION("the same controller") { c.wait(kSpan + milliseconds(10), {}); }
    SECTION("one that was started since") {
        c.wait(kSpan + milliseconds(10), {});
        c.start();
        c.wait(milliseconds(100), {});
    }
    c.connect("a", guarded);
    c.report("a");
    c.heartbeat("a");
    CHECK_FALSE(granted(c, "a", old));
    CHECK(c.count("returned") == 0);
    c.obey("a", CopyState::kReady);
    CHECK(c.where("s.0") == "a");
    CHECK(c.copy("s.0").epoch == 2);
}

TEST_CASE("5: a new boot id of the same machine lets the copy move at once") {
    auto c = leased();
    c.reset("a");
    c.wait(seconds(1), {"b"});
    CHECK(c.where("s.0") == "");
    c.reboot("a");
    c.connect("a", guarded);
    CHECK(c.where("s.0") == "b");
    CHECK(c.count("lease-expired") == 0);
}

TEST_CASE("5: another machine under the same name says nothing of the lease") {
    auto c = leased();
    const Instant until = c.now + kSpan;
    c.reset("a");
    c.wait(seconds(1), {"b"});
    REQUIRE(c.liveness("a") == "lost");
    c.connect("a", [](Hello& hello) {
        guarded(hello);
        hello.id = {"another-machine", "boot-x", 1, 1};
    });
    c.node("a").applied = {};
    c.node("a").copies.clear();
    c.report("a");
    c.wait(until - c.now - milliseconds(1), {"a", "b"});
    CHECK(c.where("s.0") == "");
    c.wait(milliseconds(2), {"a", "b"});
    CHECK(c.where("s.0") != "");
}

TEST_CASE("5: grants are not stored: after a start of the controller every copy has a whole U from then") {
    Timing timing;
    timing.start_grace = seconds(1);
    auto c = leased(timing);
    SECTION("it was well") {}
    SECTION("it was lost already") {
        c.reset("a");
        c.wait(kSpan - milliseconds(10), {"b"});
    }
    const Instant until = c.now + kSpan;
    c.start();
    c.join("b", guarded);
    moves_at(c, until);
}

TEST_CASE("5: after a start of the controller a report without the copy confirms that it is gone") {
    auto c = leased();
    c.reset("a");
    c.wait(seconds(1), {"b"});
    c.start();
    c.join("b", guarded);
    c.connect("a", guarded);
    c.node("a").copies.clear();
    c.report("a");
    CHECK(c.where("s.0") == "");  // it may still be about to start what its list holds
    c.obey("a", CopyState::kReady);
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("5: a shorter lease in the configuration does not shorten those that were granted by the longer one") {
    Timing timing;
    timing.lease = seconds(10);
    timing.start_grace = seconds(1);
    auto c = leased(timing);
    const Duration before = lease_span(timing);
    c.timing.lease = seconds(3);
    Instant until = c.now + before;
    c.start();
    SECTION("one start") {}
    SECTION("two of them") {
        c.wait(seconds(2), {});
        until = c.now + before;
        c.start();
    }
    c.join("b", guarded);
    moves_at(c, until);
    // From then on the shorter one counts.
    c.obey("b", CopyState::kReady);
    c.wait(seconds(1), {"b"});
    const Instant shorter = c.now + kSpan;
    c.start();
    c.join("a", guarded);
    c.wait(shorter - c.now + milliseconds(1), {"a"});
    CHECK(c.where("s.0") == "a");
}

TEST_CASE("5: planned moves under forbid stop, confirm, start, with a gap that is told") {
    auto c = leased();
    std::string why;
    SECTION("drain") { REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value()); }
    SECTION("announced reboot") { c.say("a", Leaving{{}, true}); }
    SECTION("update") { REQUIRE(c.deploy(once({"a", "b"}, 1, 2)).has_value()); }
    CHECK(c.count("gap-planned") == 1);
    CHECK_FALSE(lists(c, "a"));
    CHECK_FALSE(lists(c, "b"));
    // It takes its time to stop, and keeps its lease.
    const CopyId old{c.copy("s.0").instance, 1};
    c.node("a").applied = c.node("a").list.no;
    c.set("a", old, CopyState::kStopping);
    c.report("a");
    c.wait_all(seconds(9));
    CHECK(granted(c, "a", old));
    CHECK(c.where("s.0") == "");
    c.node("a").copies.erase(old);
    c.report("a");
    CHECK(c.where("s.0") != "");
    CHECK(c.copy("s.0").epoch == 2);
    CHECK(c.count("lease-expired") == 0);
}

TEST_CASE("5: what cannot be stopped gets no further lease, and is replaced after U") {
    auto c = leased();
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    const CopyId old{c.copy("s.0").instance, 1};
    c.node("a").applied = c.node("a").list.no;
    c.set("a", old, CopyState::kStopping);
    c.node("a").copies[old].cannot_stop = true;
    c.report("a");
    const Instant latest = c.now + kSpan;
    c.heartbeat("a");
    CHECK_FALSE(granted(c, "a", old));
    c.wait(latest - c.now + milliseconds(1), {"a", "b"});
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("5: a node that is lost while it stops a copy is waited for until U, also by the next controller") {
    Timing timing;
    timing.start_grace = seconds(1);
    auto c = leased(timing);
    Instant until = c.now + kSpan;
    REQUIRE(c.api(ApiSetIntent{0, "a", "draining"}).has_value());
    c.reset("a");
    SECTION("the same") {}
    SECTION("the next") {
        c.wait(seconds(1), {"b"});
        until = c.now + kSpan;
        c.start();
        c.join("b", guarded);
    }
    moves_at(c, until);
}

TEST_CASE("5: a crashing copy is not tried elsewhere before its node has stopped it") {
    auto c = leased();
    const CopyId old = c.copy("s.0");
    for (std::uint32_t crashes = 1; crashes <= c.timing.crashes_to_move; ++crashes) {
        c.set("a", old, CopyState::kWaiting, crashes);
        c.report("a");
    }
    CHECK(c.where("s.0") == "");
    CHECK_FALSE(lists(c, "b"));
    c.obey("a", CopyState::kReady);
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("5: an instance that is taken away and added again waits for what may be left of it") {
    ControllerShell c;
    c.join("a", guarded);
    REQUIRE(c.deploy(once({"a", "b"}, 2)).has_value());
    c.obey("a", CopyState::kReady);
    c.join("b", guarded);
    c.heartbeat("a");
    Instant until = c.now + kSpan;
    c.reset("a");
    c.wait(seconds(1), {"b"});
    REQUIRE(c.deploy(once({"a", "b"}, 1)).has_value());
    SECTION("the same controller") {}
    SECTION("one that was started in between") {
        until = c.now + kSpan;
        c.start();
        c.join("b", guarded);
    }
    REQUIRE(c.deploy(once({"a", "b"}, 2)).has_value());
    c.wait(until - c.now - milliseconds(1), {"b"});
    CHECK(c.where("s.1") == "");
    c.wait(milliseconds(2), {"b"});
    CHECK(c.where("s.1") == "b");
}

TEST_CASE("5: a service that is removed is not deployed again while its leases last") {
    auto c = leased();
    const Instant until = c.now + kSpan;
    c.reset("a");
    c.wait(seconds(1), {"b"});
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    const auto refused = c.deploy(once({"a", "b"}));
    REQUIRE_FALSE(refused.has_value());
    CHECK_THAT(refused.error().text(), Contains("until its leases are over"));
    c.wait(until - c.now + milliseconds(1), {"b"});
    CHECK(c.core->services().empty());
    CHECK(c.deploy(once({"a", "b"})).has_value());
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("5: gantryd that restarts keeps its copies where they are, however long its hold is") {
    auto c = leased();
    c.say("a", Hold{});
    c.reset("a");
    c.wait(seconds(20), {"b"});
    CHECK(c.where("s.0") == "a");
    CHECK_FALSE(lists(c, "b"));
}

TEST_CASE("5: forbid is refused where it cannot be kept, with the reason") {
    ControllerShell c;
    c.join("a", [](Hello& hello) { hello.runtimes = {{"process", "linux", {"amd64"}, false}}; });
    const auto refused = c.deploy(once({"a"}));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().where == "placement.overlap");
    CHECK_THAT(refused.error().text(), Contains("process on a"));
    SECTION("a node that keeps no leases is no candidate") {
        c.join("b");
        REQUIRE(c.deploy(once({"b"})).has_value());
        CHECK(c.where("s.0") == "");
        CHECK_THAT(c.reason("s.0", "b"), Contains("it has no gantry-guard"));
    }
    SECTION("a service does not turn from one to the other") {
        c.join("b", guarded);
        REQUIRE(c.deploy(manifest("s", {"b"})).has_value());
        const auto turned = c.deploy(once({"b"}));
        REQUIRE_FALSE(turned.has_value());
        CHECK_THAT(turned.error().text(), Contains("remove the service and deploy it again"));
    }
    SECTION("without a controller there is no lease") {
        auto document = once({"b"});
        document.as_object()["service"].as_object()["cut_off"] = "start";
        CHECK_THAT(c.deploy(document).error().text(), Contains("no lease is to be had"));
    }
}

TEST_CASE("5: a rebalance moves nothing that would have to be away for it") {
    ControllerShell c;
    c.join("a", guarded);
    REQUIRE(c.deploy(once({"a", "b"}, 3)).has_value());
    c.obey("a", CopyState::kReady);
    c.join("b", guarded);
    const auto plan = c.api(ApiRebalance{0, 1, true});
    REQUIRE(plan.has_value());
    CHECK(plan->at("moves").as_array().empty());
}

TEST_CASE("5: a lease that is too short for its rule is refused, and the rule is named") {
    Timing timing;
    timing.lease = milliseconds(500);
    CHECK_THAT(check_timing(timing).error().text(), Contains("lease is 500 ms, expected three heartbeats or more"));
    timing.lease = milliseconds(100);  // shorter than a heartbeat
    CHECK_THAT(check_timing(timing).error().text(), Contains("at least 600 ms"));
    timing = {};
    timing.kill_bound = milliseconds(1);
    CHECK_THAT(check_timing(timing).error().text(), Contains("kill_bound"));
    timing = {};
    timing.drift_ppm = 500'000;
    CHECK_THAT(check_timing(timing).error().text(), Contains("drift_bound"));
}
