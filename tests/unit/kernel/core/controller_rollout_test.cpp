// SPDX-License-Identifier: Apache-2.0
//
// Updates: how many at once, canaries, the gate, pause and resume, failure and the way back.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

json::value version(int v, json::object update = {}, int instances = 4) {
    auto out = manifest("s", {"a", "b", "c"}, instances);
    out.as_object()["container"] = json::object{{"args", {"run", std::to_string(v)}}};
    if (!update.empty()) out.as_object()["update"] = std::move(update);
    return out;
}

// Three nodes run version 1, and all of it is ready.
ControllerShell running(json::object update = {}, int instances = 4) {
    ControllerShell c;
    for (const auto* name : {"a", "b", "c"}) c.join(name);
    REQUIRE(c.deploy(version(1, std::move(update), instances)).has_value());
    for (const auto* name : {"a", "b", "c"}) c.obey(name, CopyState::kReady);
    return c;
}

std::size_t next_copies(const ControllerShell& c) {
    std::size_t out = 0;
    for (const auto& instance : c.core->instances()) out += instance.as_object().contains("next");
    return out;
}

std::size_t ready(const ControllerShell& c) { return c.core->service("s")->at("ready").to_number<std::size_t>(); }

std::size_t updated(const ControllerShell& c) {
    std::size_t out = 0;
    const auto revision = c.core->service("s")->at("revision");
    for (const auto& instance : c.core->instances()) out += instance.at("revision") == revision;
    return out;
}

// Every node does what its list says once; next copies get `state`.
void go(ControllerShell& c, CopyState state = CopyState::kReady, std::uint32_t crashes = 0) {
    std::set<std::pair<std::string, CopyId>> next;
    for (auto& [name, node] : c.nodes)
        for (const auto& entry : node.list.copies)
            if (entry.is_next) next.insert({name, entry.copy});
    for (auto& [name, node] : c.nodes) {
        node.applied = node.list.no;
        std::map<CopyId, CopyReport> has;
        for (const auto& entry : node.list.copies) {
            CopyReport& copy = has[entry.copy] = node.copies[entry.copy];
            copy.copy = entry.copy;
            const bool is_next = next.contains({name, entry.copy});
            copy.state = is_next ? state : CopyState::kReady;
            copy.crashes = is_next ? crashes : 0;
        }
        node.copies = std::move(has);
    }
    for (const auto* name : {"a", "b", "c"}) c.report(name);
}

void fail_everywhere(ControllerShell& c) {
    for (int i = 0; i < 4; ++i)
        for (std::uint32_t n = 1; n <= 5; ++n) go(c, CopyState::kWaiting, n);
}

std::string event_of(const ControllerShell& c, const std::string& kind) { return c.last(kind); }

}  // namespace

TEST_CASE("max_surge: so many instances have a next copy at once, and all of them stay ready") {
    ControllerShell c = running();
    SECTION("one by default") {
        REQUIRE(c.deploy(version(2)).has_value());
        for (std::size_t i = 0; i < 4; ++i) {
            CHECK(next_copies(c) == 1);
            CHECK(updated(c) == i);
            go(c);
            CHECK(ready(c) == 4);
        }
    }
    SECTION("three") {
        REQUIRE(c.deploy(version(2, {{"max_surge", 3}})).has_value());
        CHECK(next_copies(c) == 3);
        go(c);
        CHECK(updated(c) == 3);
        CHECK(next_copies(c) == 1);
        go(c);
    }
    CHECK(updated(c) == 4);
    CHECK(ready(c) == 4);
    CHECK(c.count("gap-planned") == 0);
}

TEST_CASE("max_unavailable without a surge: so many are stopped at once to make room") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2, {{"max_surge", 0}, {"max_unavailable", 2}})).has_value());
    CHECK(ready(c) == 2);
    CHECK(next_copies(c) == 0);
    CHECK(c.count("gap-planned") == 2);
    for (int i = 0; i < 6; ++i) {
        go(c);
        CHECK(ready(c) >= 2);
    }
    CHECK(updated(c) == 4);
    CHECK(ready(c) == 4);
}

TEST_CASE("both at zero are refused: nothing could be replaced") {
    ControllerShell c = running();
    const auto refused = c.deploy(version(2, {{"max_surge", 0}}));
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().where == "update.max_surge");
}

TEST_CASE("canaries go first, alone; the others follow when they have been ready through the gate") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2, {{"max_surge", 3}, {"canary", 1}, {"gate", "10s"}})).has_value());
    CHECK(next_copies(c) == 1);
    go(c);
    CHECK(updated(c) == 1);
    CHECK(next_copies(c) == 0);
    c.wait_all(milliseconds(9'800));
    CHECK(next_copies(c) == 0);
    SECTION("the gate opens") {
        c.wait_all(milliseconds(400));
        CHECK(next_copies(c) == 3);
        go(c);
        CHECK(updated(c) == 4);
    }
    SECTION("a canary that is not ready any more begins its time anew") {
        const auto found = std::find_if(c.nodes.begin(), c.nodes.end(), [](const auto& node) {
            return std::any_of(node.second.copies.begin(), node.second.copies.end(),
                               [](const auto& copy) { return copy.first.epoch == 2; });
        });
        REQUIRE(found != c.nodes.end());
        for (const auto state : {CopyState::kRunning, CopyState::kReady}) {
            for (auto& [id, copy] : found->second.copies)
                if (id.epoch == 2) copy.state = state;
            c.report(found->first);
        }
        c.wait_all(milliseconds(9'800));
        CHECK(next_copies(c) == 0);
        c.wait_all(milliseconds(400));
        CHECK(next_copies(c) == 3);
    }
}

TEST_CASE("a rollout is paused and resumed, also over a start of the controller; another deployment ends the pause") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2)).has_value());
    REQUIRE(c.api(ApiRollout{0, "s", ApiRollout::Action::kPause, 0}).has_value());
    go(c);  // the one under way goes on
    CHECK(updated(c) == 1);
    CHECK(next_copies(c) == 0);
    CHECK_THAT(std::string(c.core->service("s")->at("reason").as_string()), Contains("the rollout is paused"));
    c.start();
    for (const auto* name : {"a", "b", "c"}) {
        c.connect(name);
        c.report(name);
    }
    CHECK(next_copies(c) == 0);
    SECTION("resumed") {
        REQUIRE(c.api(ApiRollout{0, "s", ApiRollout::Action::kResume, 0}).has_value());
        CHECK(next_copies(c) == 1);
    }
    SECTION("deployed") {
        REQUIRE(c.deploy(version(3)).has_value());
        CHECK(next_copies(c) == 1);
    }
}

TEST_CASE("a revision that fails goes back to the last one that was ready as a whole, and nothing was away") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2)).has_value());
    fail_everywhere(c);
    CHECK(event_of(c, "rollback") == "s goes back to revision 1, as revision 3: revision 2 failed");
    CHECK(ready(c) == 4);
    CHECK(updated(c) == 0);  // by number; their containers are those of revision 1, so nothing is replaced
    CHECK(next_copies(c) == 0);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(c.core->service("s")->at("rollback_of").to_number<int>() == 1);
    for (const auto& instance : c.core->instances()) CHECK(instance.at("epoch").to_number<int>() == 1);
    const auto history = c.core->history("s");
    REQUIRE(history.has_value());
    REQUIRE(history->size() == 3);
    CHECK(history->at(1).at("state").as_string() == "failed");
    CHECK(history->at(2).at("copies").to_number<int>() == 4);
}

TEST_CASE("what has been replaced already is put back when a later instance shows that the revision fails") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2)).has_value());
    go(c);
    CHECK(updated(c) == 1);
    fail_everywhere(c);
    CHECK(c.count("rollback") == 1);
    for (int i = 0; i < 3; ++i) go(c);
    CHECK(ready(c) == 4);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
}

TEST_CASE("on_failure = stay: the rollout stops where it is, and says why") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2, {{"on_failure", "stay"}})).has_value());
    fail_everywhere(c);
    CHECK(c.count("rollback") == 0);
    CHECK(ready(c) == 4);
    CHECK(c.core->service("s")->at("state").as_string() == "failing");
}

TEST_CASE("a revision that is not ready by its deadline has failed") {
    ControllerShell c = running();
    REQUIRE(c.deploy(version(2, {{"deadline", "30s"}})).has_value());
    go(c, CopyState::kRunning);
    c.wait_all(seconds(29));
    CHECK(c.count("rollback") == 0);
    c.wait_all(seconds(2));
    CHECK(c.count("rollback") == 1);
    CHECK_THAT(event_of(c, "failing"), Contains("is not ready 30 s after it was placed by revision 2"));
    CHECK(ready(c) == 4);
}

TEST_CASE("where a gap was planned the old revision runs again when the new one fails") {
    ControllerShell c;
    c.join("a");
    const auto document = [](int v) {
        auto out = manifest("s", {"a"});
        out.as_object()["container"] = json::object{{"args", {std::to_string(v)}}};
        out.as_object()["endpoint"] = json::array{json::object{{"name", "s"}, {"port", 3000}}};
        return out;
    };
    REQUIRE(c.deploy(document(1)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(document(2)).has_value());
    c.obey("a", CopyState::kRunning);
    for (std::uint32_t n = 1; n <= 5; ++n) {
        c.set("a", {c.copy("s.0").instance, 2}, CopyState::kWaiting, n);
        c.report("a");
    }
    CHECK(c.count("rollback") == 1);
    for (int i = 0; i < 3; ++i) c.obey("a", CopyState::kReady);
    CHECK(ready(c) == 1);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(c.copy("s.0").epoch == 3);
}

TEST_CASE("rollback by hand: to the last good revision, or to a recorded one") {
    ControllerShell c = running();
    const auto back = [&](std::uint64_t revision) {
        return c.api(ApiRollout{0, "s", ApiRollout::Action::kRollBack, revision});
    };
    CHECK(back(0).error().message == "no revision of s before this one was ever ready as a whole");
    CHECK(back(1).error().code == Code::kConflict);
    REQUIRE(c.deploy(version(2)).has_value());
    for (int i = 0; i < 4; ++i) go(c);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(back(7).error().code == Code::kNotFound);
    const auto done = back(0);
    REQUIRE(done.has_value());
    CHECK(done->at("revision").to_number<int>() == 3);
    CHECK(done->at("rollback_of").to_number<int>() == 1);
    for (int i = 0; i < 4; ++i) go(c);
    CHECK(c.core->service("s")->at("state").as_string() == "ready");
    CHECK(c.core->service("s")->at("document").at("container").at("args").as_array().at(1).as_string() == "1");
    // A rollback that is wanted back is one more of them.
    REQUIRE(back(2).has_value());
    c.start();
    CHECK(c.core->service("s")->at("revision").to_number<int>() == 4);
    CHECK(c.core->history("s")->size() == 4);
    CHECK_FALSE(c.core->history("nobody").has_value());
}

TEST_CASE("ten older revisions are recorded, and those whose image is removed are not") {
    ControllerShell c = running();
    for (int v = 2; v <= 15; ++v) {
        REQUIRE(c.deploy(version(v)).has_value());
        for (int i = 0; i < 4; ++i) go(c);
    }
    CHECK(c.core->history("s")->size() == 11);
    auto other = version(16);
    other.at("service").as_object()["image"] = "app:2";
    REQUIRE(c.deploy(other).has_value());
    for (int i = 0; i < 4; ++i) go(c);
    REQUIRE(c.api(ApiRemoveImage{0, "app:1"}).has_value());
    CHECK(c.core->history("s")->size() == 1);
    CHECK(c.core->images_needed() == std::vector<std::string>{"sha256:app2"});
}

TEST_CASE("a dry run says how the rollout would go") {
    ControllerShell c = running();
    const auto dry = c.deploy(version(2, {{"canary", 1}, {"gate", "10s"}}), true);
    REQUIRE(dry.has_value());
    CHECK(dry->at("rollout").as_string() ==
          "up to 1 next copies at once, up to 0 instances away, 1 first, alone, each ready for 10 s before others "
          "follow, ready within 10 min; if it fails, back to revision 1");
}

TEST_CASE("what keeps crashing where the new revision does not fit does not hold up the others") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    auto other = manifest("o", {"a"});
    other.as_object()["resources"] = json::object{{"memory", std::int64_t{700} << 20}};
    REQUIRE(c.deploy(other).has_value());
    c.obey("a", CopyState::kReady);
    // One on each node, for its port; the new one needs more memory than a has left.
    const auto wants = [](int v, int mib) {
        auto out = version(v, {}, 2);
        out.at("placement").as_object()["nodes"] = {"a", "b"};
        out.as_object()["resources"] = json::object{{"memory", std::int64_t{mib} << 20}};
        out.as_object()["endpoint"] = json::array{json::object{{"name", "s"}, {"port", 3000}}};
        return out;
    };
    REQUIRE(c.deploy(wants(1, 100)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    const std::string poor = c.where("s.0") == "a" ? "s.0" : "s.1", rich = poor == "s.0" ? "s.1" : "s.0";
    const CopyId crashing = c.copy(poor);
    const auto crash = [&](std::uint32_t times) {
        c.set("a", crashing, CopyState::kWaiting, times);
        c.report("a");
    };
    crash(1);
    REQUIRE(c.deploy(wants(2, 500)).has_value());
    // It may well come back: until then the other one is all there is.
    for (std::uint32_t n = 2; n < c.timing.crashes_to_move; ++n) crash(n);
    CHECK(c.count("gap-planned") == 0);
    CHECK(c.where(rich) == "b");
    crash(c.timing.crashes_to_move);
    CHECK(c.count("gap-planned") == 1);
    for (int i = 0; i < 3; ++i) c.obey("b", CopyState::kReady);
    CHECK(c.instance(rich).at("revision").to_number<int>() == 2);
    CHECK(c.instance(rich).at("state").as_string() == "ready");
    CHECK(c.where(rich) == "b");  // not given to the one that crashes
    CHECK(c.copy(poor) == crashing);
    CHECK(c.instance(poor).at("reason").as_string() == "stays at its revision: the new one fits no node");
}
