// SPDX-License-Identifier: Apache-2.0
//
// A controller, its store and some nodes, with both cores, in true time: every machine has a clock of its own that is
// set differently and goes a little wrong, links cut, delay and repeat, machines reboot, gantryd dies anywhere, and
// operations take their time. Each node has a guard that keeps deadlines by its node's clock and kills within K.
//
// What holds whatever happens: of an instance under forbid never two copies run at once in true time. The first breach
// is kept. Instants here are true ones unless they are called local.
#pragma once

#include "kernel/core/controller.hpp"
#include "tests/unit/kernel/core/agent_shell.hpp"
#include "tests/unit/kernel/core/random.hpp"

namespace gantry::core {

class LeaseWorld {
  public:
    static constexpr std::int64_t kMillion = 1'000'000;
    static constexpr Instant kBegin{1'000'000'000'000};

    struct Host {
        AgentShell shell;
        std::int64_t drift_ppm = 0;
        Duration offset{};
        Duration kill_takes = milliseconds(5);  // of its clock
        PeerId peer = 0;
        bool runs = true;  // gantryd
        bool cut_in = false, cut_out = false;
        Duration delay_in{}, delay_out{};
        Instant last_in{}, last_out{};  // links keep the order
        Instant frozen_until{};         // the whole machine
        Instant dial_at{};              // where there is no connection
        std::size_t read = 0;           // messages taken from shell.sent
        std::set<std::string> dying;    // the guard is at it
    };

    LeaseWorld(std::uint64_t seed, std::size_t hosts, Timing t = {}) : random(seed), timing(t) {
        hosts_.resize(hosts);
        for (std::size_t i = 0; i < hosts; ++i) {
            Host& host = hosts_[i];
            host.drift_ppm = std::int64_t{timing.drift_ppm} * (random.below(3) - 1);
            host.offset = seconds(10 + random.below(100'000));
            host.kill_takes = random.time(0, static_cast<int>(timing.kill_bound / milliseconds(1)));
            auto& shell = host.shell;
            shell.facts.node = "n" + std::to_string(i + 1);
            shell.facts.node_id = "id-" + std::to_string(i + 1);
            shell.facts.boot_id = "boot-" + std::to_string(i + 1);
            shell.facts.runtimes.at(0).guarded = true;
            shell.timing = timing;
            shell.now = local(host);
            slow_operations(i);
            shell.start();
        }
        controller_drift_ppm = std::int64_t{timing.drift_ppm} * (random.below(3) - 1);
        start_controller();
        for (auto& host : hosts_) connect(host);
    }
    LeaseWorld(const LeaseWorld&) = delete;

    // --- what people do ---
    void deploy(int instances, int version = 1, std::vector<std::string> pool = {}) {
        if (pool.empty())
            for (const auto& host : hosts_) pool.push_back(host.shell.facts.node);
        json::object document{{"service", {{"name", "s"}, {"image", "app:1"}, {"instances", instances}}},
                              {"placement", {{"nodes", json::array(pool.begin(), pool.end())}, {"overlap", "forbid"}}},
                              {"container", {{"args", json::array{std::to_string(version)}}, {"stop_grace", "2s"}}}};
        say(ApiSetImage{++requests_, "app:1", "sha256:img", "linux", "amd64", 1000});
        say(ApiDeploy{++requests_, std::move(document), false});
    }
    void intent(std::size_t i, const char* what) { say(ApiSetIntent{++requests_, hosts_[i].shell.facts.node, what}); }

    // --- faults ---
    void cut(std::size_t i) { hosts_[i].cut_in = hosts_[i].cut_out = true; }
    void mend(std::size_t i) {
        Host& host = hosts_[i];
        host.cut_in = host.cut_out = false;
        host.delay_in = host.delay_out = Duration(0);
        disconnect(host);
        connect(host);
    }
    void kill_agent(std::size_t i) {
        Host& host = hosts_[i];
        host.runs = false;
        const PeerId peer = std::exchange(host.peer, 0);
        host.shell.peer = 0;
        if (peer != 0 && controller_) say(PeerDown{peer, Down::kReset});
    }
    void start_agent(std::size_t i) {
        Host& host = hosts_[i];
        if (host.runs) return;
        host.runs = true;
        host.shell.now = local(host);
        host.shell.restart();
        host.read = host.shell.sent.size();
        connect(host);
    }
    // Nothing of it runs from now on; it is back after `away`, with a boot id of its own unless the test says
    // otherwise.
    void power_off(std::size_t i) {
        kill_agent(i);
        for (auto& [name, box] : hosts_[i].shell.boxes["oci"]) box = {false, false, -1, "the machine was rebooted"};
        hosts_[i].dying.clear();
    }
    void power_on(std::size_t i) {
        Host& host = hosts_[i];
        host.runs = true;
        host.shell.now = local(host);
        host.shell.reboot();
        host.read = host.shell.sent.size();
        connect(host);
    }
    void freeze(std::size_t i, Duration how_long) { hosts_[i].frozen_until = now + how_long; }
    void kill_controller() {
        controller_.reset();
        for (auto& host : hosts_) disconnect(host);
    }
    void start_controller() {
        if (controller_) return;
        controller_.emplace(timing, std::vector<std::string>{"least-loaded"});
        std::vector<Entry> entries;
        for (const auto& [key, value] : store) entries.push_back({key, value});
        auto loaded = controller_->load(entries, kCluster, controller_now());
        REQUIRE(loaded);
        take(std::move(*loaded));
        for (auto& host : hosts_) connect(host);
    }

    // --- time ---
    void run_for(Duration duration) {
        const Instant end = now + duration;
        for (int turns = 0; turns < 10'000'000; ++turns) {
            pump();
            const Instant next = std::max(now, next_event());
            if (next > end) break;
            now = next;
            play();
        }
        now = std::max(now, end);
        for (auto& host : hosts_) host.shell.now = local(host);
    }

    // --- looking ---
    std::vector<std::size_t> running() const {  // hosts, one entry for each copy of s.0
        std::vector<std::size_t> out;
        for (std::size_t i = 0; i < hosts_.size(); ++i)
            for (const auto& name : hosts_[i].shell.running())
                if (parse_container_name(name)->copy.instance.index == 0) out.push_back(i);
        return out;
    }
    std::size_t count(const std::string& kind) const {
        return static_cast<std::size_t>(std::ranges::count(events, kind));
    }
    Host& host(std::size_t i) { return hosts_[i]; }
    std::size_t size() const { return hosts_.size(); }
    bool has_controller() const { return controller_.has_value(); }
    bool all_ready() const {
        return controller_ && std::ranges::all_of(controller_->instances(), [](const auto& instance) {
                   return instance.as_object().at("state") == json::value("ready");
               });
    }
    json::array instances() const { return controller_ ? controller_->instances() : json::array(); }

    Random random;
    Timing timing;
    Instant now = kBegin;
    std::int64_t controller_drift_ppm = 0;
    std::map<std::string, std::string> store;
    std::vector<std::string> events;
    std::string breach;        // the first
    Duration together{};       // that two copies of s.0 ran at once
    int slow_percent = 0;      // of operations that take seconds
    int repeated_percent = 0;  // of messages
    std::size_t grants = 0, starts = 0;

  private:
    struct Packet {
        std::size_t host = 0;
        PeerId peer = 0;
        std::variant<AgentMessage, ControllerMessage> what;
    };
    struct Slow {  // an operation of a runtime
        std::size_t host = 0;
        std::uint64_t session = 0;
        AgentEffect effect;
    };

    // Clocks go wrong from the beginning of the world on.
    static std::int64_t drifted(std::int64_t ns, std::int64_t ppm) {
        const std::int64_t passed = ns - kBegin.ns;
        return ns + passed / kMillion * ppm + passed % kMillion * ppm / kMillion;
    }
    Instant local(const Host& host) const { return Instant{drifted(now.ns, host.drift_ppm)} + host.offset; }
    Instant controller_now() const { return {drifted(now.ns, controller_drift_ppm)}; }
    // The first true instant, to a microsecond, at which a clock shows `then`.
    Instant true_time(Instant then, Duration offset, std::int64_t ppm) const {
        if (then == kNever) return kNever;
        const std::int64_t ns = (then - offset).ns, passed = ns - kBegin.ns;
        std::int64_t at = ns - passed / (kMillion + ppm) * ppm - (ppm > 0 ? 2 * ppm : 0);
        while (drifted(at, ppm) < ns) at += 1'000;
        return {at};
    }

    void slow_operations(std::size_t i) {
        hosts_[i].shell.hold = [this, i](const AgentEffect& effect) {
            const bool takes_time = std::holds_alternative<Stop>(effect) || std::holds_alternative<Start>(effect) ||
                                    std::holds_alternative<Arm>(effect);
            if (!takes_time) return false;
            const bool slow = random.chance(slow_percent);
            slow_.emplace(now + random.time(slow ? 1'000 : 0, slow ? 6'000 : 60),
                          Slow{i, hosts_[i].shell.facts.session, effect});
            return true;
        };
    }

    void connect(Host& host) {
        if (!controller_ || !host.runs || host.peer != 0) return;
        host.peer = host.shell.peer = ++last_peer_;
        host.last_in = host.last_out = now;
        host.shell.now = local(host);
        host.read = host.shell.sent.size();
        host.shell.step(Connected{host.peer});
    }
    void disconnect(Host& host) {
        const PeerId peer = std::exchange(host.peer, 0);
        host.shell.peer = 0;
        if (peer == 0) return;
        host.shell.now = local(host);
        if (host.runs) host.shell.step(Disconnected{peer});
        if (controller_) say(PeerDown{peer, Down::kReset});
    }

    void pump() {
        for (std::size_t i = 0; i < hosts_.size(); ++i)
            for (Host& host = hosts_[i]; host.read < host.shell.sent.size();) {
                const auto& sent = host.shell.sent[host.read++];
                if (sent.peer == host.peer && !host.cut_out)
                    post(i, sent.peer, sent.message, host.delay_out, host.last_out);
            }
    }
    void post(std::size_t host, PeerId peer, std::variant<AgentMessage, ControllerMessage> what, Duration delay,
              Instant& last) {
        last = std::max(last, now + delay + random.time(0, 4));
        packets_.emplace(last, Packet{host, peer, what});
        if (random.chance(repeated_percent)) packets_.emplace(last + random.time(0, 5'000), Packet{host, peer, what});
    }

    Instant next_event() const {
        Instant next =
            controller_ ? true_time(controller_->next_deadline(), Duration(0), controller_drift_ppm) : kNever;
        if (!packets_.empty()) next = std::min(next, packets_.begin()->first);
        if (!slow_.empty()) next = std::min(next, slow_.begin()->first);
        for (const auto& host : hosts_) {
            Instant due = dials(host) ? host.dial_at : kNever;
            if (host.runs)
                due = std::min(due, true_time(host.shell.agent->next_deadline(), host.offset, host.drift_ppm));
            for (const auto& [name, until] : host.shell.guard)
                if (!host.shell.expired.contains(name))
                    due = std::min(due, true_time(kills_at(host, name, until), host.offset, host.drift_ppm));
            next = std::min(next, std::max(due, host.frozen_until));
        }
        return next;
    }
    bool dials(const Host& host) const {
        return controller_ && host.runs && host.peer == 0 && !host.cut_in && !host.cut_out;
    }
    Instant kills_at(const Host& host, const std::string& name, Instant until) const {
        return host.dying.contains(name) ? until + host.kill_takes : until;
    }

    void play() {
        while (!packets_.empty() && packets_.begin()->first <= now) {
            const Packet packet = std::move(packets_.extract(packets_.begin()).mapped());
            deliver(packet);
        }
        // The guard first: it is what this is about.
        for (auto& host : hosts_) keep_deadlines(host);
        while (!slow_.empty() && slow_.begin()->first <= now) {
            const Slow slow = std::move(slow_.extract(slow_.begin()).mapped());
            finish(slow);
        }
        for (auto& host : hosts_) {
            host.shell.now = local(host);
            if (dials(host) && now >= std::max(host.dial_at, host.frozen_until)) connect(host);
            if (host.runs && now >= host.frozen_until && host.shell.agent->next_deadline() <= host.shell.now)
                host.shell.step(AgentTick{});
        }
        if (controller_ && controller_->next_deadline() <= controller_now()) say(Tick{});
        judge();
    }

    void keep_deadlines(Host& host) {
        host.shell.now = local(host);
        if (now < host.frozen_until) return;
        for (const auto& [name, until] : std::map<std::string, Instant>(host.shell.guard)) {
            if (host.shell.expired.contains(name) || host.shell.now < until) continue;
            if (!host.dying.contains(name) && host.kill_takes > Duration(0)) {
                host.dying.insert(name);
                continue;
            }
            if (host.shell.now < kills_at(host, name, until)) continue;
            host.dying.erase(name);
            host.shell.expired.insert(name);
            auto& boxes = host.shell.boxes["oci"];
            if (const auto at = boxes.find(name); at != boxes.end()) at->second = {false, false, 137, {}};
            if (host.runs) host.shell.step(ContainerExited{"oci", name, 137});
        }
    }

    // One that gantryd began and did not live to hear of happens all the same.
    void finish(const Slow& slow) {
        Host& host = hosts_[slow.host];
        auto& shell = host.shell;
        if (now < host.frozen_until) {
            slow_.emplace(host.frozen_until, slow);
            return;
        }
        if (const auto* arm = std::get_if<Arm>(&slow.effect)) return finish_arm(host, slow, *arm);
        const auto* start = std::get_if<Start>(&slow.effect);
        const auto* stop = std::get_if<Stop>(&slow.effect);
        const std::string name = start ? start->name : stop->name;
        const bool dying = host.dying.contains(name);  // frozen
        if (start && dying) shell.expired.insert(name);
        starts += start != nullptr;
        shell.now = local(host);
        shell.operate(start ? start->id : stop->id, start ? "start" : "stop", "oci", name);
        const auto answer = shell.answers.back();
        shell.answers.pop_back();
        if (start && dying) shell.expired.erase(name);
        if (host.runs && shell.facts.session == slow.session) shell.step(answer);
    }

    // What was not sent before gantryd died is not sent.
    void finish_arm(Host& host, const Slow& slow, const Arm& arm) {
        if (!host.runs || host.shell.facts.session != slow.session) return;
        host.shell.now = local(host);
        host.shell.step(Armed{arm.id, host.shell.arm(arm)});
    }

    void deliver(const Packet& packet) {
        Host& host = hosts_[packet.host];
        if (packet.peer != host.peer) return;
        if (const auto* message = std::get_if<AgentMessage>(&packet.what)) {
            if (controller_) say(PeerMessage{packet.peer, "10.0.0." + std::to_string(packet.host + 1), *message});
            return;
        }
        if (host.cut_in || !host.runs) return;
        if (now < host.frozen_until) {
            packets_.emplace(host.frozen_until, packet);
            return;
        }
        host.shell.now = local(host);
        host.shell.step(FromController{packet.peer, std::get<ControllerMessage>(packet.what)});
    }

    void say(const Input& input) {
        if (controller_) take(controller_->step(input, controller_now()));
    }
    void take(Effects effects) {
        std::vector<Input> answers;
        for (const auto& rank : effects.ranks) {
            Ranked answer{rank.id, {}};
            for (const auto& c : rank.candidates) answer.keys.push_back({c.copies_running + c.copies_pending, 0, 0, 0});
            answers.emplace_back(std::move(answer));
        }
        for (const auto& write : effects.writes) {
            if (write.value)
                store[write.key] = *write.value;
            else
                store.erase(write.key);
        }
        for (auto& answer : answers) say(answer);
        for (auto& effect : effects.acts) act(effect);
    }
    void act(const Effect& effect) {
        if (const auto* m = std::get_if<SendTo>(&effect)) {
            if (const auto* ack = std::get_if<HeartbeatAck>(&m->message)) grants += ack->grants.size();
            for (std::size_t i = 0; i < hosts_.size(); ++i)
                if (Host& host = hosts_[i]; host.peer == m->peer && !host.cut_in)
                    post(i, m->peer, m->message, host.delay_in, host.last_in);
        }
        if (const auto* a = std::get_if<Announce>(&effect))
            for (std::size_t i = 0; i < hosts_.size(); ++i)
                if (Host& host = hosts_[i]; host.peer != 0 && !host.cut_in)
                    post(i, host.peer, ControllerMessage{a->names}, host.delay_in, host.last_in);
        if (const auto* c = std::get_if<ClosePeer>(&effect)) closed(c->peer);
        if (const auto* e = std::get_if<Event>(&effect)) events.push_back(e->kind);
        if (const auto* r = std::get_if<Reply>(&effect); r && !r->result) events.push_back(r->result.error().text());
    }
    // A node that is cut off does not hear of it.
    void closed(PeerId peer) {
        for (auto& host : hosts_) {
            if (host.peer != peer) continue;
            host.peer = host.shell.peer = 0;
            host.dial_at = now + milliseconds(100);
            if (!host.runs || host.cut_in) continue;
            host.shell.now = local(host);
            host.shell.step(Disconnected{peer});
        }
    }

    void judge() {
        std::map<InstanceId, std::string> where;
        bool twice = false;
        for (const auto& host : hosts_)
            for (const auto& name : now < host.frozen_until ? std::vector<std::string>() : host.shell.running()) {
                const CopyId copy = parse_container_name(name)->copy;
                const std::string here = copy.text() + " on " + host.shell.facts.node;
                const auto [at, first] = where.emplace(copy.instance, here);
                if (first) continue;
                twice = true;
                if (breach.empty())
                    breach = "invariant: never two at once: " + at->second + " and " + here + " at " +
                             std::to_string(now.ns / 1'000'000) + " ms";
            }
        if (twice_since_ && !twice) together += now - *twice_since_;
        if (!twice)
            twice_since_.reset();
        else if (!twice_since_)
            twice_since_ = now;
    }

    std::deque<Host> hosts_;
    std::optional<Controller> controller_;
    std::multimap<Instant, Packet> packets_;
    std::multimap<Instant, Slow> slow_;
    std::optional<Instant> twice_since_;
    PeerId last_peer_ = 0;
    RequestId requests_ = 0;
};

}  // namespace gantry::core
