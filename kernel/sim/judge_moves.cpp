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

// What its agent takes for ready; a copy that it stops is so until it has ended.
void Judge::turned(const Machine& machine, const core::AgentInput& input) {
    const auto* from = std::get_if<core::FromController>(&input);
    if (!world_.setup.judged || std::holds_alternative<core::AgentTick>(input) ||
        std::holds_alternative<core::LoadMeasured>(input) ||
        (from && !std::holds_alternative<core::RestartCopy>(from->message)))
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
        const bool open = !at->second.ready.empty() && at->second.ready.back().second == kNever;  // for another gantryd
        const bool lives = !at->second.runs.empty() && at->second.runs.back().second == kNever;   // though nobody heard
        if (state == "ready" && !ready && !open && lives)
            at->second.ready.emplace_back(world_.seat.local(), kNever);
        else if (state == "running" && ready && open)
            at->second.ready.back().second = world_.seat.local();
        if (state == "ready" || state == "running") ready = state == "ready";
    }
}

void Judge::ran(const Machine& machine, const core::CopyId& copy, bool runs, bool told) {
    if (instance_of_.find(copy) == instance_of_.end()) return;
    Lived& life = lived(copy, machine.name);
    if (runs) {
        life.runs.emplace_back(world_.seat.local(), kNever);
        return;
    }
    if (!life.runs.empty()) life.runs.back().second = world_.seat.local();
    if (!life.ready.empty()) life.ready.back().second = std::min(life.ready.back().second, world_.seat.local());
    life.unsure = life.unsure || !told;  // its end went unnoticed
}

void Judge::doubt(const Machine& machine, const core::CopyId& copy) { lived(copy, machine.name).unsure = true; }

// In the step that decided it: events are told after their commit.
void Judge::decided(const core::Effects& effects) {
    for (const auto& effect : effects.acts) {
        const auto* event = std::get_if<core::Event>(&effect);
        if (!event || (event->kind != "placed" && event->kind != "returned")) continue;
        const auto service = world_.seat.core->service(field(*event, "service"));
        if (service && service->at("stopped").as_bool()) broken("nothing of a stopped service is placed", event->text);
    }
    if (!world_.setup.judged || world_.setup.faults.jumps != 0) return;  // no clock that counts from a boot jumps
    const Instant now = world_.seat.local();
    for (const auto& effect : effects.acts) {
        const auto* event = std::get_if<core::Event>(&effect);
        if (!event) continue;
        if (event->kind == "node-lost" || event->kind == "node-left" || event->kind == "node-rebooting") {
            auto& away = away_[field(*event, "node")];
            const auto* silent = event->fields.if_contains("silent_ms");
            if (silent && (away.empty() || away.back().second != kNever))
                away.emplace_back(now - milliseconds(silent->to_number<std::int64_t>()), kNever);
        } else if (event->kind == "node-ready" || event->kind == "node-returned" || event->kind == "node-cut-off") {
            auto& away = away_[field(*event, "node")];
            if (!away.empty()) away.back().second = std::min(away.back().second, now);
        } else if (event->kind == "moved" || event->kind == "move-measured") {
            moved(*event);
        }
    }
}

void Judge::moved(const core::Event& event) {
    const std::string name = field(event, "instance"), from = field(event, "from");
    const auto at = [&](const char* epoch, const std::string& node) {
        return lived_.find(name + "#" + written(event.fields.at(epoch)) + " on " + node);
    };
    const auto old = at("from_epoch", from), fresh = at("epoch", field(event, "to"));
    if (old == fresh || old == lived_.end() || fresh == lived_.end()) return;
    const Lived &a = old->second, &b = fresh->second;
    if (a.unsure || b.unsure || b.ready.empty()) return;
    ++world_.counts.measured;
    const auto judged = [&](const char* what, Duration truth) {
        const auto [least, most] = range(event.fields.at(what));
        if (truth < least - milliseconds(1) || truth > most + milliseconds(1))  // last words are told in milliseconds
            broken("value and error hold the truth",
                   std::string(what) + " of " + event.text + ": in truth " + text(truth));
    };
    // Ready and in reach for the last time before the new one was ready.
    const Instant ready = b.ready.front().first;
    Instant last{INT64_MIN};
    for (const auto& [since, until] : a.ready) {
        Instant reached = std::min(until, ready);
        const auto& away = away_[from];
        for (auto out = away.rbegin(); out != away.rend(); ++out)
            if (out->first < reached && reached < out->second) reached = out->first;
        if (reached + milliseconds(1) >= since) last = std::max(last, reached);
    }
    if (last.ns != INT64_MIN) judged("gap", std::max(ready - last, Duration(0)));
    if (event.fields.at("overlap").is_null()) return;
    Duration both{};
    for (const auto& x : a.runs)
        for (const auto& y : b.runs)
            both +=
                std::max(std::min({x.second, y.second, world_.seat.local()}) - std::max(x.first, y.first), Duration(0));
    judged("overlap", both);
}

}  // namespace gantry::sim
