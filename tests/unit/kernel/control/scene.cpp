// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kernel/control/scene.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>
#include <csignal>
#include <deque>
#include <map>

#include "kernel/control/tree.hpp"
#include "kernel/core/sha256.hpp"
#include "tests/support/asio_clock.hpp"
#include "tests/support/memory_transport.hpp"

namespace gantry::test {
namespace {

class FakeStore final : public host::Store {
  public:
    explicit FakeStore(boost::asio::io_context& io) : io_(io) {}

    void load(const std::string&, Duration, host::Done<host::StoreEntries> done) override {
        ++loads;
        if (loads_to_fail > 0) {
            --loads_to_fail;
            return later([done] { done(fail(Code::kFailed, "the disk is away")); });
        }
        held_.push_back(std::move(done));
        if (!holding) release();
    }
    void release() {
        holding = false;
        for (auto& done : std::exchange(held_, {})) {
            host::StoreEntries out;
            for (const auto& [key, value] : entries_) out.entries.push_back({key, value, 1});
            later([done, out = std::move(out)] { done(out); });
        }
    }
    void commit(std::vector<host::StoreChange> changes, bool, Duration, host::Done<std::uint64_t> done) override {
        using Outcome = Scene::Outcome;
        auto outcome = Outcome::kDone;
        if (!outcomes.empty()) {
            outcome = outcomes.front();
            outcomes.pop_front();
        }
        if (outcome == Outcome::kDone || outcome == Outcome::kUnknownWritten) {
            for (auto& change : changes) {
                if (change.remove) entries_.erase(change.key);
                if (!change.remove) entries_[change.key] = change.value;
            }
        }
        later([done, outcome] {
            if (outcome == Outcome::kDone) return done(std::uint64_t{1});
            const auto code = outcome == Outcome::kFailed ? Code::kFailed
                              : outcome == Outcome::kFull ? Code::kFull
                                                          : Code::kUnknown;
            done(fail(code, "the disk says no"));
        });
    }

    std::deque<Scene::Outcome> outcomes;
    int loads_to_fail = 0, loads = 0;
    bool holding = false;

  private:
    void later(std::function<void()> fn) { boost::asio::post(io_, std::move(fn)); }

    boost::asio::io_context& io_;
    std::map<std::string, std::string> entries_;
    std::vector<host::Done<host::StoreEntries>> held_;
};

core::Timing quick() {
    core::Timing t;
    t.heartbeat = milliseconds(40);
    t.suspect_after = milliseconds(200);
    t.lost_after = milliseconds(400);
    t.reset_grace = milliseconds(400);
    t.start_grace = milliseconds(400);
    t.restart_delay = milliseconds(50);
    return t;
}

constexpr const char* kListen = "127.0.0.1:3900";

struct Node {
    std::unique_ptr<host::Transport> transport;
    std::unique_ptr<control::BlobStore> blobs;
    std::unique_ptr<control::AgentLoop> agent;
};

host::PluginTable table(const std::string& role, const std::string& name) {
    host::PluginTable out;
    out.role = role;
    out.name = out.plugin = name;
    return out;
}

}  // namespace

std::string sha256(const std::string& text) { return core::sha256_digest(text); }

struct Scene::Parts {
    Parts(const std::filesystem::path& path, std::int64_t message_max)
        : network(clock, 1, {}, {message_max, 4 << 20, seconds(1)}),
          blobs(path / "controller"),
          host(io, options(path)) {
        REQUIRE(blobs.open());
        if (auto ok = host.configure({table("placement", "first"), table("runtime", "scripted")}); !ok)
            FAIL(ok.error().text());
        if (auto ok = host.start(); !ok) FAIL(ok.error().text());
    }
    host::HostOptions options(const std::filesystem::path& path) {
        host::HostOptions out;
        out.plugin_path = {GANTRY_TEST_PLUGINS};
        out.trust.package = GANTRY_TEST_PLUGINS;
        out.crashes = &crashes;
        out.state_dir = path / "state";
        out.log = [this](host::LogLevel, std::string_view, std::string_view text) { log(text); };
        out.event = [](std::string, std::string, json::object) {};
        return out;
    }
    void log(std::string_view text) {
        const std::lock_guard lock(mutex);
        lines.emplace_back(text);
    }
    control::Log logger() {
        return [this](host::LogLevel, std::string_view text) { log(text); };
    }

    std::mutex mutex;
    std::vector<std::string> lines;
    crash::Record crashes{[](std::string_view) { return Status(); }};
    boost::asio::io_context io;
    AsioClock clock{io};
    MemoryNetwork network;
    FakeStore store{io};
    control::EventLog events{std::filesystem::path{}};
    control::BlobStore blobs;
    host::Host host;
    std::unique_ptr<host::Transport> transport;
    std::map<host::PeerId, std::string> inbound;
    std::unique_ptr<control::ControllerLoop> controller;
    std::unique_ptr<control::Tree> tree;
    std::map<std::string, Node> nodes;
};

Scene::Scene(std::int64_t message_max) : parts_(std::make_unique<Parts>(folder.path, message_max)) {
    std::signal(SIGPIPE, SIG_IGN);  // as gantryd does
}

Scene::~Scene() {
    for (auto& [name, node] : parts_->nodes) {
        node.agent->stop({}, [] {});
        node.transport.reset();
    }
    if (parts_->controller) parts_->controller->stop();
    parts_->transport.reset();
    parts_->host.stop();
    parts_->tree.reset();
    parts_->nodes.clear();
    parts_->controller.reset();
}

crash::Record& Scene::crashes() { return parts_->crashes; }

void Scene::start_controller() {
    auto& p = *parts_;
    p.transport = p.network.make("controller", "secret");
    host::TransportEvents events;
    events.up = [&p](host::PeerId peer, bool, std::string address, std::string) {
        p.inbound[peer] = std::move(address);
        p.controller->peer_up(peer);
    };
    events.message = [&p](host::PeerId peer, host::Channel, std::string bytes) {
        p.controller->peer_message(peer, p.inbound[peer], bytes);
    };
    events.down = [&p](host::PeerId peer, host::Down reason, std::string) {
        p.inbound.erase(peer);
        p.controller->peer_down(peer, reason);
    };
    events.writable = [&p](host::PeerId peer) { p.controller->peer_writable(peer); };
    events.refused = [](std::string, host::Down, std::string) {};
    p.transport->begin(std::move(events));
    control::ControllerConfig config;
    config.listen = kListen;
    config.timing = quick();
    p.controller = std::make_unique<control::ControllerLoop>(
        control::ControllerLoop::Parts{p.io, p.host, *p.transport, p.store, p.events, p.blobs, p.logger(), config, {}});
    p.tree = std::make_unique<control::Tree>(control::Tree::Parts{p.io, p.host, p.events, p.blobs, p.controller.get(),
                                                                  nullptr, "1", [](bool) {}, &p.crashes});
    std::optional<Status> ready;
    p.controller->start([&](Result<void> result) { ready = result; });
    REQUIRE(until([&] { return ready.has_value(); }));
    if (!*ready) FAIL(ready->error().text());
}

void Scene::start_node(const std::string& name) {
    auto& p = *parts_;
    const auto dir = folder.path / name;
    std::filesystem::create_directories(dir);
    std::ofstream(dir / "boot_id") << "boot-" << name << "\n";
    auto& node = p.nodes[name];
    node.transport = p.network.make(name, "secret");
    node.blobs = std::make_unique<control::BlobStore>(dir / "images");
    REQUIRE(node.blobs->open());
    control::NodeConfig config;
    config.name = name;
    config.boot_id_file = dir / "boot_id";
    config.image_high_watermark = config.image_low_watermark = full_at;
    config.listen = "10.0.0." + std::to_string(p.nodes.size()) + ":3901";
    node.agent = std::make_unique<control::AgentLoop>(
        control::AgentLoop::Parts{p.io, p.host, *node.transport, *node.blobs, p.logger(), config, quick(), dir, "1"});
    auto* agent = node.agent.get();
    host::TransportEvents events;
    events.up = [agent](host::PeerId peer, bool inbound, std::string, std::string) {
        if (inbound) agent->asked_by(peer);
    };
    events.message = [agent](host::PeerId peer, host::Channel, std::string bytes) { agent->peer_message(peer, bytes); };
    events.down = [agent](host::PeerId peer, host::Down reason, std::string) {
        if (agent->owns(peer)) agent->peer_down(peer, reason);
    };
    events.writable = [agent](host::PeerId peer) { agent->peer_writable(peer); };
    events.refused = [](std::string, host::Down, std::string) {};
    node.transport->begin(std::move(events));
    agent->controller_found(kListen);
    if (auto ok = agent->start(); !ok) FAIL(ok.error().text());
    if (p.tree) p.tree->use(p.controller.get(), agent);
}

void Scene::stop_node(const std::string& name) {
    auto& node = parts_->nodes.at(name);
    node.agent->stop({}, [] {});
    node.transport.reset();
    if (parts_->tree) parts_->tree->use(parts_->controller.get(), nullptr);
    run_for(std::chrono::milliseconds(250));  // what the stop itself waits
    parts_->nodes.erase(name);
}

void Scene::cut(const std::string& node) { parts_->network.cut("controller", node); }
void Scene::heal(const std::string& node) { parts_->network.heal("controller", node); }

bool Scene::until(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= end) return false;
        parts_->io.restart();
        parts_->io.run_one_for(std::chrono::milliseconds(5));
    }
    return true;
}

void Scene::run_for(std::chrono::milliseconds time) {
    parts_->io.restart();
    parts_->io.run_for(time);
}

std::string Response::field() const {
    const auto* error = document.is_object() ? document.as_object().if_contains("error") : nullptr;
    const auto* name = error ? error->as_object().if_contains("field") : nullptr;
    return name ? std::string(name->as_string()) : std::string();
}

std::string Response::message() const {
    const auto* error = document.is_object() ? document.as_object().if_contains("error") : nullptr;
    return error ? std::string(error->as_object().at("message").as_string()) : std::string();
}

namespace {

host::ControlRequest request_of(const std::string& method, const std::string& path, const std::string& body) {
    return {{"unix", "tester", 1000, 1000}, method, path, body};
}

Response parsed(const host::ControlResponse& response) {
    auto document = parse_json(response.body, 16 << 20);
    return {response.code, document ? *document : json::value(nullptr)};
}

}  // namespace

Response Scene::ask(const std::string& method, const std::string& path, const std::string& body) {
    auto out = std::make_shared<std::optional<Response>>();
    parts_->tree->request(request_of(method, path, body),
                          [out](host::ControlResponse response) { *out = parsed(response); });
    if (!until([&] { return out->has_value(); })) return {0, nullptr};
    return **out;
}

Response Scene::open(const std::string& method, const std::string& path, int& stream) {
    std::array<int, 2> ends{};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    stream = ends[0];
    auto out = std::make_shared<std::optional<Response>>();
    parts_->tree->open(request_of(method, path, ""), ends[1],
                       [out](host::ControlResponse response) { *out = parsed(response); });
    if (method == "PUT") return {0, nullptr};  // answered at its end
    if (!until([&] { return out->has_value(); })) return {0, nullptr};
    return **out;
}

std::string Scene::add_image(const std::string& name, const std::string& layer) {
    const auto put = [this](const std::string& text) {
        const auto digest = sha256(text);
        REQUIRE((parts_->blobs.has(digest) || (parts_->blobs.append(digest, 0, text) && parts_->blobs.finish(digest))));
        return R"({"digest":")" + digest + R"(","size":)" + std::to_string(text.size()) + "}";
    };
    const auto config = put(R"({"os":"linux","architecture":")" + std::string(control::own_architecture()) +
                            R"(","author":")" + name + "\"}");
    const std::string manifest = R"({"config":)" + config + R"(,"layers":[)" + put(layer) + "]}";
    put(manifest);
    const auto answer = ask("PUT", "/v1/images/" + name, R"({"digest":")" + sha256(manifest) + "\"}");
    INFO(answer.message());
    REQUIRE(answer.code == 200);
    return sha256(manifest);
}

void Scene::deploy(const std::string& service, const std::string& image, const std::string& node) {
    const auto answer = ask("PUT", "/v1/services/" + service,
                            R"({"service":{"name":")" + service + R"(","image":")" + image +
                                R"("},"placement":{"nodes":[")" + node + R"("]}})");
    INFO(answer.message());
    REQUIRE(answer.code == 200);
}

namespace {

std::string member_of(const Response& response, std::string_view key, const std::string& value, std::string_view want) {
    if (response.code != 200) return {};
    for (const auto& item : response.document.as_object().at("items").as_array()) {
        if (item.as_object().at(key).as_string() == value) return std::string(item.as_object().at(want).as_string());
    }
    return {};
}

}  // namespace

std::string Scene::instance_state(const std::string& service) {
    return member_of(ask("GET", "/v1/instances"), "service", service, "state");
}

std::string Scene::liveness(const std::string& node) {
    return member_of(ask("GET", "/v1/nodes"), "name", node, "liveness");
}

std::size_t Scene::events(const std::string& kind) {
    std::size_t count = 0;
    for (const auto* entry : parts_->events.read(0, 100'000))
        count += json::parse(entry->text).as_object().at("kind").as_string() == kind;
    return count;
}

std::size_t Scene::runtime_operations() const {
    for (const auto& plugin : parts_->host.plugins()) {
        if (plugin.role == "runtime") return plugin.operations_pending;
    }
    return 0;
}

bool Scene::logged(const std::string& text) const {
    const std::lock_guard lock(parts_->mutex);
    for (const auto& line : parts_->lines) {
        if (line.find(text) != line.npos) return true;
    }
    return false;
}

void Scene::next_commit(Outcome outcome) { parts_->store.outcomes.push_back(outcome); }
void Scene::next_loads_fail(int times) { parts_->store.loads_to_fail = times; }
void Scene::hold_loads(bool yes) {
    parts_->store.holding = yes;
    if (!yes) parts_->store.release();
}
int Scene::loads() const { return parts_->store.loads; }

void Scene::expect_node(const std::string& name, const std::string& address) {
    parts_->controller->node_expected({false, name, address, {}});
}

std::filesystem::path Scene::blob(const std::string& owner, const std::string& digest) const {
    auto dir = folder.path / owner;
    if (owner != "controller") dir /= "images";
    return dir / "blobs" / "sha256" / digest.substr(7);
}

}  // namespace gantry::test
