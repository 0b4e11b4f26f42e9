// SPDX-License-Identifier: Apache-2.0
//
// What moves truly cost, in true time, beside what the controller says of them: value and error must hold the truth.
#include <algorithm>

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

std::string field(const core::Event& event, const char* name) { return std::string(event.fields.at(name).as_string()); }

// [least, most] of {"ms", "error_ms"}.
std::pair<Duration, Duration> range(const json::value& figure) {
    const Duration value = milliseconds(figure.at("ms").to_number<std::int64_t>());
    const Duration error = milliseconds(figure.at("error_ms").to_number<std::int64_t>());
    return {value - error, value + error};
}

std::string written(const json::value& value) { return std::to_string(value.to_number<std::uint64_t>()); }
std::string text(Duration duration) { return std::to_string(duration / std::chrono::microseconds(1)) + " us"; }

}  // namespace

std::string Judge::place_of(const core::CopyId& copy, const std::string& node) const {
    const auto at = instance_of_.find(copy);
    return at == instance_of_.end() ? "" : at->second + "#" + std::to_string(copy.epoch) + " on " + node;
}

Judge::Lived& Judge::lived(const core::CopyId& copy, const std::string& node) {
    Lived& out = lived_[place_of(copy, node)];
    out.unsure = out.unsure || (out.copy != core::CopyId() && out.copy != copy);
    out.copy = copy;
    return out;
}

// The last word of a node that the controller took. Of a hello it may have taken it or not, nor is it known whether a route
// through another node took the place of a connection.
void Judge::heard(const Machine& machine, core::PeerId peer, const core::AgentMessage& message) {
    if (std::holds_alternative<core::NodeEvent>(message) || std::holds_alternative<core::BlobRead>(message)) return;
    if (const auto* relayed = std::get_if<core::Relayed>(&message)) {
        if (const Machine* end = world_.relays.end_of(machine, relayed->route)) {
            words_[end->name].latest = world_.now();
            words_[end->name].peer = 0;
        }
    }
    const auto& id = std::visit([](const auto& m) -> const core::Identity& { return m.id; }, message);
    auto& word = words_[machine.name];
    if (std::holds_alternative<core::Hello>(message)) {
        if (std::pair(id.session, id.seq) > word.said) word.said = {id.session, id.seq};
        word.peer = peer;
        word.latest = world_.now();
        return;
    }
    if (id.session != word.said.first || id.seq <= word.said.second) return;
    word.said.second = id.seq;
    word.latest = world_.now();
    if (word.peer == peer) word.earliest = word.latest;
}

void Judge::controller_began() {
    words_.clear();
    for (auto& [place, lived] : lived_) lived.lost.reset();
}

// What its agent takes for ready; a copy that it stops is so until it has ended.
void Judge::turned(const Machine& machine, const core::AgentInput& input) {
    if (!world_.setup.judged || std::holds_alternative<core::AgentTick>(input) ||
        std::holds_alternative<core::LoadMeasured>(input) || std::holds_alternative<core::FromController>(input))
        return;
    const json::value document = machine.agent->document();
    for (const auto& entry : document.at("copies").as_array()) {
        const auto copy = core::parse_copy_id(std::string(entry.at("copy").as_string()));
        const auto at = copy ? lived_.find(place_of(*copy, machine.name)) : lived_.end();
        if (at == lived_.end()) continue;
        const auto state = entry.at("state").as_string();
        auto& [started, ready] = at->second.shown;
        const std::uint64_t attempt = entry.at("attempt").to_number<std::uint64_t>();
        if (std::exchange(started, attempt) != attempt) ready = false;
        if (state == "ready" && !ready)
            at->second.ready.emplace_back(world_.now(), kNever);
        else if (state == "running" && ready && at->second.ready.back().second == kNever)
            at->second.ready.back().second = world_.now();
        if (state == "ready" || state == "running") ready = state == "ready";
    }
}

void Judge::ran(const Machine& machine, const core::CopyId& copy, bool runs, bool told) {
    if (instance_of_.find(copy) == instance_of_.end()) return;
    Lived& life = lived(copy, machine.name);
    if (runs) {
        life.runs.emplace_back(world_.now(), kNever);
        return;
    }
    if (!life.runs.empty()) life.runs.back().second = world_.now();
    if (!life.ready.empty()) life.ready.back().second = std::min(life.ready.back().second, world_.now());
    life.unsure = life.unsure || !told;  // its end went unnoticed
}

void Judge::doubt(const Machine& machine, const core::CopyId& copy) { lived(copy, machine.name).unsure = true; }

// In the step that decided it: events are told after their commit.
void Judge::decided(const core::Effects& effects) {
    if (!world_.setup.judged || world_.setup.faults.jumps != 0) return;  // no clock that counts from a boot jumps
    for (const auto& effect : effects.acts) {
        const auto* event = std::get_if<core::Event>(&effect);
        if (!event) continue;
        if (event->kind == "node-lost" || event->kind == "node-left" || event->kind == "node-rebooting") {
            const std::string node = field(*event, "node");
            const Word& word = words_[node];
            for (auto& [place, life] : lived_)
                if (word.latest != Instant() && place.ends_with(" on " + node) && !life.lost)
                    life.lost = {word.earliest, word.latest};
        } else if (event->kind == "moved" || event->kind == "move-measured") {
            moved(*event);
        }
    }
}

void Judge::moved(const core::Event& event) {
    const std::string name = field(event, "instance");
    const auto at = [&](const char* epoch, const char* node) {
        return lived_.find(name + "#" + written(event.fields.at(epoch)) + " on " + field(event, node));
    };
    const auto old = at("from_epoch", "from"), fresh = at("epoch", "to");
    if (old == lived_.end() || fresh == lived_.end()) return;
    if (old == fresh) return old->second.lost.reset();
    const Lived &a = old->second, &b = fresh->second;
    if (!event.fields.at("complete").as_bool() || a.unsure || b.unsure || b.ready.empty()) return;
    ++world_.counts.measured;
    // Figures are in seconds of the controller's clock, which may run as wrong as it is assumed to.
    const auto drift = [&](Duration of) { return of / 1'000'000 * world_.setup.timing.drift_ppm + milliseconds(1); };
    const auto judged = [&](const char* what, Duration least, Duration most) {
        auto [from, to] = range(event.fields.at(what));
        from -= drift(from);
        to += drift(to);
        if (from > std::max(most, Duration(0)) || to < std::max(least, Duration(0)))
            broken("value and error hold the truth",
                   std::string(what) + " of " + event.text + ": in truth " + text(least) + " to " + text(most));
    };
    // How often a copy was ready within one run is not recorded.
    if (a.ready.size() == 1) {
        const Instant ready = b.ready.front().first, end = a.ready.front().second;
        const auto lost = a.lost.value_or(std::pair(kNever, kNever));
        const Instant first = std::min(end, lost.first), last = std::min(end, lost.second);
        judged("gap", last == kNever ? Duration(0) : ready - last, first == kNever ? Duration(0) : ready - first);
    }
    Duration both{};
    for (const auto& x : a.runs)
        for (const auto& y : b.runs)
            both += std::max(std::min({x.second, y.second, world_.now()}) - std::max(x.first, y.first), Duration(0));
    judged("overlap", both, both);
}

}  // namespace gantry::sim
