// SPDX-License-Identifier: Apache-2.0
//
// One controller and three agents in virtual time: both cores together tell the story that each tells alone.
#include "kernel/core/controller.hpp"
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

class Cluster {
  public:
    explicit Cluster(std::size_t size) {
        nodes_.resize(size);
        for (std::size_t i = 0; i < size; ++i) {
            auto& node = nodes_[i];
            node.shell.facts.node = "SNode" + std::to_string(i + 1);
            node.shell.facts.node_id = "id-" + std::to_string(i + 1);
            node.shell.facts.directory_port = 54;
            node.shell.start();
        }
        start_controller();
        for (auto& node : nodes_) connect(node);
    }

    void start_controller() {
        controller_.emplace(Timing{}, std::vector<std::string>{"least-loaded"});
        auto loaded = controller_->load(stored_, kCluster, now_);
        REQUIRE(loaded);
        take(std::move(*loaded));
    }

    // The controller is gone for `duration`.
    void without_controller(Duration duration) {
        stored_ = controller_->stored();
        controller_.reset();
        for (auto& node : nodes_) disconnect(node);
        run_for(duration);
        start_controller();
        for (auto& node : nodes_) connect(node);
    }

    void deploy(const char* document) {
        say(ApiSetImage{1, "axis_server:1.0", "sha256:img", "linux", "amd64", 1000});
        auto value = parse_json(document);
        REQUIRE(value);
        say(ApiDeploy{2, *value, false});
        CHECK(refusals_.empty());
    }

    void cut(std::size_t i) {
        nodes_[i].cut = true;  // silence: nobody is told
    }
    void mend(std::size_t i) {
        auto& node = nodes_[i];
        node.cut = false;
        disconnect(node);
        connect(node);
    }
    // The machine goes without a word and is back after `duration`.
    void reboot(std::size_t i, Duration duration) {
        auto& node = nodes_[i];
        if (controller_) say(PeerDown{node.peer, Down::kReset});
        node.peer = 0;
        node.shell.peer = 0;
        node.off = true;
        for (auto& [runtime, all] : node.shell.boxes) all.clear();
        run_for(duration);
        node.off = false;
        node.shell.now = now_;
        node.shell.reboot();
        connect(node);
    }
    void restart_agent(std::size_t i) {
        auto& node = nodes_[i];
        node.shell.step(ShutDown{false});
        pump();
        disconnect(node);
        run_for(seconds(1));
        node.shell.restart();
        connect(node);
    }

    void run_for(Duration duration) {
        const Instant end = now_ + duration;
        pump();
        for (int turns = 0; turns < 100'000; ++turns) {
            Instant next = controller_ ? controller_->next_deadline() : kNever;
            for (const auto& node : nodes_)
                if (!node.off) next = std::min(next, node.shell.agent->next_deadline());
            if (next > end) break;
            now_ = std::max(now_, next);
            for (auto& node : nodes_) {
                node.shell.now = now_;
                if (!node.off && node.shell.agent->next_deadline() <= now_) node.shell.step(AgentTick{});
            }
            pump();
            if (controller_ && controller_->next_deadline() <= now_) say(Tick{});
        }
        now_ = end;
        for (auto& node : nodes_) node.shell.now = now_;
    }

    // Where copies run, by node.
    std::vector<std::string> running() const {
        std::vector<std::string> out;
        for (const auto& node : nodes_)
            for (const auto& name : node.shell.running()) out.push_back(node.shell.facts.node + "/" + name);
        return out;
    }
    std::size_t where() const {
        for (std::size_t i = 0; i < nodes_.size(); ++i)
            if (!nodes_[i].shell.running().empty()) return i;
        return nodes_.size();
    }
    std::vector<std::string> names(std::size_t i) const { return nodes_[i].shell.names(); }
    AgentShell& shell(std::size_t i) { return nodes_[i].shell; }
    Controller& controller() { return *controller_; }
    bool told(const std::string& kind) const { return std::ranges::count(events_, kind) > 0; }
    std::size_t ready() const {
        std::size_t out = 0;
        for (const auto& instance : controller_->instances())
            out += instance.as_object().at("state") == json::value("ready");
        return out;
    }

  private:
    struct Node {
        AgentShell shell;
        PeerId peer = 0;
        bool cut = false, off = false;
        std::size_t read = 0;  // messages taken from shell.sent
    };

    void connect(Node& node) {
        if (!controller_) return;
        node.peer = node.shell.peer = ++last_peer_;
        node.shell.now = now_;
        node.shell.step(Connected{node.peer});
        pump();
    }

    void disconnect(Node& node) {
        if (node.peer == 0) return;
        const auto peer = std::exchange(node.peer, 0);
        node.shell.peer = 0;
        if (!node.off) node.shell.step(Disconnected{peer});
        if (controller_) say(PeerDown{peer, Down::kReset});
    }

    void pump() {
        for (bool more = true; more;) {
            more = false;
            for (auto& node : nodes_)
                while (node.read < node.shell.sent.size()) {
                    const auto message = node.shell.sent[node.read++];
                    if (!controller_ || node.cut || message.peer != node.peer) continue;
                    more = true;
                    auto wire = decode_agent(encode(message.message));
                    REQUIRE(wire);
                    say(PeerMessage{node.peer, "10.0.0." + node.shell.facts.node.substr(5), wire->message});
                }
        }
    }

    void say(const Input& input) { take(controller_->step(input, now_)); }

    void take(Effects effects) {
        std::vector<Input> answers;
        for (const auto& rank : effects.ranks) {
            Ranked answer{rank.id, {}};
            for (const auto& c : rank.candidates)
                answer.keys.push_back({c.copies_running + c.copies_pending, -c.memory_free_bytes, 0, 0});
            answers.push_back(std::move(answer));
        }
        for (auto& answer : answers) say(answer);
        for (auto& effect : effects.acts) act(effect);
    }

    void act(const Effect& effect) {
        if (const auto* m = std::get_if<SendTo>(&effect)) {
            auto wire = decode_controller(encode(m->message));
            INFO((wire ? "" : wire.error().text()));
            REQUIRE(wire);
            for (auto& node : nodes_)
                if (node.peer == m->peer && !node.cut && !node.off)
                    node.shell.step(FromController{m->peer, wire->message});
        }
        if (const auto* a = std::get_if<Announce>(&effect))
            for (auto& node : nodes_)
                if (node.peer != 0 && !node.cut && !node.off) node.shell.step(FromController{node.peer, a->names});
        if (const auto* c = std::get_if<ClosePeer>(&effect))
            for (auto& node : nodes_)
                if (node.peer == c->peer) {
                    node.peer = node.shell.peer = 0;
                    node.shell.step(Disconnected{c->peer});
                }
        if (const auto* r = std::get_if<Reply>(&effect))
            if (!r->result) refusals_.push_back(r->result.error().text());
        if (const auto* e = std::get_if<Event>(&effect)) events_.push_back(e->kind);
    }

    std::vector<Node> nodes_;
    std::optional<Controller> controller_;
    std::vector<Entry> stored_;
    Instant now_{1'000'000'000};
    PeerId last_peer_ = 0;
    std::vector<std::string> events_, refusals_;
};

constexpr const char* kAxis = R"({
  "service": {"name": "axis_server", "image": "axis_server:1.0"},
  "placement": {"nodes": ["SNode1", "SNode2"]},
  "endpoint": [{"name": "axis_server", "port": 3002}],
  "probe": [{"kind": "tcp"}]
})";

Cluster deployed() {
    Cluster c(3);
    c.run_for(seconds(1));
    c.deploy(kAxis);
    c.run_for(seconds(1));
    REQUIRE(c.running().size() == 1);
    REQUIRE(c.ready() == 1);
    return c;
}

}  // namespace

TEST_CASE("a service is placed on one node of its pool and named on every node") {
    auto c = deployed();
    CHECK(c.where() == 0);
    for (std::size_t i = 0; i < 3; ++i) CHECK(c.names(i) == std::vector<std::string>{"axis_server=10.0.0.1:3002"});
}

TEST_CASE("the node is rebooted: the service is on the other one and stays there") {
    auto c = deployed();
    c.reboot(0, seconds(5));
    CHECK(c.where() == 1);
    c.run_for(seconds(60));
    CHECK(c.running().size() == 1);
    CHECK(c.where() == 1);
    CHECK(c.names(0) == std::vector<std::string>{"axis_server=10.0.0.2:3002"});
    CHECK(c.shell(0).boxes["oci"].empty());
}

TEST_CASE("the cable is cut and mended: the stale copy is stopped, one remains") {
    auto c = deployed();
    c.cut(0);
    c.run_for(milliseconds(1600));
    CHECK(c.shell(1).running().size() == 1);
    CHECK(c.names(2) == std::vector<std::string>{"axis_server=10.0.0.2:3002"});
    c.run_for(seconds(10));
    CHECK(c.shell(0).running().size() == 1);  // cut off, it keeps what it runs
    c.mend(0);
    c.run_for(seconds(1));
    CHECK(c.running().size() == 1);
    CHECK(c.where() == 1);
}

TEST_CASE("an agent is restarted: containers run on and nothing moves") {
    auto c = deployed();
    const auto before = c.running();
    c.restart_agent(0);
    c.run_for(seconds(40));
    CHECK(c.running() == before);
    CHECK(c.ready() == 1);
}

TEST_CASE("the controller is away for a minute: nothing stops, nothing moves") {
    auto c = deployed();
    const auto before = c.running();
    c.without_controller(seconds(60));
    c.run_for(seconds(20));
    CHECK(c.running() == before);
    CHECK(c.ready() == 1);
    CHECK(c.names(2) == std::vector<std::string>{"axis_server=10.0.0.1:3002"});
}

TEST_CASE("a copy that crashes on and on gets another node") {
    auto c = deployed();
    for (int i = 0; i < 5 && c.where() == 0; ++i) {
        c.shell(0).crash(c.shell(0).running().at(0));
        c.run_for(seconds(1 << i) * 5 / 4);
    }
    c.run_for(seconds(2));
    CHECK(c.where() == 1);
    CHECK(c.running().size() == 1);
}
