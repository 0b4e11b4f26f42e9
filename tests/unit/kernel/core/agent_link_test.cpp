// SPDX-License-Identifier: Apache-2.0
//
// The conversation with controllers, and the names that a node answers.
#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

CopySpec named(const std::string& service, std::uint16_t port) {
    auto spec = AgentShell::spec(service);
    spec.spec.endpoints = {{"vsoa", service, port, ""}};
    return spec;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("an agent says hello with all it is") {
    AgentShell s;
    s.facts.labels = {{"site", "press-3"}};
    s.start();
    s.step(Connected{7});
    const auto* hello = s.last_sent<Hello>();
    REQUIRE(hello);
    CHECK(s.sent.back().peer == 7);
    CHECK(hello->node == "SNode1");
    CHECK(hello->cluster_id.empty());
    CHECK(hello->runtimes == s.facts.runtimes);
    CHECK(hello->labels == s.facts.labels);
    CHECK_FALSE(s.agent->connected());
}

TEST_CASE("a welcome is answered by a full report, then by heartbeats") {
    auto s = connected();
    CHECK(s.agent->connected());
    CHECK(s.count_sent<Report>() == 1);
    s.step(LoadMeasured{{1000, 20}});
    CHECK(s.count_sent<Report>() == 1);  // load alone is no change
    s.run_for(seconds(1));
    CHECK(s.count_sent<Heartbeat>() == 5);
    CHECK(s.last_sent<Heartbeat>()->load.memory_free_bytes == 1000);
    CHECK(s.count_sent<Report>() == 2);  // one again with each fifth heartbeat
    s.run_for(seconds(9));
    CHECK(s.count_sent<Heartbeat>() == 50);
    CHECK(s.count_sent<Report>() == 11);
}

TEST_CASE("what is measured goes with a report that goes anyway, when it is new and once a minute") {
    auto s = connected();
    Usage usage;
    usage.sent_per_s = 100;
    const auto told = [&] {
        std::vector<std::int64_t> out;
        for (const auto& sent : s.sent)
            if (const auto* report = std::get_if<Report>(&sent.message); report && report->usage)
                out.push_back(*report->usage->sent_per_s);
        return out;
    };
    s.step(LoadMeasured{{1000, 20}});
    s.run_for(seconds(2));
    CHECK(told().empty());
    const auto reports = s.count_sent<Report>();
    s.step(LoadMeasured{{1000, 20}, usage});
    CHECK(s.count_sent<Report>() == reports);
    for (int second = 0; second < 55; ++second) {
        s.step(LoadMeasured{{1000, second}, usage});
        s.run_for(seconds(1));
    }
    CHECK(told() == std::vector<std::int64_t>{100});
    CHECK(s.count_sent<Report>() == reports + 55);
    s.run_for(seconds(10));
    CHECK(told() == std::vector<std::int64_t>{100, 100});
    usage.sent_per_s = 200;
    s.step(LoadMeasured{{1000, 20}, usage});
    s.run_for(seconds(2));
    CHECK(told() == std::vector<std::int64_t>{100, 100, 200});
    // Another controller, or the same one again, knows nothing of it.
    s.connect(2);
    CHECK(told() == std::vector<std::int64_t>{100, 100, 200, 200});
}

TEST_CASE("a disk that fills is told once, and again when there is room") {
    AgentShell s;
    s.facts.disk_warn_percent = 90;
    s.start();
    s.connect();
    const auto measure = [&](std::optional<std::int64_t> total, std::optional<std::int64_t> free) {
        Usage usage;
        usage.disk_total_bytes = total;
        usage.disk_free_bytes = free;
        s.step(LoadMeasured{{}, usage});
        s.run_for(seconds(1));
    };
    const auto events = [&](const std::string& kind) {
        return std::ranges::count_if(s.sent, [&](const auto& sent) {
            const auto* event = std::get_if<NodeEvent>(&sent.message);
            return event && event->kind == kind;
        });
    };
    measure({}, {});
    measure(0, 0);
    measure(1'000, 2'000);  // a lie
    measure(1'000, 110);
    CHECK(events("disk-filling") == 0);
    measure(1'000, 100);
    measure(1'000, 90);
    measure(1'000, 120);  // 88%: not yet well
    measure(1'000, 50);
    measure({}, {});
    CHECK(events("disk-filling") == 1);
    CHECK(events("disk-has-room") == 0);
    CHECK_THAT(s.last_sent<NodeEvent>()->text, Contains("SNode1") && Contains("90% full"));
    measure(1'000, 150);
    CHECK(events("disk-has-room") == 1);
    measure(1'000, 10);
    CHECK(events("disk-filling") == 2);
}

TEST_CASE("a node that is to say nothing of its disk says nothing") {
    auto s = connected();
    Usage usage;
    usage.disk_total_bytes = 1'000;
    usage.disk_free_bytes = 0;
    s.step(LoadMeasured{{}, usage});
    CHECK(s.count_sent<NodeEvent>() == 0);
    CHECK(s.agent->document().at("load").at("disk_free_bytes").as_int64() == 0);
}

TEST_CASE("the cluster is remembered and another one is refused") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.restart();
    s.connect(2, "ffffffff-other");
    CHECK(s.last<DropPeer>()->peer == 2);
    CHECK_THAT(s.last<DropPeer>()->reason, Contains("ffffffff-other") && Contains(kCluster));
    CHECK_FALSE(s.agent->connected());
    s.step(FromController{2, NodeList{"ffffffff-other", {9, 9}, {}, {}}});
    CHECK(s.running().size() == 1);
    const auto told = s.count<AgentEvent>();
    s.step(FromController{2, Welcome{"ffffffff-other", 1, 200, ""}});
    CHECK(s.count<AgentEvent>() == told);  // not again within a minute
}

TEST_CASE("a list of another cluster is refused with an event") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.step(FromController{1, NodeList{"ffffffff-other", {9, 9}, {}, {}}});
    CHECK(s.running().size() == 1);
    CHECK(s.told("controller-refused"));
    CHECK(s.count<DropPeer>() == 1);
}

TEST_CASE("only a greater list is accepted, and it is saved before anything is done") {
    auto s = connected();
    const auto entry = s.entry(kA, AgentShell::spec("axis_server"));
    s.give({2, 5}, {entry});
    s.give({2, 5}, {});
    s.give({2, 4}, {});
    s.give({1, 9}, {});
    CHECK(s.running().size() == 1);
    const auto effects = s.one(FromController{1, NodeList{kCluster, {3, 1}, {}, {}}});
    REQUIRE(effects.size() > 1);
    CHECK(std::holds_alternative<Save>(effects[0]));
    CHECK_THAT(std::get<Save>(effects[0]).document, Contains("\"no\":[3,1]"));
}

TEST_CASE("a list from somebody who did not welcome us is ignored") {
    AgentShell s;
    s.start();
    s.step(Connected{1});
    s.step(FromController{1, NodeList{kCluster, {1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))}, {}}});
    s.step(FromController{5, Welcome{kCluster, 1, 200, ""}});
    CHECK(s.count<Save>() == 0);
    CHECK_FALSE(s.agent->connected());
}

TEST_CASE("a different number in a heartbeat's answer makes the agent pull the list, not too often") {
    auto s = connected();
    s.give({1, 1}, {});
    s.step(FromController{1, HeartbeatAck{1, {1, 1}, 0}});
    CHECK(s.count_sent<PullList>() == 0);
    for (int i = 0; i < 10; ++i) {
        s.step(FromController{1, HeartbeatAck{1, {1, 2}, 0}});
        s.run_for(milliseconds(100));
    }
    CHECK(s.count_sent<PullList>() == 4);
    s.run_for(seconds(1));
    s.step(FromController{1, HeartbeatAck{1, {1, 1}, 3}});  // names were missed
    CHECK(s.count_sent<PullList>() == 4 + 0 + (s.agent->connected() ? 1 : 0));
}

TEST_CASE("the newest welcome wins, and the older connection serves again when it ends") {
    auto s = connected();
    s.connect(2);
    s.sent.clear();
    s.run_for(milliseconds(200));
    CHECK(s.sent.back().peer == 2);
    s.disconnect();
    CHECK(s.agent->connected());
    CHECK(s.sent.back().peer == 1);
    CHECK(std::holds_alternative<Report>(s.sent.back().message));
    s.step(Disconnected{1});
    CHECK_FALSE(s.agent->connected());
}

TEST_CASE("cut off, a node keeps everything and reports again when welcomed") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.disconnect();
    s.sent.clear();
    s.run_for(seconds(100));
    CHECK(s.sent.empty());
    s.crash(container_name(kCluster, kA, 1));
    s.run_for(seconds(2));
    CHECK(s.running().size() == 1);
    s.connect(3);
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.reported(kA)->restarts == 1);
    CHECK(s.count_sent<NodeEvent>() >= 1);  // the crash was kept for the controller
}

TEST_CASE("events are kept while nobody listens, the oldest are dropped with a count") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.disconnect();
    s.sent.clear();
    for (std::uint64_t attempt = 1; attempt <= 300; ++attempt) {
        REQUIRE(s.until([&] { return !s.running().empty(); }, seconds(70)));
        s.crash(container_name(kCluster, kA, attempt));
    }
    s.connect();
    CHECK(s.count_sent<NodeEvent>() == 257);
    const auto first =
        std::ranges::find_if(s.sent, [](const auto& m) { return std::holds_alternative<NodeEvent>(m.message); });
    CHECK(std::get<NodeEvent>(first->message).kind == "events-dropped");
    CHECK_THAT(std::get<NodeEvent>(first->message).text, Contains("44"));
}

TEST_CASE("what a report shows is no event beside it") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    const auto before = s.count_sent<NodeEvent>();
    s.crash(container_name(kCluster, kA, 1));
    CHECK(s.told("container-exited"));
    CHECK(s.count_sent<NodeEvent>() == before);
}

TEST_CASE("a restart of gantryd is announced as hold, then nothing more is said or done") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.step(ShutDown{false});
    CHECK(std::holds_alternative<Hold>(s.sent.back().message));
    const auto said = s.log.size();
    s.give({1, 2}, {});
    s.run_for(seconds(10));
    CHECK(s.log.size() == said);
    CHECK(s.running().size() == 1);
    CHECK(s.agent->next_deadline() == kNever);
}

TEST_CASE("a machine that goes down says so and still follows its lists") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.step(ShutDown{true});
    CHECK(s.count_sent<Leaving>() == 1);
    CHECK(s.running().size() == 1);
    s.give({1, 2}, {});
    CHECK(s.running().empty());
}

TEST_CASE("a refusal is told once a minute and the connection dropped") {
    AgentShell s;
    s.start();
    for (PeerId peer = 1; peer <= 5; ++peer) {
        s.step(Connected{peer});
        s.step(FromController{peer, Refused{"a second machine calls itself SNode1"}});
        s.step(Disconnected{peer});
        s.run_for(seconds(1));
    }
    CHECK(s.count<DropPeer>() == 5);
    CHECK(s.count<AgentEvent>() == 1);
}

TEST_CASE("names are the controller's table with the node's own copies as it sees them") {
    auto s = connected();
    bool well = true;
    s.probe = [&](const Check&) { return Probed{0, well, false, "x"}; };
    auto spec = named("axis_server", 3002);
    spec.spec.probes.resize(1);
    spec.spec.probes[0].kind = "tcp";
    spec.spec.probes[0].failure_threshold = 1;
    const NameEntry own{"axis_server", "10.0.0.1", "SNode1", 3002, kA};
    const NameEntry other{"camera", "10.0.0.2", "SNode2", 3003, kB};
    CHECK(s.names().empty());
    s.give({1, 1}, {s.entry(kA, spec)});
    CHECK(s.names() == Texts{"axis_server=10.0.0.1:3002"});  // ready here, named here
    s.step(FromController{1, Names{1, 1, {own, other}}});
    CHECK(s.names() == Texts{"axis_server=10.0.0.1:3002", "camera=10.0.0.2:3003"});
    const auto table = s.served->table_no;
    s.step(FromController{1, Names{1, 1, {}}});
    s.step(FromController{1, Names{0, 9, {}}});
    s.step(FromController{1, Names{1, 2, {own, other}}});
    CHECK(s.served->table_no == table);  // nothing changed
    well = false;
    s.run_for(seconds(1));
    CHECK(s.names() == Texts{"camera=10.0.0.2:3003"});  // not ready here, not named here
    well = true;
    s.run_for(seconds(1));
    CHECK(s.names().size() == 2);
    s.give({1, 2}, {});
    CHECK(s.names() == Texts{"camera=10.0.0.2:3003"});  // stopped, whatever the table says
}

TEST_CASE("a restarted node answers from its last table though no controller answers") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, named("axis_server", 3002))});
    s.step(FromController{1, Names{1, 1, {{"camera", "10.0.0.2", "SNode2", 3003, kB}}}});
    s.restart();
    CHECK(s.names() == Texts{"axis_server=10.0.0.1:3002", "camera=10.0.0.2:3003"});
    CHECK(s.served->table_no >= 1);
}

TEST_CASE("a copy that has a newer one elsewhere is not named any more") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, named("axis_server", 3002))});
    s.step(FromController{1, Names{1, 1, {{"axis_server", "10.0.0.2", "SNode2", 3002, {kA.instance, 2}}}}});
    CHECK(s.names() == Texts{"axis_server=10.0.0.2:3002"});
}

TEST_CASE("the document for people tells of every copy") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    const auto text = to_text(s.agent->document());
    CHECK_THAT(text, Contains("axis_server.0") && Contains("ready") && Contains(container_name(kCluster, kA, 1)));
}

TEST_CASE("a list of a lower term is refused with an event, once a minute") {
    auto s = connected();
    s.give({5, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.log.clear();
    s.give({5, 1}, {});  // repeated: nothing to tell
    CHECK(s.count<AgentEvent>() == 0);
    for (int i = 0; i < 10; ++i) s.give({4, 7}, {});
    CHECK(s.running().size() == 1);
    CHECK(s.count<AgentEvent>() == 1);
    CHECK_THAT(s.last<AgentEvent>()->text, Contains("term 4") && Contains("term 5"));
}

TEST_CASE("a hello says what was applied over reboots, and counts a newer table of names") {
    auto s = connected();
    s.give({3, 7}, {});
    s.restart();
    s.connect();
    CHECK(s.last_sent<Hello>()->applied == ListNo{3, 7});
    s.step(FromController{1, Names{4, 1, {}}});
    s.reboot();
    s.connect();
    CHECK(s.last_sent<Hello>()->applied == ListNo{4, 0});
}

TEST_CASE("a hello that is not answered is given up and the connection dropped") {
    AgentShell s;
    s.start();
    s.step(Connected{1});
    s.run_for(milliseconds(4'900));
    CHECK(s.count<DropPeer>() == 0);
    s.run_for(milliseconds(200));
    REQUIRE(s.count<DropPeer>() == 1);
    s.run_for(seconds(60));
    CHECK(s.count<DropPeer>() == 1);
    s.step(Disconnected{1});
    s.connect(2);
    s.run_for(seconds(60));
    CHECK(s.agent->connected());
    CHECK(s.count<DropPeer>() == 1);
}

TEST_CASE("the timing of restarts is the controller's") {
    auto s = connected();
    s.step(FromController{1, Welcome{kCluster, 1, 200, "", 3'000, 20'000, 2}});
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.crash(container_name(kCluster, kA, 1));
    s.run_for(milliseconds(2'900));
    CHECK(s.running().empty());
    s.run_for(milliseconds(200));
    CHECK(s.running().size() == 1);
    s.run_for(seconds(15));
    CHECK(s.reported(kA)->crashes == 1);
    s.run_for(seconds(6));
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("a table of names in parts is taken when it is whole") {
    auto s = connected();
    Names table{2, 1, {}};
    for (int i = 0; i < 30'000; ++i)
        table.entries.push_back({"service-" + std::to_string(i), "10.0.0.2", "SNode2", 3000, {{1'000u + i, 0}, 1}});
    const auto parts = divide(table);
    REQUIRE(parts.size() > 2);
    for (const auto& part : parts) REQUIRE(decode_controller(encode(ControllerMessage(part))));
    s.step(FromController{1, parts[0]});
    for (std::size_t i = 2; i < parts.size(); ++i) s.step(FromController{1, parts[i]});  // one was lost
    CHECK(s.names().empty());
    for (const auto& part : parts) {
        CHECK(s.names().empty());
        s.step(FromController{1, part});
    }
    CHECK(s.names().size() == table.entries.size());
    s.restart();
    CHECK(s.names().size() == table.entries.size());
}

TEST_CASE("a report fits one message, whatever the node has") {
    AgentShell s;
    for (int i = 0; i < 5'000; ++i) s.images["oci"].insert("sha256:" + std::to_string(i) + std::string(60, 'a'));
    for (std::uint64_t i = 0; i < 2'000; ++i)
        s.boxes["oci"][container_name(kCluster, {{INT32_MAX + i, 70'000}, 1ULL << 40}, 1ULL << 40)] = {
            true, false, 0, {}};
    s.start();
    s.failures.emplace("stop", Error{Code::kFailed, std::string(400, '"'), {}, false, {}});
    s.connect();
    s.only_last_report = true;  // there is one for every container that could not be stopped
    s.give({1, 1}, {});
    CHECK(s.report.copies.size() == 2'000);
    CHECK(encode(s.report).size() < limits::kMessage);
    CHECK_THAT(s.report.copies[0].reason, Contains("cannot be stopped"));
}
