// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/containers.hpp"

#include <algorithm>

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr Duration kOperationLimit = seconds(30), kListLimit = seconds(10);  // as agent_loop.cpp has them
constexpr int kKilled = 137;

}  // namespace

Containers::Containers(World& world, Machine& machine, std::string name)
    : world_(world),
      machine_(machine),
      name_(std::move(name)),
      random_(world.setup.seed, "containers " + machine.name + " " + name_) {}

Duration Containers::pace() {
    if (random_.chance(world_.faults.slow_runtime)) return random_.ms(500, 40'000);
    return random_.ms(1, 30);
}

std::int64_t Containers::memory_bytes() const {
    std::int64_t out = 0;
    for (const auto& [name, box] : boxes_)
        if (box.running) out += box.memory_bytes;
    return out;
}

void Containers::answer(std::uint64_t agent_run, core::AgentInput input) {
    if (machine_.agent && machine_.run == agent_run) machine_.turn(input);
}

// One operation: it takes its time, is done or fails, and is answered once, perhaps before anybody knows which.
void Containers::operate(std::uint64_t id, const std::string& name, Duration limit, std::function<Status()> work) {
    const auto run = machine_.run;
    if (const auto at = boxes_.find(name); at != boxes_.end()) {
        const auto busy = waiting_.find(at->second.busy);
        if (at->second.busy != 0 && busy != waiting_.end() && busy->second == run)
            world_.judge.began_twice(machine_, name);
        at->second.busy = id;
    }
    waiting_[id] = run;
    const Duration takes = pace();
    const bool lost = random_.chance(world_.faults.unknown_outcomes);
    const Duration told = std::min(limit, lost ? random_.time(Duration(0), takes + milliseconds(500)) : takes);
    const bool happens = !lost || random_.chance(500);
    const auto finish = [this, id, run](Status result) {
        const auto at = waiting_.find(id);
        if (at == waiting_.end() || at->second != run) return;
        waiting_.erase(at);
        answer(run, core::OperationDone{id, std::move(result)});
    };
    const auto boot = machine_.facts.boot_id;
    if (takes <= told && !lost) {
        world_.time.in(takes, [this, work = std::move(work), finish, boot] {
            if (machine_.up && machine_.facts.boot_id == boot) finish(work());
        });
        return;
    }
    world_.time.in(told, [finish] { finish(fail(Code::kUnknown, "it is not known whether it was done")); });
    if (happens)
        world_.time.in(takes, [this, work = std::move(work), boot] {
            if (machine_.up && machine_.facts.boot_id == boot) (void)work();
        });
}

// A list is taken when it is asked for and told later.
void Containers::list() {
    const auto run = machine_.run;
    const bool first = !waiting_.contains(0) || waiting_[0] != run;
    core::ContainersListed out{name_, std::vector<core::Seen>()};
    if (random_.chance(world_.faults.failing_runtime)) {
        out.result = fail(Code::kFailed, "the engine does not answer");
    } else {
        waiting_[0] = run;  // this run has a list
        for (auto& [name, box] : boxes_) {
            // Of what it says it is the truth; a runtime that is being restarted may leave something out, once.
            const bool hide = !first && box.running && !box.hidden && random_.chance(world_.faults.hidden);
            box.hidden = hide;
            if (hide) world_.judge.doubt(machine_, box.copy);  // its node takes it for ended
            if (!hide) out.result->push_back({name_, name, box.running, box.created, box.exit_code, {}});
        }
    }
    world_.time.in(std::min(pace(), kListLimit), [this, run, out = std::move(out)] { answer(run, out); });
}

void Containers::list_images() {
    const auto run = machine_.run;
    core::ImagesListed out{name_, {images_.begin(), images_.end()}};
    world_.time.in(random_.ms(1, 20), [this, run, out = std::move(out)] { answer(run, out); });
}

void Containers::create(const core::Create& effect) {
    const auto& name = effect.wanted.name;
    const auto parsed = core::parse_container_name(name);
    world_.judge.created(machine_, name, parsed ? parsed->copy : core::CopyId(), names_used_.insert(name).second);
    const bool fails = random_.chance(world_.faults.failing_runtime);
    const bool leaves = fails && random_.chance(300);
    std::vector<std::uint16_t> ports;
    for (const auto& endpoint : effect.wanted.spec.endpoints) ports.push_back(endpoint.port);
    operate(effect.id, name, kOperationLimit,
            [this, name, parsed, fails, leaves, ports, image = effect.wanted.image_digest,
             memory = effect.wanted.spec.memory_bytes]() -> Status {
                if (!images_.contains(image)) return fail(Code::kNotFound, "there is no image " + image);
                if (!fails || leaves) {
                    Box& box = boxes_[name];
                    box.copy = parsed ? parsed->copy : core::CopyId();
                    box.memory_bytes = memory;
                    box.ports = ports;
                }
                if (fails) return fail(Code::kFailed, "the disk of the engine is full");
                return {};
            });
}

void Containers::start(const core::Start& effect) {
    const bool fails = random_.chance(world_.faults.failing_runtime);
    operate(effect.id, effect.name, kOperationLimit, [this, name = effect.name, fails]() -> Status {
        const auto at = boxes_.find(name);
        if (at == boxes_.end()) return fail(Code::kNotFound, "there is no container " + name);
        if (fails) return fail(Code::kFailed, "no such file in its image");
        if (at->second.fenced) {
            at->second.created = false;
            at->second.exit_code = kKilled;
        } else if (!at->second.running) {
            run(name, at->second);
        }
        return {};
    });
}

void Containers::run(const std::string& name, Box& box) {
    box.running = true;
    box.created = false;
    box.started = world_.now();
    ++box.run;
    if (box.planted)
        world_.judge.doubt(machine_, box.copy);
    else
        world_.judge.started(machine_, name, box.copy);
    world_.judge.ran(machine_, box.copy, true, true);
    const bool doomed = world_.judge.crashing == box.copy.instance || cursed(box.copy.instance);
    if (!doomed && !random_.chance(world_.faults.crashes)) return;
    world_.time.in(doomed ? random_.ms(20, 400) : random_.ms(100, 20'000), [this, name, run = box.run] {
        const auto at = boxes_.find(name);
        if (at != boxes_.end() && at->second.running && at->second.run == run) end(name, 1, false, true);
    });
}

void Containers::curse(const core::InstanceId& instance, Instant until) { cursed_[instance] = until; }
bool Containers::cursed(const core::InstanceId& instance) const {
    const auto at = cursed_.find(instance);
    return at != cursed_.end() && !world_.calm && at->second > world_.now();
}

void Containers::end(const std::string& name, int code, bool asked, bool tell) {
    Box& box = boxes_.at(name);
    if (!box.running) return;
    box.running = false;
    box.exit_code = code;
    world_.counts.crashes += !asked;
    if (!box.planted) world_.judge.ended(machine_, name, box.copy, asked);
    const bool unnoticed = tell && random_.chance(world_.faults.lost_exits);
    world_.judge.ran(machine_, box.copy, false, (asked && !box.fenced) || !unnoticed);
    if (!tell || unnoticed) return;
    world_.time.in(random_.ms(1, 40), [this, name, code, run = machine_.run] {
        answer(run, core::ContainerExited{name_, name, code});
    });
}

void Containers::stop(const core::Stop& effect) {
    // It ends, stays and says so, or stays and is said to have ended.
    const bool stays = random_.chance(world_.faults.zombies), lies = random_.chance(300);
    operate(effect.id, effect.name, effect.grace + kOperationLimit,
            [this, name = effect.name, stays, lies]() -> Status {
                const auto at = boxes_.find(name);
                if (at == boxes_.end()) return fail(Code::kNotFound, "there is no container " + name);
                at->second.zombie = at->second.zombie || (stays && at->second.running && !world_.calm);
                if (!at->second.zombie) return end(name, 143, true, true), Status();
                world_.judge.doubt(machine_, at->second.copy);
                world_.time.in(random_.ms(1'000, 15'000), [this, name] {
                    if (boxes_.contains(name)) boxes_.at(name).zombie = false;
                });
                if (lies) return {};
                return fail(Code::kFailed, "it does not end, whatever signal it gets");
            });
}

void Containers::remove(const core::Remove& effect) {
    const bool fails = random_.chance(world_.faults.failing_runtime);
    operate(effect.id, effect.name, kOperationLimit, [this, name = effect.name, fails]() -> Status {
        const auto at = boxes_.find(name);
        if (at == boxes_.end()) return fail(Code::kNotFound, "there is no container " + name);
        if (at->second.running) return fail(Code::kConflict, "it still runs");
        if (fails) return fail(Code::kFailed, "its folder is busy");
        boxes_.erase(at);
        return {};
    });
}

void Containers::fetch(const core::FetchImage& effect) {
    const auto [at, fresh] = fetching_.try_emplace(effect.digest, machine_.run);
    if (!fresh && at->second == machine_.run) return;  // now it is urgent
    at->second = machine_.run;
    world_.time.in(pace() + random_.ms(5, 300), [this, digest = effect.digest, run = machine_.run] {
        const auto now = fetching_.find(digest);
        if (now == fetching_.end() || now->second != run) return;
        fetching_.erase(now);
        const bool fails = random_.chance(world_.faults.images) || !machine_.welcomed;
        if (!fails) images_.insert(digest);
        answer(run, core::ImageReady{digest,
                                     fails ? Status(fail(Code::kUnavailable, "the controller went away")) : Status()});
    });
}

void Containers::keep_images(const std::vector<std::string>& digests) {
    std::erase_if(images_, [&](const auto& digest) { return std::ranges::count(digests, digest) == 0; });
}

void Containers::check(const core::Check& effect) {
    const bool wrong = random_.chance(world_.faults.probes), unknown = wrong && random_.chance(300);
    world_.time.in(random_.ms(1, 15), [this, effect, wrong, unknown, run = machine_.run] {
        const auto at = boxes_.find(effect.container);
        const bool lives = at != boxes_.end() && at->second.running;
        answer(run, core::Probed{effect.id, lives && !wrong, unknown, lives ? "" : "connection refused"});
    });
}

void Containers::power_off() {
    for (auto& [name, box] : boxes_) {
        end(name, -1, false, false);
        box.created = box.zombie = box.fenced = false;
    }
    agent_gone();
    fetching_.clear();
}

void Containers::agent_gone() {
    waiting_.clear();
    for (auto& [name, box] : boxes_) box.busy = 0;
}

void Containers::crash(const std::string& name) { end(name, 139, false, true); }

void Containers::fence(const std::string& name) {
    const auto at = boxes_.find(name);
    if (at == boxes_.end()) return;
    at->second.fenced = true;
    at->second.zombie = false;
    end(name, kKilled, true, true);
}

// Everything under way is answered at once: nobody knows what became of it.
void Containers::restart() {
    const auto run = machine_.run;
    for (const auto& [id, waits] : std::map<std::uint64_t, std::uint64_t>(waiting_)) {
        if (id == 0 || waits != run) continue;
        waiting_.erase(id);
        world_.time.in(milliseconds(1), [this, id, run] {
            answer(run, core::OperationDone{id, fail(Code::kUnknown, "the engine was restarted")});
        });
    }
    world_.time.in(milliseconds(2), [this, run] { answer(run, core::ContainerExited{name_, "", 0}); });
}

void Containers::plant(const std::string& name) {
    const auto parsed = core::parse_container_name(name);
    if (!parsed) return;
    names_used_.insert(name);
    Box& box = boxes_[name];
    box.copy = parsed->copy;
    box.planted = true;
    run(name, box);
}

void Containers::heal() {
    for (auto& [name, box] : boxes_) box.zombie = false;
}

}  // namespace gantry::sim
