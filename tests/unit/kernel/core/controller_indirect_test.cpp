// SPDX-License-Identifier: Apache-2.0
//
// A suspect node is asked about through others (docs/detection.md, ADR 16).
#include "tests/unit/kernel/core/controller_shell.hpp"
#include "tests/unit/kernel/core/random.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

json::object document_of(const AgentMessage& message) { return unframe(encode(message)).value(); }

ControllerShell fleet(int nodes, Timing timing = {}) {
    ControllerShell c(timing);
    c.ask_port = 3901;
    for (int i = 1; i <= nodes; ++i) c.join("n" + std::to_string(i));
    return c;
}

std::vector<std::string> names(int first, int last) {
    std::vector<std::string> out;
    for (int i = first; i <= last; ++i) out.push_back("n" + std::to_string(i));
    return out;
}

// Who was asked about a node so far, with the last question of each.
std::map<std::string, Ask> asked(const ControllerShell& c, const std::string& about = "n1") {
    std::map<std::string, Ask> out;
    for (const auto& [name, node] : c.nodes)
        for (const auto& ask : node.asks)
            if (ask.address == c.nodes.at(about).address + ":3901") out[name] = ask;
    return out;
}

void answer(ControllerShell& c, const std::string& via, std::uint64_t route, Ended how, const std::string& text = "") {
    c.say(via, Relayed{{}, route, {}, how, text});
}

// `node` says something through `via`.
void through(ControllerShell& c, const std::string& via, std::uint64_t route, const std::string& node,
             AgentMessage message) {
    auto& peer = c.node(node);
    ++peer.id.seq;
    std::visit([&](auto& m) { m.id = peer.id; }, message);
    c.say(via, Relayed{{}, route, document_of(message), Ended::kNot, ""});
}

void hello_through(ControllerShell& c, const std::string& via, std::uint64_t route, const std::string& node) {
    through(c, via, route, node, c.hello_of(node));
}

Report report_of(const ControllerShell& c, const std::string& node) {
    Report report;
    report.applied = c.nodes.at(node).applied;
    for (const auto& [id, copy] : c.nodes.at(node).copies) report.copies.push_back(copy);
    return report;
}

// n1 has s.0 and is not heard any more, except through the first that was asked.
struct CutOff {
    explicit CutOff(int nodes = 5) : c(fleet(nodes)), others(names(2, nodes)) {
        REQUIRE(c.deploy(manifest("s", names(1, nodes))).has_value());
        c.obey("n1", CopyState::kReady);
        REQUIRE(c.where("s.0") == "n1");
        c.wait(milliseconds(700), others);
        const auto first = *asked(c).begin();
        via = first.first;
        route = first.second.route;
        hello_through(c, via, route, "n1");
    }
    void wait(Duration duration) {
        const Instant until = c.now + duration;
        while (c.now < until) {
            c.wait(milliseconds(100), others);
            through(c, via, route, "n1", Heartbeat{{}, c.node("n1").applied, c.node("n1").load});
        }
    }
    ControllerShell c;
    std::vector<std::string> others;
    std::string via;
    std::uint64_t route = 0;
};

}  // namespace

TEST_CASE("a suspect node is asked about through three others, and none of them is silent itself") {
    ControllerShell c = fleet(7);
    c.wait(milliseconds(700), names(3, 7));
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.liveness("n2") == "suspect");
    std::map<std::string, int> questions;
    for (const auto& [name, node] : c.nodes)
        for (const auto& ask : node.asks) {
            ++questions[ask.address];
            CHECK(ask.within_ms == 300);
        }
    CHECK(questions == std::map<std::string, int>{{"10.0.0.1:3901", 3}, {"10.0.0.2:3901", 3}});
    CHECK(c.node("n1").asks.empty());
    CHECK(c.node("n2").asks.empty());
}

TEST_CASE("nobody is asked where there is nobody to ask, where it is forbidden, and about what cannot be reached") {
    ControllerShell c;
    SECTION("indirect = false") {
        Timing timing;
        timing.indirect = false;
        c = fleet(4, timing);
    }
    SECTION("an older node has no port") {
        c = fleet(0);
        c.ask_port = 0;
        c.join("n1");
        c.ask_port = 3901;
        for (const auto& name : names(2, 4)) c.join(name);
    }
    SECTION("all others are older") {
        c = fleet(0);
        c.ask_port = 3901;
        c.join("n1");
        c.ask_port = 0;
        for (const auto& name : names(2, 4)) c.join(name);
    }
    c.wait(seconds(2), names(2, 4));
    CHECK(asked(c).empty());
    CHECK(c.liveness("n1") == "lost");
}

TEST_CASE("a node that is heard through another keeps its copies, gets no new ones, and is shown as cut off") {
    CutOff f;
    auto& c = f.c;
    CHECK(c.count("node-cut-off") == 1);
    f.wait(seconds(60));
    CHECK(c.count("lost") == 0);
    CHECK(c.count("node-cut-off") == 1);
    CHECK(c.where("s.0") == "n1");
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.node_document("n1").at("via").as_string() == f.via);
    CHECK(c.node_document("n1").at("reason").as_string() == "cut off from the controller, heard through " + f.via);
    // Its welcome and acknowledgements went that way; the other two were told to hang up.
    CHECK(to_text(c.node(f.via).forwards.front().message).find("\"m\":\"welcome\"") != std::string::npos);
    CHECK(to_text(c.node(f.via).forwards.back().message).find("\"m\":\"heartbeat_ack\"") != std::string::npos);
    std::size_t ends = 0;
    for (const auto& name : f.others)
        for (const auto& forward : c.node(name).forwards) ends += forward.end;
    CHECK(ends == 2);
    REQUIRE(c.deploy(manifest("t", {"n1"})).has_value());
    CHECK(c.where("t.0").empty());
    CHECK_THAT(c.reason("t.0", "n1"), Contains("cut off from the controller"));
    CHECK_FALSE(c.core->place("s.0").has_value());  // logs do not come that way
}

TEST_CASE("what is reported through another counts, and lists go that way") {
    CutOff f;
    auto& c = f.c;
    c.set("n1", c.copy("s.0"), CopyState::kRunning);
    through(c, f.via, f.route, "n1", report_of(c, "n1"));
    CHECK(c.instance("s.0").at("state").as_string() == "running");
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    CHECK(to_text(c.node(f.via).forwards.back().message).find("\"m\":\"list\"") != std::string::npos);
}

TEST_CASE("a node that is heard directly again is ready, and who passed it on hangs up") {
    CutOff f;
    auto& c = f.c;
    f.wait(seconds(5));
    c.connect("n1");
    CHECK(c.liveness("n1") == "ready");
    CHECK(c.node_document("n1").at("via").as_string().empty());
    CHECK(c.node(f.via).forwards.back().end);
    // What is still under way on the old route says nothing.
    through(c, f.via, f.route, "n1", Leaving{});
    CHECK(c.liveness("n1") == "ready");
    CHECK(c.where("s.0") == "n1");
}

TEST_CASE("a hello that was overtaken by the direct one does not take it back") {
    ControllerShell c = fleet(4);
    c.wait(milliseconds(700), names(2, 4));
    const auto first = *asked(c).begin();
    AgentMessage late = c.hello_of("n1");
    ++c.node("n1").id.seq;
    std::visit([&](auto& m) { m.id = c.node("n1").id; }, late);
    c.connect("n1");
    CHECK(c.liveness("n1") == "ready");
    c.say(first.first, Relayed{{}, first.second.route, document_of(late), Ended::kNot, ""});
    CHECK(c.node_document("n1").at("via").as_string().empty());
    CHECK(c.liveness("n1") == "ready");
}

TEST_CASE("when the one in between goes too, others are asked, and nothing moves") {
    CutOff f;
    auto& c = f.c;
    f.wait(seconds(1));
    for (auto& [name, node] : c.nodes) node.asks.clear();
    SECTION("its connection breaks") { c.reset(f.via); }
    SECTION("it says that it hears the node no more") { answer(c, f.via, f.route, Ended::kReset); }
    SECTION("it only falls silent") {
        std::erase(f.others, f.via);
        c.wait(milliseconds(700), f.others);
    }
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.node_document("n1").at("via").as_string().empty());
    std::erase(f.others, f.via);
    c.wait(milliseconds(100), f.others);
    const auto now = asked(c);
    REQUIRE_FALSE(now.empty());
    f.via = now.rbegin()->first;
    f.route = now.rbegin()->second.route;
    hello_through(c, f.via, f.route, "n1");
    f.wait(seconds(5));
    CHECK(c.where("s.0") == "n1");
    CHECK(c.count("lost") == 0);
    CHECK(c.node_document("n1").at("via").as_string() == f.via);
}

TEST_CASE("a node that is heard through another and then by nobody is lost like any other") {
    CutOff f;
    f.c.wait(seconds(2), f.others);
    CHECK(f.c.liveness("n1") == "lost");
    CHECK(f.c.where("s.0") != "n1");
}

TEST_CASE("a new boot id that is heard through another: the copies of the old boot are lost at once") {
    ControllerShell c = fleet(4);
    REQUIRE(c.deploy(manifest("s", names(1, 4))).has_value());
    c.obey("n1", CopyState::kReady);
    c.wait(milliseconds(700), names(2, 4));
    const auto first = *asked(c).begin();
    c.reboot("n1");
    hello_through(c, first.first, first.second.route, "n1");
    CHECK(c.where("s.0") != "n1");
    CHECK_THAT(c.last("lost"), Contains("new boot id"));
    through(c, first.first, first.second.route, "n1", Report{});
    CHECK(c.liveness("n1") == "suspect");  // it is there, and cut off
    CHECK(c.count("node-cut-off") == 1);
}

TEST_CASE("a route whose other end is suddenly of another boot is given up, and the node comes back by another") {
    CutOff f;
    auto& c = f.c;
    c.reboot("n1");
    hello_through(c, f.via, f.route, "n1");
    CHECK(c.liveness("n1") == "lost");
    CHECK(c.node(f.via).forwards.back().end);
    c.connect("n1");
    c.report("n1");
    CHECK(c.liveness("n1") == "ready");
}

TEST_CASE("what others found is told with the loss") {
    ControllerShell c = fleet(4);
    c.wait(milliseconds(700), names(2, 4));
    answer(c, "n2", asked(c).at("n2").route, Ended::kSilent, "no answer");
    answer(c, "n3", asked(c).at("n3").route, Ended::kRefused, "Connection refused");
    answer(c, "n4", asked(c).at("n4").route, Ended::kFailed, "no room");
    CHECK(c.node_document("n1").at("answers").as_object().size() == 3);
    c.wait(milliseconds(400), names(2, 4));
    CHECK_THAT(c.last("node-lost"), Contains("n2 does not reach it either") &&
                                        Contains("n3 reaches its machine, but no gantryd there") &&
                                        Contains("n4 cannot tell: no room"));
    // The next time it is another silence.
    c.connect("n1");
    c.report("n1");
    CHECK(c.node_document("n1").at("answers").as_object().empty());
}

TEST_CASE("a route is its own: other nodes, other machines and routes on routes are not listened to") {
    ControllerShell c = fleet(4);
    c.wait(milliseconds(700), names(2, 4));
    const auto route = asked(c).at("n2").route;
    SECTION("another node uses it") { hello_through(c, "n3", route, "n1"); }
    SECTION("another machine has the address now") { hello_through(c, "n2", route, "n3"); }
    SECTION("a relayed message inside of one") {
        through(c, "n2", route, "n1", Relayed{{}, route, document_of(Heartbeat{c.node("n1").id, {}, {}}), {}, ""});
    }
    SECTION("no message at all") { c.say("n2", Relayed{{}, route, {{"v", 1}, {"m", "welcome"}}, Ended::kNot, ""}); }
    SECTION("a route that nobody gave") { hello_through(c, "n2", route + 1'000, "n1"); }
    CHECK(c.node_document("n1").at("via").as_string().empty());
    c.wait(milliseconds(400), names(2, 4));
    CHECK(c.liveness("n1") == "lost");
    CHECK(c.liveness("n2") == "ready");
    CHECK(c.liveness("n3") == "ready");
}

TEST_CASE("a reset is asked about, too: only the connection may have broken") {
    ControllerShell c = fleet(4);
    c.reset("n1");
    c.wait(milliseconds(50), {});
    CHECK(asked(c).size() == 3);
    const auto first = *asked(c).begin();
    hello_through(c, first.first, first.second.route, "n1");
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.count("node-cut-off") == 1);
}

TEST_CASE("a node that announced a restart of gantryd is not asked about before it is late") {
    ControllerShell c = fleet(4);
    c.say("n1", Hold{});
    c.reset("n1");
    c.wait(seconds(29), names(2, 4));
    CHECK(asked(c).empty());
}

TEST_CASE("after a controller start a node that does not come is asked about before it is lost") {
    ControllerShell c = fleet(4);
    REQUIRE(c.deploy(manifest("s", names(1, 4))).has_value());
    c.obey("n1", CopyState::kReady);
    c.start();
    for (const auto& name : names(2, 4)) {
        c.connect(name);
        c.report(name);
    }
    c.wait(seconds(3), names(2, 4));
    REQUIRE(asked(c).size() == 3);
    const auto first = *asked(c).begin();
    hello_through(c, first.first, first.second.route, "n1");
    through(c, first.first, first.second.route, "n1", report_of(c, "n1"));
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.count("node-cut-off") == 1);
    CHECK(c.where("s.0") == "n1");
}

TEST_CASE("more than half silent together: who is confirmed by a node that is heard does not wait for the pause") {
    ControllerShell c = fleet(5);
    REQUIRE(c.deploy(manifest("s", names(1, 5), 5)).has_value());
    for (const auto& name : names(1, 5)) c.obey(name, CopyState::kReady);
    const auto confirm = [&](const std::string& about) {
        const auto who = *asked(c, about).begin();
        answer(c, who.first, who.second.route, Ended::kSilent);
    };
    c.wait(milliseconds(700), {"n4", "n5"});
    SECTION("all of them, before they would be lost: there is no pause") {
        for (const auto* name : {"n1", "n2", "n3"}) confirm(name);
        c.wait(milliseconds(500), {"n4", "n5"});
        CHECK(c.count("moves-paused") == 0);
        for (const auto* name : {"n1", "n2", "n3"}) CHECK(c.liveness(name) == "lost");
    }
    SECTION("one of them, during the pause") {
        c.wait(milliseconds(600), {"n4", "n5"});
        CHECK(c.count("moves-paused") == 1);
        confirm("n2");
        c.wait(milliseconds(100), {"n4", "n5"});
        CHECK(c.liveness("n2") == "lost");
        c.wait(seconds(20), {"n4", "n5"});
        for (const auto* name : {"n1", "n3"}) CHECK(c.liveness(name) == "suspect");
        c.wait(seconds(10), {"n4", "n5"});
        for (const auto* name : {"n1", "n3"}) CHECK(c.liveness(name) == "lost");
    }
    SECTION("an answer that says nothing of it confirms nothing") {
        for (const auto& [name, node] : std::map(c.nodes))
            for (const auto& ask : node.asks) answer(c, name, ask.route, Ended::kFailed, "no room");
        c.wait(seconds(20), {"n4", "n5"});
        for (const auto* name : {"n1", "n2", "n3"}) CHECK(c.liveness(name) == "suspect");
    }
    SECTION("they are asked about again during the pause") {
        const auto before = c.node("n4").asks.size() + c.node("n5").asks.size();
        c.wait(seconds(10), {"n4", "n5"});
        CHECK(c.node("n4").asks.size() + c.node("n5").asks.size() > before + 20);
    }
}

namespace {

// Nodes whose links to the controller and to each other come and go. A message is there at once or never.
struct Mesh {
    Mesh(std::uint64_t seed, int nodes) : random(seed), c(fleet(nodes)) {
        all = names(1, nodes);
        for (const auto& a : all)
            for (const auto& b : all) link[{a, b}] = true;
        for (const auto& name : all) link[{"", name}] = true;
        heard_at.assign(all.size(), c.now);
        for (auto& [name, node] : c.nodes) seen[name] = {node.asks.size(), node.forwards.size()};
    }
    bool up(const std::string& a, const std::string& b) const { return link.at({std::min(a, b), std::max(a, b)}); }
    void set(const std::string& a, const std::string& b, bool yes) { link[{std::min(a, b), std::max(a, b)}] = yes; }
    bool direct(const std::string& name) { return up("", name) && c.node(name).peer != 0; }
    // Whether the controller could hear it, by itself or through one that it hears.
    bool reachable(const std::string& name) {
        if (up("", name)) return true;
        for (const auto& other : all)
            if (other != name && up("", other) && up(other, name)) return true;
        return false;
    }

    void step() {
        c.now = c.now + milliseconds(50);
        if (c.core->next_deadline() <= c.now) c.tick();
        for (const auto& name : all) read(name);
        for (std::size_t i = 0; i < all.size(); ++i) talk(all[i], heard_at[i]);
    }

    // What the controller said to it since the last time.
    void read(const std::string& name) {
        auto& [asks, forwards] = seen[name];
        for (; asks < c.node(name).asks.size(); ++asks) {
            const auto ask = c.node(name).asks[asks];
            if (up("", name)) reach(name, ask);
        }
        for (; forwards < c.node(name).forwards.size(); ++forwards) {
            const auto& forward = c.node(name).forwards[forwards];
            if (forward.end) routes.erase(forward.route);
        }
    }

    void reach(const std::string& via, const Ask& ask) {
        const std::string target = "n" + ask.address.substr(7, ask.address.find(':') - 7);
        if (!up(via, target)) return answer(c, via, ask.route, Ended::kSilent);
        routes[ask.route] = {via, target};
        hello_through(c, via, ask.route, target);
    }

    void talk(const std::string& name, Instant& at) {
        if (c.now - at < milliseconds(200)) return;
        at = c.now;
        // The controller has closed its connection: it dials again.
        const auto closed = c.closed.contains(c.node(name).peer);
        if (closed) c.node(name).peer = 0;
        if (c.node(name).peer == 0 && up("", name)) {
            c.connect(name);
            c.report(name);
        } else if (direct(name)) {
            c.heartbeat(name);
        } else {
            for (const auto& [route, ends] : std::map(routes))
                if (ends.second == name && up(ends.first, name) && direct(ends.first))
                    through(c, ends.first, route, name, Heartbeat{{}, c.node(name).applied, c.node(name).load});
        }
    }

    Random random;
    ControllerShell c;
    std::vector<std::string> all;
    std::map<std::pair<std::string, std::string>, bool> link;
    std::map<std::uint64_t, std::pair<std::string, std::string>> routes;
    std::map<std::string, std::pair<std::size_t, std::size_t>> seen;
    std::vector<Instant> heard_at;
};

}  // namespace

TEST_CASE("whatever links break: who can be heard somehow is never lost, and who cannot is, in time") {
    const auto seed = static_cast<std::uint64_t>(GENERATE(range(1, 61)));
    INFO("seed " << seed);
    const auto play = [&] {
        Mesh m(seed, 4);  // so that all others are asked
        std::map<std::string, Instant> unheard;
        std::string what_happened;
        for (int round = 0; round < 25; ++round) {
            // Two of four lose their link to the controller at most, so that it is no mass silence; others at will.
            for (const auto& name : m.all) m.set("", name, true);
            for (int i = m.random.below(3); i > 0; --i)
                m.set("", m.all[static_cast<std::size_t>(m.random.below(4))], false);
            for (const auto& a : m.all)
                for (const auto& b : m.all)
                    if (a < b) m.set(a, b, m.random.chance(70));
            unheard.clear();
            const int steps = 70 + m.random.below(50);  // more than any window
            for (int step = 0; step < steps; ++step) {
                m.step();
                for (const auto& name : m.all) {
                    if (!m.reachable(name)) unheard.try_emplace(name, m.c.now);
                    const auto at = unheard.find(name);
                    if (at == unheard.end()) continue;
                    // Its window at most, and what its last heartbeat was late.
                    if (m.c.now - at->second > milliseconds(3'300)) REQUIRE(m.c.liveness(name) == "lost");
                }
            }
            for (const auto& event : m.c.events) what_happened += event.kind + " " + event.text + "\n";
            for (const auto& event : m.c.events) {
                if (event.kind != "node-lost") continue;
                const std::string name(event.fields.at("node").as_string());
                INFO("round " << round << ": " << event.text);
                REQUIRE(!m.reachable(name));
            }
            m.c.events.clear();
            // Whoever is reachable is heard; those with a direct link are ready.
            for (const auto& name : m.all) {
                INFO("round " << round << ": " << name << " " << to_text(m.c.node_document(name)));
                if (m.up("", name)) REQUIRE(m.c.liveness(name) == "ready");
                if (!m.up("", name) && m.reachable(name) && m.c.liveness(name) != "lost")
                    REQUIRE(!m.c.node_document(name).at("via").as_string().empty());
            }
        }
        return what_happened;
    };
    CHECK(play() == play());  // the same history gives the same decisions
}

TEST_CASE("a copy under forbid keeps its lease while its node is heard through another") {
    const auto guarded = [](Hello hello) {
        hello.runtimes.at(0).guarded = true;
        return hello;
    };
    ControllerShell c;
    c.ask_port = 3901;
    for (const auto& name : names(1, 4)) c.join(name, [&](Hello& hello) { hello = guarded(hello); });
    auto document = manifest("s", names(1, 4));
    document.as_object()["placement"].as_object()["overlap"] = "forbid";
    REQUIRE(c.deploy(document).has_value());
    c.obey("n1", CopyState::kReady);
    REQUIRE(c.where("s.0") == "n1");
    c.wait(milliseconds(700), names(2, 4));
    const auto questions = asked(c);
    REQUIRE_FALSE(questions.empty());
    const std::string via = questions.begin()->first;
    const std::uint64_t route = questions.begin()->second.route;
    through(c, via, route, "n1", guarded(c.hello_of("n1")));
    through(c, via, route, "n1", report_of(c, "n1"));
    std::uint64_t beat = 100;
    for (int i = 0; i < 60; ++i) {  // 6 s, twice a lease
        c.wait(milliseconds(100), names(2, 4));
        Heartbeat heartbeat{{}, c.node("n1").applied, c.node("n1").load};
        heartbeat.beat = ++beat;
        through(c, via, route, "n1", heartbeat);
        CHECK(c.instance("s.0").at("lease").at("ends_in_ms").to_number<int>() ==
              lease_span(Timing{}) / milliseconds(1));
    }
    CHECK(c.liveness("n1") == "suspect");
    CHECK(c.where("s.0") == "n1");
}
