// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/people.hpp"

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr int kServices = 6;

std::string text(const json::value& value) { return std::string(value.as_string()); }

}  // namespace

People::People(World& world, std::uint64_t seed)
    : world_(world),
      people_(seed, "people"),
      fate_(seed, "misfortune"),
      siege_(seed, "siege"),
      hands_(seed, "hands"),
      apart_(seed, "apart"),
      ports_(seed, "ports") {}

Machine& People::any() { return *fate_.any(world_.machines); }

void People::begin() {
    for (const std::string name : {"app:1", "app:2"})
        world_.seat.request(
            [&](core::RequestId id) { return core::ApiSetImage{id, name, "sha256:" + name, "linux", "amd64", 1}; });
    if (world_.setup.alike) return;
    for (int i = 0; i < 2; ++i)
        world_.seat.request([&](core::RequestId id) {
            return core::ApiDeploy{id, manifest("s" + std::to_string(i)), false};
        });
}

json::value People::manifest(const std::string& name) {
    auto& r = people_;
    json::object service{{"name", name}, {"image", r.chance(800) ? "app:1" : "app:2"}};
    json::object placement;
    if (r.chance(200)) {
        placement["labels"] = json::object{{"side", r.chance(500) ? "left" : "right"}};
    } else {
        json::array pool;
        for (const auto& machine : world_.machines)
            if (r.chance(600)) pool.emplace_back(machine->name);
        if (pool.empty()) pool.emplace_back("n1");
        placement["nodes"] = pool;
        if (r.chance(150)) placement["mode"] = "static";
    }
    if (!placement.contains("mode")) service["instances"] = r.between(1, 4);
    if (r.chance(100)) placement["anti_affinity"] = "soft";
    if (r.chance(100)) placement["spread"] = "side";
    if (r.chance(100)) placement["constraints"] = json::object{{"side", "left"}};
    if (r.chance(150)) placement["policy"] = Policies::kSecond;
    const int no = name.back() - '0';
    const bool forbid = world_.setup.faults.forbid && no % 2 == 1;
    if (forbid) placement["overlap"] = "forbid";
    if (r.chance(150) && !forbid) service["cut_off"] = "start";
    if (r.chance(200)) service["max_gap"] = "8s";
    if (r.chance(100)) service["priority"] = r.between(-5, 5);
    if (r.chance(200)) service["runtime"] = r.chance(800) ? "process" : "unheard-of";
    if (world_.setup.faults.preempt && siege_.chance(500)) {
        service["priority"] = siege_.between(-5, 5);
        placement["preempt"] = siege_.chance(600);
    }
    if (world_.setup.faults.apart && apart_.chance(500)) placement["anti_affinity"] = "hard";
    if (world_.setup.faults.apart && apart_.chance(500)) {
        placement["spread"] = apart_.chance(800) ? "side" : "site";
        placement["spread_mode"] = "hard";
    }
    json::object out{{"service", std::move(service)}, {"placement", std::move(placement)}};
    json::object resources;
    if (r.chance(500)) resources["memory"] = r.between(1, 5) * 100 << 20;
    if (r.chance(300)) resources["cpu"] = 0.5 * r.between(1, 5);
    if (!resources.empty()) out["resources"] = std::move(resources);
    out["container"] = json::object{{"args", {"v" + std::to_string(r.below(3))}}, {"stop_grace", "1s"}};
    if (r.chance(400)) {
        json::object update{{"max_surge", r.below(3)}, {"max_unavailable", r.between(1, 2)}};
        if (r.chance(300)) update["canary"] = 1;
        if (r.chance(300)) update["gate"] = "2s";
        if (r.chance(200)) update["deadline"] = "5s";
        if (r.chance(200)) update["on_failure"] = "stay";
        out["update"] = std::move(update);
    }
    if (no % 3 == 0) return out;
    const bool chosen = world_.setup.faults.ports && ports_.chance(800);
    out["endpoint"] = json::array{json::object{{"name", name}, {"port", chosen ? 0 : 3000 + no % 2}}};
    if (r.chance(400)) out["probe"] = json::array{json::object{{"kind", "tcp"}, {"interval", "500ms"}}};
    return out;
}

void People::change() {
    auto& r = people_;
    const std::string service = "s" + std::to_string(r.below(kServices));
    const std::string node = r.any(world_.machines)->name;
    using core::RequestId;
    const auto ask = [&](auto make) { return world_.seat.request(make); };
    switch (r.below(14)) {
        case 0:
            ask([&](RequestId id) { return core::ApiRemoveService{id, service}; });
            break;
        case 1:
        case 2:
            ask([&](RequestId id) {
                const int which = r.below(3);
                return core::ApiSetIntent{id, node, which == 0 ? "active" : which == 1 ? "cordoned" : "draining"};
            });
            break;
        case 3:
            ask([&](RequestId id) { return core::ApiSetIntent{id, node, "active"}; });
            break;
        case 4:
            if (r.chance(200)) ask([&](RequestId id) { return core::ApiRemoveNode{id, node, true}; });
            break;
        case 5:
            ask([&](RequestId id) { return core::ApiDeploy{id, manifest(service), true}; });
            break;
        case 6:
            if (r.chance(200)) ask([&](RequestId id) { return core::ApiConfirmLost{id, {}}; });
            break;
        case 7:
            ask([&](RequestId id) {
                return core::ApiRebalance{id, static_cast<std::uint32_t>(r.between(1, 3)), r.chance(200)};
            });
            break;
        case 8:
            ask([&](RequestId id) {
                using Action = core::ApiRollout::Action;
                const int which = r.below(4);
                const auto action = which == 0 ? Action::kPause : which == 1 ? Action::kRollBack : Action::kResume;
                return core::ApiRollout{id, service, action, 0};
            });
            break;
        case 9:
            ask([&](RequestId id) {
                return core::ApiSetSecret{id, "secret", std::to_string(r.below(9)), r.chance(300)};
            });
            break;
        default: {
            const auto id = ask([&](RequestId to) { return core::ApiDeploy{to, manifest(service), false}; });
            if (id != 0) world_.judge.deployed(id, service);
            break;
        }
    }
}

// --- what befalls a world -------------------------------------------------------------------------------------------

void People::misfortune() { befall(any(), fate_.below(15)); }

void People::befall(Machine& machine, int what) {
    auto& r = fate_;
    const Faults& on = world_.faults;
    const Instant now = world_.now();
    // So long that leases end meanwhile.
    const auto away = [&](int from, int to) {
        return on.forbid && r.chance(300) ? r.ms(5'000, 12'000) : r.ms(from, to);
    };
    auto& runtime = *r.any(machine.runtimes);
    switch (what) {
        case 0:
            if (on.power) machine.power_off(r.ms(100, 6'000));
            break;
        case 1:  // a cable is pulled
            if (on.cuts) machine.cut_in = machine.cut_out = now + away(100, 5'000);
            break;
        case 2:
            if (on.one_way) (r.chance(500) ? machine.cut_in : machine.cut_out) = now + away(100, 5'000);
            break;
        case 3:  // a switch dies: some nodes are cut off together, or all
            if (!on.partitions || !r.chance(300)) break;
            for (auto& each : world_.machines)
                if (r.chance(500)) each->cut_in = each->cut_out = now + r.ms(500, 6'000);
            break;
        case 4:
            if (on.clogs) machine.clogged = now + r.ms(50, 3'000);
            break;
        case 5:
            if (on.resets && machine.peer != 0) machine.lost_link(machine.peer);
            break;
        case 6:
            if (!on.restarts) break;
            machine.broken_disk = r.chance(50);
            if (r.chance(500))
                machine.kill_agent(away(20, 4'000));
            else
                machine.restart_agent(r.ms(20, 4'000));
            break;
        case 7:
            if (on.leaving) machine.go_down(r.ms(500, 8'000), r.ms(500, 5'000));
            break;
        case 8:
            if (on.controller_killed && r.chance(400)) world_.seat.kill(r.ms(50, 8'000));
            break;
        case 9:
            if (on.controller_paused) world_.seat.pause(r.ms(200, 5'000));
            break;
        case 10:
            if (on.runtime_restarts > 0) runtime.restart();
            break;
        case 11:  // something that one service meets on one machine
            if (on.crashes > 0 && !runtime.boxes().empty()) {
                auto at = runtime.boxes().begin();
                std::advance(at, r.below(static_cast<int>(runtime.boxes().size())));
                runtime.curse(at->second.copy.instance, now + r.ms(1'000, 20'000));
                runtime.crash(at->first);
            }
            break;
        case 12:
            if (!on.jumps || !r.chance(100)) break;
            if (r.chance(300)) {
                world_.seat.clock.jump(seconds(86'400));
                world_.seat.quiet_since = now + seconds(5);
            } else {
                machine.clock.jump(seconds(86'400));
                machine.disturbed();
            }
            break;
        case 13:  // copies that nobody assigned: of a service that is none, and of epochs to come
            if (!on.planted || !machine.up || !r.chance(150)) break;
            runtime.plant(core::container_name(
                kClusterId,
                {{static_cast<std::uint64_t>(r.between(1, 12)), 0}, static_cast<std::uint64_t>(r.between(50, 60))}, 7));
            break;
        default:
            break;
    }
}

void People::besiege() {
    auto& r = siege_;
    const Faults& on = world_.faults;
    const Instant now = world_.now();
    Machine& machine = *r.any(world_.machines);
    if (on.relays && r.chance(20)) {
        const Duration away = r.ms(700, 9'000);
        const bool out = r.chance(700), in = !out || r.chance(600);
        if (out) machine.cut_up_out = now + away;
        if (in) machine.cut_up_in = now + away;
    }
    if (on.guards && r.chance(20)) machine.guard.die(r.ms(1, 300));
    if (on.exchange && r.chance(5)) {
        if (const auto done = world_.policies.exchange(); !done)
            return world_.broken("a plugin can be exchanged", done.error().text());
        world_.policies_away = now + r.ms(0, 400);
    }
    if (!on.siege || !r.chance(50)) return;
    for (auto& each : world_.machines)
        for (auto& runtime : each->runtimes)
            for (const auto& [name, box] : runtime->boxes())
                if (box.running && each->guard.holds(name)) return besiege_lease(*each);
}

void People::by_hand() {
    auto& r = hands_;
    if (!world_.faults.by_hand || !world_.seat.core || !r.chance(50)) return;
    using Action = core::ApiRollout::Action;
    if (r.chance(400)) {
        const auto instances = world_.seat.core->instances();
        if (instances.empty()) return;
        const auto& one = instances[static_cast<std::size_t>(r.below(static_cast<int>(instances.size())))];
        return world_.seat.restart(text(one.at("instance")));
    }
    const int which = r.below(5);
    const auto action = which < 2 ? Action::kStop : which < 4 ? Action::kStart : Action::kRestart;
    world_.seat.request([&](core::RequestId id) {
        return core::ApiRollout{id, "s" + std::to_string(r.below(kServices)), action, 0};
    });
}

// Until the last lease is over and another copy runs elsewhere.
void People::besiege_lease(Machine& machine) {
    auto& r = siege_;
    const Duration lease = world_.seat.timing.lease;
    const Duration away = lease + world_.seat.timing.kill_bound + r.ms(2'000, 6'000);
    const Instant now = world_.now();
    switch (r.below(4)) {
        case 0:
        case 1:  // answers come late, nearly too late, and then the questions get lost
            machine.late = r.time(lease / 2, lease - milliseconds(50));
            machine.late_until = now + r.ms(800, 1'500);
            world_.time.in(r.ms(500, 800), [&machine, this, away] { machine.cut_out = world_.now() + away; });
            break;
        case 2:  // only the guard is left
            machine.kill_agent(away);
            break;
        default:
            machine.cut_in = machine.cut_out = now + away;
            break;
    }
}

// Some histories end with a node that is being drained, some with an instance that crashes whatever is done, some with
// services that are stopped.
void People::heal() {
    auto& seat = world_.seat;
    if (!seat.core || world_.setup.alike) return;
    using core::RequestId;
    const auto known = seat.core->nodes(seat.local());
    auto& draining = world_.judge.draining;
    if (!known.empty() && people_.chance(300))
        draining = text(known[static_cast<std::size_t>(people_.below(static_cast<int>(known.size())))].at("name"));
    for (const auto& machine : world_.machines)
        seat.request([&](RequestId id) {
            return core::ApiSetIntent{id, machine->name, machine->name == draining ? "draining" : "active"};
        });
    for (const auto& service : seat.core->services())
        seat.request([&](RequestId id) {
            return core::ApiRollout{id, text(service.at("name")), core::ApiRollout::Action::kResume, 0};
        });
    if (world_.setup.faults.by_hand)
        for (const auto& service : seat.core->services()) {
            const bool stop = hands_.chance(400);
            if (stop) world_.judge.stopped.insert(text(service.at("name")));
            seat.request([&](RequestId id) {
                using Action = core::ApiRollout::Action;
                return core::ApiRollout{id, text(service.at("name")), stop ? Action::kStop : Action::kStart, 0};
            });
        }
    const auto instances = seat.core->instances();
    if (instances.empty() || !people_.chance(300)) return;
    const auto& victim = instances[static_cast<std::size_t>(people_.below(static_cast<int>(instances.size())))];
    const auto stored = seat.durable.find("service/" + text(victim.at("service")));
    if (stored == seat.durable.end()) return;
    const auto no = parse_json(stored->second)->at("no").to_number<std::uint64_t>();
    world_.judge.crashing = core::InstanceId{no, victim.at("index").to_number<std::uint32_t>()};
    for (const auto& machine : world_.machines)
        for (auto& runtime : machine->runtimes)
            for (const auto& [name, box] : std::map(runtime->boxes()))
                if (box.copy.instance == world_.judge.crashing) runtime->crash(name);
}

}  // namespace gantry::sim
