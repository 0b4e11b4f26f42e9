// SPDX-License-Identifier: Apache-2.0
//
// faults.md 3: reports.
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

json::value with_port(const std::string& name, std::vector<std::string> nodes, int port) {
    auto out = manifest(name, std::move(nodes));
    out.as_object()["endpoint"] = json::array{json::object{{"kind", "vsoa"}, {"name", name}, {"port", port}}};
    return out;
}

}  // namespace

TEST_CASE("3: a stale report changes nothing: its copy is only one more to stop") {
    ControllerShell c;
    c.join("a");
    c.join("b");
    REQUIRE(c.deploy(with_port("s", {"a", "b"}, 3000)).has_value());
    c.obey("a", CopyState::kReady);
    c.wait(milliseconds(1'200), {"b"});
    REQUIRE(c.where("s.0") == "b");
    const auto current = c.copy("s.0");
    CHECK(current.epoch == 2);
    // Epoch 2 was ready on b and is being created anew; a is back and still says that epoch 1 is ready.
    c.obey("b", CopyState::kReady);
    c.set("b", current, CopyState::kCreating);
    c.report("b");
    c.connect("a");
    c.report("a");
    INFO("invariant: a stale report accepted as current");
    CHECK(c.where("s.0") == "b");
    CHECK(c.instance("s.0").at("state").as_string() == "creating");
    CHECK(c.names.entries.empty());
    CHECK(c.node("a").list.copies.empty());
    CHECK(c.node_document("a").at("stale").as_array().size() == 1);
}

TEST_CASE("3: a stale copy counts against ports until it is reported gone") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(with_port("s", {"a"}, 3000)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    REQUIRE(c.deploy(with_port("t", {"a"}, 3000)).has_value());
    CHECK(c.where("t.0") == "");
    CHECK(c.reason("t.0", "a") == "port 3000 is taken");
    // A report without the copy from before the new list proves nothing.
    auto kept = std::exchange(c.node("a").copies, {});
    c.report("a");
    CHECK(c.where("t.0") == "");
    c.node("a").copies = kept;
    c.obey("a", CopyState::kReady);
    CHECK(c.where("t.0") == "a");
}

TEST_CASE("3: a removed service is shown until its copies are gone, then forgotten") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    REQUIRE(c.core->service("s").has_value());
    CHECK(c.core->service("s")->at("state").as_string() == "removing");
    c.start();
    CHECK(c.core->service("s").has_value());
    c.connect("a");
    c.report("a");
    CHECK(c.core->service("s").has_value());
    c.obey("a", CopyState::kReady);
    CHECK_FALSE(c.core->service("s").has_value());
    CHECK_FALSE(c.api(ApiRemoveService{0, "s"}).has_value());
}

TEST_CASE("3: the record of a removed service goes with its lost node") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    c.wait(seconds(2), {});
    CHECK_FALSE(c.core->service("s").has_value());
}

TEST_CASE("3: a copy that cannot be killed is shown") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    const auto copy = c.copy("s.0");
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    c.set("a", copy, CopyState::kStopping);
    c.node("a").copies[copy].cannot_stop = true;
    c.node("a").copies[copy].reason = "in state D";
    c.node("a").applied = c.node("a").list.no;
    c.report("a");
    CHECK(c.last("cannot-stop") == "s.0 cannot be stopped on a: in state D");
    const auto shown = c.node_document("a").at("stale").at(0);
    CHECK(shown.at("reason").as_string() == "cannot stop: in state D");
    CHECK(c.core->service("s").has_value());
}

TEST_CASE("3: a tag is resolved once per revision") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto spec = c.node("a").list.copies.at(0).spec_digest;
    REQUIRE(c.api(ApiSetImage{0, "app:1", "sha256:other", "linux", "amd64", 5}).has_value());
    const auto again = c.deploy(manifest("s", {"a"}));
    REQUIRE(again.has_value());
    CHECK(again->at("changed").as_bool() == false);
    CHECK(c.core->service("s")->at("image_digest").as_string() == "sha256:app1");
    c.start();
    c.connect("a");
    c.report("a");
    CHECK(c.node("a").list.copies.at(0).spec_digest == spec);
}

TEST_CASE("3: a ready copy that a later report does not show is not named any more") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(with_port("s", {"a"}, 3000)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.names.entries.size() == 1);
    c.node("a").copies.clear();
    c.report("a");
    CHECK(c.names.entries.empty());
    CHECK(c.where("s.0") == "a");
}

TEST_CASE("3: what happens to a copy is told once, facts first") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto copy = c.copy("s.0");
    c.node("a").applied = c.node("a").list.no;
    for (const auto state : {CopyState::kWaiting, CopyState::kCreating, CopyState::kRunning, CopyState::kRunning,
                             CopyState::kReady, CopyState::kReady, CopyState::kRunning, CopyState::kReady}) {
        c.set("a", copy, state);
        c.report("a");
    }
    CHECK(c.count("running") == 1);
    CHECK(c.count("ready") == 2);
    CHECK(c.count("not-ready") == 1);
    c.set("a", copy, CopyState::kWaiting, 1);
    c.report("a");
    CHECK(c.last("exited") == "s.0 exited with 1 on a");
    c.set("a", copy, CopyState::kWaiting, 2);
    c.node("a").copies[copy].reason = "no such mount source: /data";
    c.report("a");
    CHECK(c.last("exited") == "s.0 failed on a: no such mount source: /data, 2 times in a row");
    c.node("a").copies[copy].reason.clear();
    c.node("a").copies[copy].restarts = 1;
    c.report("a");
    CHECK(c.last("restarted") == "s.0 restarted on a, once");
    CHECK(c.last("placed").starts_with("s.0 on a: best of 1 by least-loaded (0 copies"));
}

TEST_CASE("3: an incomplete report proves nothing gone") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(with_port("s", {"a"}, 3000)).has_value());
    REQUIRE(c.deploy(with_port("u", {"a"}, 4000)).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    REQUIRE(c.deploy(with_port("t", {"a"}, 3000)).has_value());
    // gantryd is restarted there, and its runtime does not answer.
    c.node("a").applied = c.node("a").list.no;
    const auto kept = std::exchange(c.node("a").copies, {});
    c.node("a").incomplete = true;
    c.report("a");
    CHECK(c.where("t.0") == "");
    CHECK(c.names.entries.size() == 1);
    c.node("a").incomplete = false;
    c.node("a").copies = kept;
    c.node("a").copies.erase(c.node("a").copies.begin());
    c.report("a");
    CHECK(c.where("t.0") == "a");
}

TEST_CASE("a copy met by surprise takes what its own revision says") {
    ControllerShell c;
    c.join("SNode1");
    const auto with_cpu = [](const char* name, double cores) {
        auto document = manifest(name, {"SNode1"});
        document.as_object()["resources"] = json::object{{"cpu", cores}};
        return document;
    };
    REQUIRE(c.deploy(with_cpu("big", 3)).has_value());
    c.obey("SNode1", CopyState::kReady);
    const CopyId old = c.copy("big.0");
    c.reset("SNode1");
    c.wait(seconds(2), {});
    REQUIRE(c.liveness("SNode1") == "lost");
    REQUIRE(c.deploy(with_cpu("big", 0.5)).has_value());
    // It is rebooted, and has started its old copy before anybody could tell it otherwise.
    c.reboot("SNode1");
    c.set("SNode1", old, CopyState::kRunning);
    c.connect("SNode1");
    c.report("SNode1");
    REQUIRE(c.deploy(with_cpu("other", 2)).has_value());
    CHECK(c.where("other.0") == "");
}

TEST_CASE("what a node uses is shown while it is there, and what it does not say again stays") {
    ControllerShell c;
    for (const char* name : {"SNode1", "SNode2"}) c.join(name);
    c.deploy(manifest("a", {"SNode1"}));
    c.obey("SNode1", CopyState::kReady);
    const auto node = [&] { return c.core->nodes(c.now).front().as_object(); };
    CHECK_FALSE(node().contains("sent_bytes_per_s"));
    CHECK_FALSE(c.instance("a.0").contains("pids"));
    Report report;
    report.applied = c.node("SNode1").applied;
    report.copies = {c.node("SNode1").copies.begin()->second};
    report.usage.emplace();
    report.usage->sent_per_s = 0;
    report.usage->copies = {{c.copy("a.0"), 250, {}, 3}};
    c.say("SNode1", report);
    CHECK(node().at("sent_bytes_per_s").as_int64() == 0);
    CHECK_FALSE(node().contains("temperature_celsius"));
    CHECK(c.instance("a.0").at("cpu_used_milli").as_int64() == 250);
    CHECK_FALSE(c.instance("a.0").contains("memory_used_bytes"));
    c.report("SNode1");
    CHECK(node().contains("sent_bytes_per_s"));
    CHECK(c.instance("a.0").at("pids").as_int64() == 3);
    c.drop("SNode1", Down::kReset);
    c.wait(seconds(5), {"SNode2"});
    REQUIRE(node().at("liveness").as_string() == "lost");
    CHECK_FALSE(node().contains("sent_bytes_per_s"));
    CHECK_FALSE(c.instance("a.0").contains("pids"));
}
