// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/machine.hpp"

#include "kernel/sim/recorder.hpp"
#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr Duration kSilence = seconds(4);  // the transport gives up a connection that is silent for so long
constexpr Duration kLoadPeriod = seconds(5);

}  // namespace

Machine::Machine(World& world, std::size_t no, Random random)
    : name("n" + std::to_string(no)),
      number(no),
      guard(world, *this, Random(world.setup.seed, "guard " + name)),
      world_(world),
      random_(random) {
    facts.node = name;
    facts.node_id = "id-" + name;
    facts.version = "sim";
    facts.labels = {{"side", no % 2 ? "left" : "right"}, {"site", "one"}};
    const std::string architecture = !world.setup.alike && no == 4 ? "arm64" : "amd64";
    facts.runtimes = {{"oci", "linux", {architecture}, true, true, world.setup.alike || no != 5, false, true}};
    if (!world.setup.alike && no % 2 == 1)
        facts.runtimes.push_back({"process", "linux", {architecture}, false, true, false, false, true});
    facts.ports = {4'000, 4'031};
    facts.probes = {"tcp"};
    facts.ask_port = 9'000;
    facts.cpu_milli = 4'000;
    facts.memory_bytes = 1'024 * kMiB;
    for (const auto& known : facts.runtimes) runtimes.push_back(std::make_unique<Containers>(world, *this, known.name));
}

Instant Machine::local() const { return clock.local(world_.now()); }
bool Machine::can_send() const { return up && world_.now() >= cut_out; }
bool Machine::can_hear() const { return up && world_.now() >= cut_in; }
void Machine::disturbed() { quiet_since = world_.now(); }
bool Machine::in_contact_since(Instant when) const {
    return up && agent && welcomed && !leaving && world_.machine_of(peer) == this && quiet_since <= when &&
           world_.now() >= cut_out && world_.now() >= cut_in && world_.now() >= clogged && world_.now() >= cut_up_out &&
           world_.now() >= cut_up_in && world_.now() >= late_until;
}

// --- the machine and gantryd come and go ----------------------------------------------------------------------------

void Machine::power_on() {
    up = true;
    leaving = list_of_boot = false;
    ++boots_;
    ++world_.counts.boots;
    facts.boot_id = "boot-" + std::to_string(boots_) + "-" + name;
    clock.boot(world_.now(), random_.ms(3'000, 20'000));
    if (world_.faults.drift_ppm != 0) clock.drift(world_.now(), world_.faults.drift(random_));
    world_.judge.booted(*this);
    start_agent();
}

void Machine::power_off(Duration away) {
    if (!up) return;
    end_agent();
    up = false;
    for (auto& runtime : runtimes) runtime->power_off();
    guard.power_off();
    // Who talks to a machine without power hears nothing; sometimes a switch says that the cable is dead.
    if (peer != 0 && random_.chance(500)) world_.hang_up_node(peer, *this, core::Down::kReset);
    peer = 0;
    world_.time.in(away, [this] {
        if (!up) power_on();
    });
}

void Machine::end_agent() {
    ++run;
    // What was being written is there or not, as the disk likes.
    if (writing_ && random_.chance(500)) file_ = std::move(writing_);
    writing_.reset();
    if (save_failed_) world_.judge.booted(*this);  // what it said of its lists was not kept
    agent.reset();
    world_.relays.gone(*this);
    effects_.clear();
    served.clear();
    saving_ = save_failed_ = stopping_ = dialling_ = false;
    armed_ = kNever;
    welcomed = list_heard = false;
    disturbed();
    for (auto& runtime : runtimes) runtime->agent_gone();
}

void Machine::kill_agent(Duration away) {
    if (!agent) return;
    // That both are gone is against what leases assume.
    if (guard.away())
        return world_.time.in(milliseconds(50), [this, away, was = run] {
            if (run == was) kill_agent(away);
        });
    end_agent();
    if (peer != 0) world_.hang_up_node(peer, *this, random_.chance(700) ? core::Down::kReset : core::Down::kClosed);
    peer = 0;
    world_.time.in(away, [this, was = run] {
        if (up && !agent && run == was) start_agent();
    });
}

void Machine::restart_agent(Duration away) {
    if (!agent || stopping_) return;
    away_ = away;
    turn(core::ShutDown{false, false});
    stopping_ = true;
    world_.time.in(milliseconds(200), [this, was = run] {
        if (run == was) kill_agent(away_);
    });
}

void Machine::go_down(Duration at_most, Duration away) {
    if (!agent || leaving) return;
    leaving = true;
    disturbed();
    away_ = away;
    turn(core::ShutDown{true, random_.chance(500)});
    world_.time.in(at_most, [this, was = run, away] {
        if (run == was) power_off(away);
    });
}

void Machine::start_agent() {
    ++facts.session;
    ++run;
    seq_ = 0;
    applied_told_ = {};
    agent.emplace(facts, world_.setup.timing);
    if (world_.recorder) world_.recorder->agent(number, facts, world_.setup.timing);
    bool lost = std::exchange(file_lost_, false);
    if (broken_disk && file_) {
        // The file is there and makes no sense; the shell sets it aside.
        lost = !core::Agent::check_saved(file_->substr(0, file_->size() / 2));
        file_.reset();
    }
    broken_disk = false;
    turn(core::AgentStart{file_, lost});
    if (facts.runtimes[0].guarded) guard.tell();
    measure();
    dial();
}

// --- turns ----------------------------------------------------------------------------------------------------------

void Machine::turn(const core::AgentInput& input) {
    if (!agent || stopping_) return;
    const Instant now = local();
    auto effects = agent->step(input, now);
    ++world_.counts.agent_steps;
    world_.digest.add(number << 48 ^ static_cast<std::uint64_t>(now.ns));
    world_.digest.add(effects);
    if (world_.recorder) world_.recorder->agent(number, input, now, effects);
    world_.judge.turned(*this, input);
    for (std::size_t i = 0; i < effects.size(); ++i) {
        if (i != 0 && std::holds_alternative<core::Save>(effects[i]))
            world_.broken("a turn saves before it does anything", name);
        effects_.push_back(std::move(effects[i]));
    }
    arm();
    drain();
}

// A deadline that moved away costs one needless look, as in the daemon.
void Machine::arm() {
    const Instant due = clock.truth(agent->next_deadline());
    if (due >= armed_) return;
    armed_ = due;
    world_.time.at(due, [this, was = run] {
        if (run != was || !agent) return;
        armed_ = kNever;
        if (agent->next_deadline() <= local())
            turn(core::AgentTick{});
        else
            arm();
    });
}

void Machine::drain() {
    if (draining_) return;
    draining_ = true;
    const auto was = run;
    while (!saving_ && !effects_.empty() && run == was) {
        auto effect = std::move(effects_.front());
        effects_.pop_front();
        act(std::move(effect));
    }
    draining_ = false;
    if (saving_) pass_ahead();
}

// What claims nothing that is not saved yet does not wait: a sign of life, the farewell, and what others say.
void Machine::pass_ahead() {
    std::vector<core::AgentEffect> ahead;
    std::erase_if(effects_, [&](core::AgentEffect& effect) {
        if (auto* message = std::get_if<core::Send>(&effect)) {
            auto* beat = std::get_if<core::Heartbeat>(&message->message);
            if (!beat && !std::holds_alternative<core::Leaving>(message->message) &&
                !std::holds_alternative<core::Hold>(message->message) &&
                !std::holds_alternative<core::Relayed>(message->message))
                return false;
            if (beat) beat->applied = applied_told_;
        } else if (!std::holds_alternative<core::Reach>(effect) && !std::holds_alternative<core::PassOn>(effect) &&
                   !std::holds_alternative<core::HangUp>(effect)) {
            return false;
        }
        ahead.push_back(std::move(effect));
        return true;
    });
    for (auto& effect : ahead) act(std::move(effect));
}

void Machine::save(std::string document) {
    saving_ = true;
    const bool fails = random_.chance(world_.faults.saves);
    const Duration takes = world_.faults.slow_disks ? random_.ms(0, 200) : random_.ms(0, 4);
    if (!fails) writing_ = std::move(document);
    world_.time.in(takes, [this, fails, was = run] {
        if (run != was) return;
        if (writing_) file_ = std::move(*writing_);
        writing_.reset();
        saving_ = false;
        save_failed_ = fails;
        drain();
    });
}

Containers* Machine::runtime(const std::string& wanted) {
    for (auto& each : runtimes)
        if (each->name() == wanted) return each.get();
    return nullptr;
}

void Machine::act(core::AgentEffect effect) {
    world_.judge.wants(*this, effect);
    if (auto* e = std::get_if<core::Save>(&effect)) return save(std::move(e->document));
    if (auto* e = std::get_if<core::Send>(&effect)) return say(std::move(*e));
    if (auto* e = std::get_if<core::ListContainers>(&effect)) return runtime(e->runtime)->list();
    if (auto* e = std::get_if<core::ListImages>(&effect)) return runtime(e->runtime)->list_images();
    if (auto* e = std::get_if<core::FetchImage>(&effect)) return runtime(e->runtime)->fetch(*e);
    if (auto* e = std::get_if<core::Start>(&effect)) return runtime(e->runtime)->start(*e);
    if (auto* e = std::get_if<core::Stop>(&effect)) return runtime(e->runtime)->stop(*e);
    if (auto* e = std::get_if<core::Remove>(&effect)) return runtime(e->runtime)->remove(*e);
    if (auto* e = std::get_if<core::Check>(&effect)) {
        for (auto& each : runtimes)
            if (each->boxes().contains(e->container) || each == runtimes.back()) return each->check(*e);
    }
    if (auto* e = std::get_if<core::Create>(&effect)) {
        if (save_failed_)
            return turn(core::OperationDone{e->id, fail(Code::kFull, "the agent's state cannot be saved")});
        return runtime(e->runtime)->create(*e);
    }
    if (auto* e = std::get_if<core::KeepImages>(&effect)) {
        for (auto& each : runtimes) each->keep_images(e->digests);
        return;
    }
    if (auto* e = std::get_if<core::Arm>(&effect)) return guard.arm(*e);
    if (auto* e = std::get_if<core::Disarm>(&effect)) return guard.disarm(e->name);
    if (auto* e = std::get_if<core::Reach>(&effect)) return reach(*e);
    if (auto* e = std::get_if<core::TryPort>(&effect)) return turn(core::PortTried{e->id, port_is_free(e->port)});
    if (auto* e = std::get_if<core::ServeNames>(&effect)) served = std::move(e->entries);
    if (auto* e = std::get_if<core::PassOn>(&effect)) return world_.relays.down(e->peer, e->message);
    if (auto* e = std::get_if<core::HangUp>(&effect)) return world_.relays.hang_up(e->peer, core::Ended::kClosed);
    if (auto* e = std::get_if<core::DropPeer>(&effect)) {
        if (e->peer == peer) return lost_link(peer);
        if (!world_.relays.dialled(*this, e->peer)) return;
        world_.relays.hang_up(e->peer, core::Ended::kClosed);
        return turn(core::Disconnected{e->peer});
    }
    if (std::holds_alternative<core::MayStop>(effect))
        world_.time.in(milliseconds(200), [this, was = run] {
            if (run == was) power_off(away_);
        });
}

// Sometimes another program listens there.
bool Machine::port_is_free(std::uint16_t port) {
    for (const auto& each : runtimes)
        for (const auto& [container, box] : each->boxes())
            if (box.running && std::ranges::count(box.ports, port) != 0) return false;
    return !random_.chance(100);
}

void Machine::say(core::Send effect) {
    std::visit([this](auto& message) { message.id.seq = ++seq_; }, effect.message);
    if (const auto* report = std::get_if<core::Report>(&effect.message)) applied_told_ = report->applied;
    if (std::holds_alternative<core::Hello>(effect.message)) applied_told_ = {};
    const bool dialled = world_.relays.dialled(*this, effect.peer);
    if (!dialled && (effect.peer != peer || peer == 0)) return;
    world_.judge.said(*this, effect.message);
    if (dialled)
        world_.relays.up(effect.peer, effect.message);
    else
        world_.to_controller(peer, *this, std::move(effect.message));
}

// What dialling shows is true. In some worlds nothing is passed on: a node that answers is said to have no room.
void Machine::reach(const core::Reach& effect) {
    Machine* other = nullptr;
    for (const auto& each : world_.machines)
        if (effect.address == world_.address_of(*each) + ":" + std::to_string(each->facts.ask_port)) other = each.get();
    const bool wire = can_send() && can_hear() && other && other->can_send() && other->can_hear();
    world_.time.in(wire ? random_.ms(1, 10) : effect.limit, [this, route = effect.route, wire, other, was = run] {
        if (run != was) return;
        if (!wire) return turn(core::Reached{route, fail(Code::kDeadline, "nothing came back")});
        if (!other->agent) return turn(core::Reached{route, fail(Code::kUnavailable, "connection refused")});
        if (!world_.setup.faults.relays) return turn(core::Reached{route, fail(Code::kFull, "it has no room")});
        turn(core::Reached{route, world_.relays.dial(*this, route, *other)});
    });
}

void Machine::measure() {
    core::Load load{512 * kMiB + random_.below(64) * kMiB, random_.between(0, 4'000)};
    // In a story nodes have what their containers leave them.
    if (world_.setup.alike) {
        load.memory_free_bytes = facts.memory_bytes;
        for (const auto& runtime : runtimes) load.memory_free_bytes -= runtime->memory_bytes();
    }
    turn(core::LoadMeasured{load});
    world_.time.in(kLoadPeriod, [this, was = run] {
        if (run == was && agent) measure();
    });
}

// --- the link -------------------------------------------------------------------------------------------------------

void Machine::dial() {
    if (!agent || peer != 0 || dialling_) return;
    dialling_ = true;
    world_.time.in(random_.ms(1, 10), [this, was = run] {
        if (run != was) return;
        dialling_ = false;
        const bool wire = world_.now() >= cut_up_out && world_.now() >= cut_up_in && can_send() && can_hear();
        peer = wire ? world_.link(*this) : 0;
        if (peer == 0) {
            world_.time.in(random_.ms(50, 500), [this, was] {
                if (run == was) dial();
            });
            return;
        }
        heard_ = local();
        welcomed = false;
        disturbed();
        watch_link();
        turn(core::Connected{peer});
    });
}

void Machine::watch_link() {
    world_.time.in(seconds(1), [this, was = run, watched = peer] {
        if (run != was || peer != watched) return;
        if (local() - heard_ <= kSilence) return watch_link();
        world_.hang_up_node(peer, *this, core::Down::kTimeout);
        lost_link(peer);
    });
}

void Machine::hear(core::PeerId from, core::ControllerMessage message) {
    if (agent && world_.relays.dialled(*this, from)) {
        const bool list = std::holds_alternative<core::NodeList>(message);
        list_of_boot = list_of_boot || list;
        list_heard = list_heard || list || std::holds_alternative<core::HeartbeatAck>(message);
        return turn(core::FromController{from, std::move(message)});
    }
    if (!agent || from != peer) return;
    heard_ = local();
    if (std::holds_alternative<core::Welcome>(message)) {
        welcomed = true;
        disturbed();
    }
    // A list that came over this link stands behind what the agent does from now on; so may an answer.
    const bool list = std::holds_alternative<core::NodeList>(message);
    if (welcomed && (list || std::holds_alternative<core::HeartbeatAck>(message))) list_heard = true;
    if (welcomed && list) list_of_boot = true;
    turn(core::FromController{from, std::move(message)});
}

void Machine::lost_link(core::PeerId which) {
    if (!agent || which != peer) return;
    world_.hang_up_node(peer, *this, core::Down::kReset);
    peer = 0;
    welcomed = false;
    disturbed();
    turn(core::Disconnected{which});
    world_.time.in(random_.ms(50, 500), [this, was = run] {
        if (run == was) dial();
    });
}

}  // namespace gantry::sim
