// SPDX-License-Identifier: Apache-2.0
//
// What the node should have: each copy of the list one step nearer to running.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kLinger = milliseconds(300);  // within faults.md 6: gone a second after the new one is ready

void add_unless_there(Labels& env, std::string name, std::string value) {
    const auto same = [&](const auto& variable) { return variable.first == name; };
    if (std::none_of(env.begin(), env.end(), same)) env.emplace_back(std::move(name), std::move(value));
}

}  // namespace

// --- the list -------------------------------------------------------------------------------------------------------

void Agent::State::take_entries(const std::vector<ListEntry>& entries) {
    std::map<CopyId, Copy> next;
    for (const auto& entry : entries) {
        auto known = copies_.extract(entry.copy);
        Copy copy;
        if (known) {
            copy = std::move(known.mapped());
        } else {
            if (entry.forbid && current_ != 0) next_heartbeat_ = now_;  // the sooner it is granted
            copy.attempt = attempt_floor_;
            if (const auto spent = spent_.extract(entry.copy)) copy.attempt = std::max(copy.attempt, spent.mapped());
        }
        copy.entry = entry;
        copy.held = false;
        next.emplace(entry.copy, std::move(copy));
    }
    for (const auto& [id, gone] : copies_) {
        spend(id, gone.attempt);
        // Another one answers to its names: directories that have not heard of it yet send nobody to a stopped copy.
        if (gone.ready && gone.current && replaced_elsewhere(id))
            containers_.at(*gone.current).retry_at = now_ + kLinger;
    }
    copies_ = std::move(next);
    for (auto& [id, copy] : copies_)
        if (!copy.current) adopt(id, copy);
    forget_specs();
    names_changed_ = true;
}

// Takes what is there already: the newest container that runs, or the last one made in this boot.
void Agent::State::adopt(const CopyId& id, Copy& copy) {
    if (copy.current || !looked_) return;
    std::map<ContainerKey, Container>::iterator best = containers_.end();
    for (auto at = containers_.lower_bound({id, 0, {}}); at != containers_.end() && at->first.copy == id; ++at) {
        if (at->first.attempt > copy.attempt) {
            copy.attempt = at->first.attempt;
            dirty_ = true;
        }
        Container& container = at->second;
        if (lease_ended(at->first, container, copy.entry.forbid)) continue;
        if (container.asked_to_stop || container.doing == Doing::kStopping || container.doing == Doing::kRemoving)
            continue;
        const bool runs_now = container.is == Is::kRunning;
        const bool last_one = same_boot_ && !copy.held && at->first.attempt == copy.attempt;
        if (runs_now || (last_one && best == containers_.end())) best = at;
    }
    if (best == containers_.end()) return;
    copy.current = best->first;
    if (copy.restarting != best->first.attempt) copy.restarting = 0;
    copy.first_start = false;
    Container& container = best->second;
    if (container.is == Is::kRunning) {
        copy.held = false;
        runs(copy, true);
        event("container-adopted", instance_name(copy.entry) + " runs on as " + name_of(best->first),
              {{"service", copy.entry.service}, {"instance", instance_name(copy.entry)}});
    } else if (container.is == Is::kExited) {
        ended(copy, container);
    }
}

// A list that names a newer spec, with another secret say, restarts nothing: until that spec has come, what runs is run
// by the one it has.
const std::string& Agent::State::digest_of(const Copy& copy) const {
    const bool stands_in = copy.running_since != kNever && specs_.contains(copy.runs_by);
    return stands_in && !specs_.contains(copy.entry.spec_digest) ? copy.runs_by : copy.entry.spec_digest;
}

const CopySpec* Agent::State::spec_of(const Copy& copy) const {
    const auto at = specs_.find(digest_of(copy));
    return at == specs_.end() ? nullptr : &at->second;
}

void Agent::State::forget_specs() {
    std::set<std::string> used;
    for (const auto& [id, copy] : copies_) {
        used.insert(copy.entry.spec_digest);
        if (!specs_.contains(copy.entry.spec_digest)) used.insert(copy.runs_by);
    }
    std::erase_if(specs_, [&](const auto& spec) { return !used.contains(spec.first); });
}

std::string Agent::State::runtime_of(const CopySpec& spec) const {
    if (spec.spec.runtime.empty()) return facts_.runtimes.empty() ? "" : facts_.runtimes.front().name;
    return runtimes_.contains(spec.spec.runtime) ? spec.spec.runtime : "";
}

// --- one step of one copy -------------------------------------------------------------------------------------------

void Agent::State::drive(const CopyId& id, Copy& copy) {
    const bool was_ready = std::exchange(copy.ready, false);
    copy.waiting.clear();
    const auto* spec = spec_of(copy);
    std::string leftover;
    for (auto at = containers_.lower_bound({id, 0, {}}); at != containers_.end() && at->first.copy == id; ++at) {
        if (copy.current == at->first || copy.held) continue;
        drive_out(at->first, at->second);
        leftover = at->second.fenced ? "fenced: its lease is over; " : "";
        leftover += "waits until " + name_of(at->first) + " is gone";
        if (!at->second.trouble.empty()) leftover += ", which " + at->second.trouble;
    }
    if (copy.current) {
        drive_current(id, copy, spec);
    } else if (copy.held) {
        copy.waiting = "waits for a controller after a reboot";
    } else if (!spec) {
        copy.waiting = "waits for its description";
    } else if (const auto name = runtime_of(*spec); name.empty()) {
        copy.waiting = "this node has no runtime " + spec->spec.runtime;
    } else if (const auto& runtime = runtimes_[name]; !runtime.listed) {
        copy.waiting = "the containers of " + name + " cannot be listed: " + runtime.trouble;
    } else if (!leftover.empty()) {
        copy.waiting = leftover;
    } else if (now_ < copy.restart_at) {
        copy.waiting = copy.last_end;
        wait_until(copy.restart_at);
    } else if (!runtime.images.contains(spec->image_digest)) {
        copy.waiting = image_reason(spec->image_digest);
    } else if (has_ports(id, copy, spec->spec)) {
        create(id, copy, *spec, name);
    }
    if (was_ready == copy.ready) return;
    names_changed_ = true;
    if (copy.current) record_ready(*copy.current, copy.ready);
}

void Agent::State::drive_current(const CopyId& id, Copy& copy, const CopySpec* spec) {
    const ContainerKey key = *copy.current;
    Container& container = containers_.at(key);
    if (spec) container.grace = spec->spec.stop_grace;
    if (container.doing != Doing::kNothing) return;
    if (container.unsure) return need_list(key.runtime);
    if (container.is == Is::kCreated) {
        if (!may_start(copy, container)) return;
        if (!std::exchange(container.may_start, true)) container.start_at = now_;
        const auto start = begin(key, container, Doing::kStarting);
        out_.emplace_back(Start{start, key.runtime, name_of(key)});
    } else if (container.is == Is::kExited) {
        copy.waiting = copy.last_end;
        if (!container.trouble.empty()) copy.waiting += ", " + container.trouble;
        const Instant at = std::max(copy.restart_at, container.retry_at);
        if (now_ < at) return wait_until(at);
        const auto remove = begin(key, container, Doing::kRemoving);
        out_.emplace_back(Remove{remove, key.runtime, name_of(key)});
    } else {
        if (spec && spec->spec.ports_to_choose() != 0 && ports_of(copy).empty() && container.condemned.empty())
            container.condemned = "nobody knows any more which port it was given";
        if (spec && container.condemned.empty() && copy.restarting == 0) probe(id, copy, *spec);
        if (!container.condemned.empty() || copy.restarting != 0) {
            copy.ready = false;
            return condemn(key, container);
        }
        if (copy.crashes == 0) return;
        const Instant stable = copy.running_since + timing_.stable_after;
        if (now_ >= stable)
            copy.crashes = 0;
        else
            wait_until(stable);
    }
}

void Agent::State::create(const CopyId& id, Copy& copy, const CopySpec& spec, const std::string& runtime) {
    ++copy.attempt;
    copy.restarting = 0;
    dirty_ = true;
    if (!std::exchange(copy.first_start, false)) ++copy.restarts;
    const ContainerKey key{id, copy.attempt, runtime};
    Container& container = containers_[key];
    container.grace = spec.spec.stop_grace;
    copy.current = key;
    give_ports(key, copy, spec.spec);
    const auto operation = begin(key, container, Doing::kCreating);
    out_.emplace_back(Create{operation, runtime, wanted(id, copy, spec)});
}

void Agent::State::runs(Copy& copy, bool adopted) {
    copy.running_since = now_;
    copy.adopted = adopted;
    copy.probed_spec.clear();
    copy.probes.clear();
}

void Agent::State::ended(Copy& copy, Container& container) {
    copy.exit_code = container.exit_code;
    std::string what =
        container.start_failed ? container.trouble : "exited with " + std::to_string(container.exit_code);
    if (!container.start_failed && !container.detail.empty()) what += " (" + container.detail + ")";
    if (!container.condemned.empty()) what = container.condemned;
    container.is = Is::kExited;
    container.start_failed = false;
    container.trouble.clear();
    copy.probes.clear();
    crash(copy, what);
}

void Agent::State::crash(Copy& copy, const std::string& what) {
    if (copy.running_since != kNever && now_ - copy.running_since >= timing_.stable_after) copy.crashes = 0;
    copy.running_since = kNever;
    if (copy.restarting != 0) {
        copy.last_end = "restarted by hand";
        copy.restart_at = now_;
        return;
    }
    ++copy.crashes;
    copy.last_end = what;
    copy.restart_at = now_ + pause_after(copy);
    event_of_report(
        "container-exited",
        instance_name(copy.entry) + ": " + what + " (" + std::to_string(copy.crashes) + " in a row)",
        {{"service", copy.entry.service}, {"instance", instance_name(copy.entry)}, {"crashes", copy.crashes}});
}

// Answered when it is saved: whatever becomes of gantryd then, it is done, and is no crash.
void Agent::State::restart(PeerId peer, const RestartCopy& message) {
    LogData answer{identity(), message.stream, true, {}};
    const auto at = copies_.find(message.copy);
    Copy* copy = at == copies_.end() ? nullptr : &at->second;
    const Container* container = copy && copy->current ? &containers_.at(*copy->current) : nullptr;
    if (container && container->is != Is::kExited && container->condemned.empty()) {
        copy->restarting = copy->current->attempt;
        dirty_ = true;
    } else if (copy && (container || (!copy->held && now_ < copy->restart_at))) {
        copy->restart_at = now_;  // it waits after a crash
    } else {
        answer.error =
            copy ? "it does not run: " + copy->waiting : "no copy " + message.copy.text() + " is to run here";
    }
    out_.emplace_back(Send{peer, std::move(answer)});
}

// Doubles with every crash of a row, and is up to an eighth longer: what failed together is not started together.
Duration Agent::State::pause_after(const Copy& copy) const {
    constexpr std::int64_t kSteps = 128;
    Duration pause = timing_.restart_delay;
    for (std::uint32_t i = 1; i < copy.crashes && pause < timing_.restart_delay_max; ++i) pause *= 2;
    pause = std::min(pause, timing_.restart_delay_max);
    const auto hash = fnv1a(facts_.node_id + copy.entry.copy.text() + "/" + std::to_string(copy.crashes));
    return pause + pause / (8 * kSteps) * static_cast<std::int64_t>((hash >> 32) % kSteps);
}

// --- what a container gets ------------------------------------------------------------------------------------------

std::string Agent::State::own_address() const {
    if (!facts_.advertise.empty()) return facts_.advertise;
    return address_.empty() ? "127.0.0.1" : address_;
}

ContainerWanted Agent::State::wanted(const CopyId& id, const Copy& copy, const CopySpec& spec) const {
    ContainerWanted out;
    out.name = name_of(*copy.current);
    out.image_digest = spec.image_digest;
    out.service = copy.entry.service;
    out.spec = spec.spec;
    out.env = spec.spec.env;
    if (facts_.directory_port != 0 && !facts_.directory_environment.empty()) {
        const std::string address = own_address();
        std::string servers = address.find(':') == std::string::npos ? address : "[" + address + "]";
        servers += ":" + std::to_string(facts_.directory_port);
        if (!facts_.position_servers.empty()) servers += "," + facts_.position_servers;
        add_unless_there(out.env, facts_.directory_environment, servers);
    }
    add_unless_there(out.env, "GANTRY_SERVICE", copy.entry.service);
    add_unless_there(out.env, "GANTRY_INSTANCE", std::to_string(id.instance.index));
    add_unless_there(out.env, "GANTRY_NODE", facts_.node);
    add_unless_there(out.env, "GANTRY_EPOCH", std::to_string(id.epoch));
    const auto chosen = spec.spec.ports_to_choose();
    for (std::size_t i = 0; i < out.spec.endpoints.size(); ++i) {
        auto& endpoint = out.spec.endpoints[i];
        const bool the_one = out.spec.endpoints.size() == 1 || (chosen == 1 && endpoint.port == 0);
        endpoint.port = spec.spec.port(i, ports_of(copy));
        if (!endpoint.name.empty()) add_unless_there(out.env, endpoint.variable(), std::to_string(endpoint.port));
        if (the_one) add_unless_there(out.env, "PORT", std::to_string(endpoint.port));
    }
    std::sort(out.env.begin(), out.env.end());
    out.labels = {{"gantry.attempt", std::to_string(copy.attempt)},
                  {"gantry.cluster", cluster_id_},
                  {"gantry.copy", id.text()},
                  {"gantry.instance", instance_name(copy.entry)},
                  {"gantry.node", facts_.node},
                  {"gantry.service", copy.entry.service}};
    return out;
}

}  // namespace gantry::core
