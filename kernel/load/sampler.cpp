// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/sampler.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "kernel/base/limits.hpp"

namespace gantry::load {
namespace {

using Value = std::optional<std::int64_t>;

constexpr std::int64_t kMost = std::int64_t{1} << 53;
constexpr std::int64_t kMostMilli = 1'000'000;  // a thousand cores

// What differs from what was told by at most `least` and a share of it is told as it was.
void settle(Value& told, const Value& now, std::int64_t least, std::int64_t share = kMost) {
    if (told && now && std::abs(*now - *told) <= std::max(least, *told / share)) return;
    told = now;
}

}  // namespace

std::optional<core::Usage> Sampler::sample(const std::vector<core::Agent::Running>& running) {
    const auto now = parts_.clock();
    if (now - read_at_ >= parts_.period || read_at_ == Instant{}) {
        read_at_ = now;
        read();
        std::map<std::string, Container> here;
        for (const auto& container : running) {
            if (auto known = containers_.extract(container.place.container)) here.insert(std::move(known));
            here[container.place.container].told.copy = container.copy;
        }
        containers_ = std::move(here);
        // In rotation, so that many containers cost no more than some.
        auto at = std::ranges::find_if(running, [&](const auto& c) { return c.copy > last_asked_; });
        for (std::size_t asked = 0; asked < std::min(running.size(), kAskedAtOnce); ++asked, ++at) {
            if (at == running.end()) at = running.begin();
            last_asked_ = at->copy;
            ask(at->place);
        }
    }
    const Duration stale = kStale * parts_.period;
    if (now - machine_.at > stale) take({});
    if (now - heat_at_ > stale) told_.temperature_c.reset();
    const Duration rounds = parts_.period * (running.size() / kAskedAtOnce);
    told_.copies.clear();
    for (const auto& container : running) {
        const auto at = containers_.find(container.place.container);
        if (at != containers_.end() && at->second.cpu_ns >= 0 && now - at->second.at <= stale + rounds &&
            told_.copies.size() < limits::kNodeCopies)
            told_.copies.push_back(at->second.told);
    }
    return known_ ? std::optional(told_) : std::nullopt;
}

void Sampler::read() {
    if (!std::exchange(reading_machine_, true)) {
        const auto found = std::make_shared<Machine>();
        parts_.machine(
            [found, disk = parts_.disk, root = parts_.root, clock = parts_.clock] {
                found->traffic = traffic_now(root);
                found->at = clock();
                found->cpu = pressure_now("cpu", root);
                found->memory = pressure_now("memory", root);
                found->io = pressure_now("io", root);
                found->disk = disk_now(disk);
            },
            [this, found](const Status& ran) {
                reading_machine_ = false;
                known_ = true;
                if (ran) take(*found);
            });
    }
    if (std::exchange(reading_heat_, true)) return;
    const auto found = std::make_shared<Value>();
    parts_.heat([found, root = parts_.root] { *found = temperature_now(root); },
                [this, found](const Status&) {
                    reading_heat_ = false;
                    known_ = true;
                    heat_at_ = parts_.clock();
                    settle(told_.temperature_c, *found, 1);
                });
}

void Sampler::take(const Machine& machine) {
    const auto& disk = machine.disk;
    settle(told_.disk_total_bytes, disk ? Value(disk->total_bytes) : Value(), 0);
    settle(told_.disk_free_bytes, disk ? Value(disk->free_bytes) : Value(), disk ? disk->total_bytes / 1'000 : 0);
    std::optional<Rates> rate;
    if (machine_.traffic && machine.traffic)
        rate = rates(*machine_.traffic, *machine.traffic, machine.at - machine_.at);
    settle(told_.received_per_s, rate ? Value(rate->received_per_s) : Value(), 500, 8);
    settle(told_.sent_per_s, rate ? Value(rate->sent_per_s) : Value(), 500, 8);
    settle(told_.pressure_cpu, machine.cpu, 5, 8);
    settle(told_.pressure_memory, machine.memory, 5, 8);
    settle(told_.pressure_io, machine.io, 5, 8);
    machine_ = machine;
}

void Sampler::ask(const core::Agent::CopyPlace& place) {
    if (std::exchange(containers_[place.container].asked, true)) return;
    parts_.ask(place, [this, name = place.container,
                       alive = std::weak_ptr(alive_)](const Result<host::ContainerStats>& stats) {
        if (alive.expired()) return;
        const auto at = containers_.find(name);
        if (at == containers_.end()) return;
        at->second.asked = false;
        known_ = true;
        if (stats) answered(at->second, *stats, parts_.clock());
    });
}

// A running container has used some time and memory and has a process: zero says that it was not measured.
void Sampler::answered(Container& container, const host::ContainerStats& stats, Instant now) {
    const auto sane = [](std::int64_t value) { return value > 0 && value <= kMost ? Value(value) : Value(); };
    const auto passed = (now - container.at).count(), used = stats.cpu.count() - container.cpu_ns;
    Value milli;
    if (stats.cpu.count() > 0 && container.cpu_ns > 0 && passed > 0 && used >= 0 && used / passed <= kMostMilli / 1'000)
        milli = static_cast<std::int64_t>(static_cast<double>(used) * 1'000 / static_cast<double>(passed) + 0.5);
    settle(container.told.cpu_milli, milli, 10, 16);
    settle(container.told.memory_bytes, sane(stats.memory_bytes), 1 << 20, 64);
    settle(container.told.pids, sane(stats.pids), 0);
    container.cpu_ns = std::max(std::int64_t{0}, std::int64_t{stats.cpu.count()});
    container.at = now;
}

}  // namespace gantry::load
