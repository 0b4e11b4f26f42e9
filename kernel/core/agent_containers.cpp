// SPDX-License-Identifier: Apache-2.0
//
// What the node has: containers as their runtimes list them, and the operations under way on them.
#include <algorithm>

#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kListAgain = seconds(1);       // after a list failed
constexpr Duration kListSometimes = seconds(30);  // should every hint be missed
constexpr Duration kStopAgain = seconds(5);

}  // namespace

std::string Agent::State::name_of(const ContainerKey& key) const {
    return container_name(cluster_id_, key.copy, key.attempt);
}

Agent::State::Copy* Agent::State::owner(const ContainerKey& key) {
    const auto at = copies_.find(key.copy);
    return at != copies_.end() && at->second.current == key ? &at->second : nullptr;
}

// --- lists ----------------------------------------------------------------------------------------------------------

void Agent::State::ask(const std::string& name, Runtime& runtime) {
    runtime.asking = true;
    runtime.ask_again = false;
    runtime.began = turn_;
    runtime.asked_at = now_;
    runtime.list_at = kNever;
    out_.emplace_back(ListContainers{name});
}

void Agent::State::want_list(const std::string& name) {
    const auto at = runtimes_.find(name);
    if (at == runtimes_.end()) return;
    if (at->second.asking)
        at->second.ask_again = true;
    else
        ask(name, at->second);
}

// The same for what waits for a list turn after turn: after a failure the next one has its time already.
void Agent::State::need_list(const std::string& name) {
    const auto& runtime = runtimes_[name];
    if (!runtime.asking && runtime.trouble.empty()) want_list(name);
}

void Agent::State::look(const std::string& name, Runtime& runtime) {
    if (!runtime.asking && now_ >= runtime.list_at) ask(name, runtime);
    wait_until(runtime.list_at);
}

void Agent::State::on(const ContainersListed& input) {
    const auto at = runtimes_.find(input.runtime);
    if (at == runtimes_.end() || !started_) return;
    Runtime& runtime = at->second;
    if (!runtime.asking) return want_list(input.runtime);
    runtime.asking = false;
    runtime.answered = true;
    if (input.result) {
        runtime.listed = true;
        runtime.trouble.clear();
        runtime.list_at = now_ + kListSometimes;
        take_list(input.runtime, runtime, *input.result);
        runtime.gone.clear();
    } else {
        runtime.gone.clear();
        const auto trouble = one_line(input.result.error().text(), kReasonMost);
        if (trouble != runtime.trouble)
            event("runtime-trouble",
                  facts_.node + ": the containers of " + input.runtime + " cannot be listed: " + trouble,
                  {{"runtime", input.runtime}});
        runtime.trouble = trouble;
        runtime.list_at = now_ + kListAgain;
        return;
    }
    if (runtime.ask_again) ask(input.runtime, runtime);
}

void Agent::State::take_list(const std::string& name, Runtime& runtime, const std::vector<Seen>& seen) {
    runtime.unclaimed.clear();
    std::set<ContainerKey> there;
    for (const auto& s : seen) {
        const auto parsed = parse_container_name(s.name);
        if (!parsed) continue;
        if (cluster_id_.empty()) {
            runtime.unclaimed.push_back(s);
            continue;
        }
        if (container_name(cluster_id_, parsed->copy, parsed->attempt) != s.name) continue;
        const ContainerKey key{parsed->copy, parsed->attempt, name};
        if (there.insert(key).second) see(key, s, runtime);
    }
    for (auto at = containers_.begin(); at != containers_.end();) {
        const auto next = std::next(at);
        if (at->first.runtime == name && !there.contains(at->first)) miss(at, runtime);
        at = next;
    }
    if (looked_)
        for (auto& [id, copy] : copies_) adopt(id, copy);
}

void Agent::State::see(const ContainerKey& key, const Seen& seen, Runtime& runtime) {
    if (runtime.gone.contains(key)) return;
    const auto [at, fresh] = containers_.try_emplace(key);
    Container& container = at->second;
    if (!fresh && (container.doing != Doing::kNothing || container.touched > runtime.began)) {
        if (container.unsure && container.doing == Doing::kNothing) runtime.ask_again = true;
        return;
    }
    const Is before = container.is;
    container.unsure = container.missed = false;
    container.is = seen.running ? Is::kRunning : seen.created ? Is::kCreated : Is::kExited;
    container.exit_code = seen.exit_code;
    container.detail = one_line(seen.detail, kReasonMost);
    container.never_ran = seen.created && !seen.running;
    container.paused = seen.running && seen.paused;
    if (seen.running) record_seen(key, runtime.asked_at);
    // It had not begun yet; an earlier start may be under way.
    if (seen.created && (fresh || container.may_start)) container.start_at = runtime.asked_at;
    container.may_start = container.may_start || fresh;
    if (fresh) {
        take_held(key, container);
        if (without_state_) raise_floor();  // there must have been one
        return;
    }
    Copy* copy = owner(key);
    if (!copy) return;
    if (container.is == Is::kRunning) {
        container.start_failed = false;
        container.trouble.clear();
        if (copy->running_since == kNever) runs(*copy, false);
    } else if (before != Is::kExited && (container.is == Is::kExited || container.start_failed)) {
        ended(*copy, container);
    }
}

void Agent::State::miss(std::map<ContainerKey, Container>::iterator at, Runtime& runtime) {
    Container& container = at->second;
    if (container.doing != Doing::kNothing) return;
    if (container.touched > runtime.began) {
        if (container.unsure) runtime.ask_again = true;
        return;
    }
    // One list without it may have been taken while the runtime was being restarted. What a start of which nothing is
    // known became may run as well.
    const bool may_run = container.is == Is::kRunning || container.start_failed;
    if (may_run && !container.missed) {
        container.missed = container.unsure = runtime.ask_again = true;
        return;
    }
    erase(at, container.trouble.empty() ? "its container is gone" : container.trouble);
}

void Agent::State::erase(std::map<ContainerKey, Container>::iterator at, const std::string& why) {
    if (Copy* copy = owner(at->first)) {
        const bool known_end = at->second.is == Is::kExited;
        copy->current.reset();
        copy->running_since = kNever;
        if (!known_end) crash(*copy, why);
    }
    if (const auto record = records_.find(at->first); record != records_.end() && !record->second.ended)
        record_end(record->second, at->second);
    if (at->second.leased) out_.emplace_back(Disarm{name_of(at->first)});
    if (auto& runtime = runtimes_[at->first.runtime]; runtime.asking) runtime.gone.insert(at->first);
    containers_.erase(at);
}

void Agent::State::on(const ContainerExited& input) {
    if (!started_) return;
    if (const auto parsed = parse_container_name(input.name)) {
        const auto at = containers_.find({parsed->copy, parsed->attempt, input.runtime});
        if (at != containers_.end() && name_of(at->first) == input.name) {
            at->second.unsure = true;
            at->second.hint_at = now_;
        }
    }
    want_list(input.runtime);
}

// --- operations -----------------------------------------------------------------------------------------------------

std::uint64_t Agent::State::begin(const ContainerKey& key, Container& container, Doing what) {
    container.doing = what;
    container.touched = turn_;
    operations_[++last_id_] = key;
    return last_id_;
}

void Agent::State::on(const OperationDone& input) {
    const auto operation = operations_.extract(input.id);
    if (!operation) return;
    const auto at = containers_.find(operation.mapped());
    if (at == containers_.end()) return;
    const Doing what = std::exchange(at->second.doing, Doing::kNothing);
    at->second.touched = turn_;
    done(at->first, at->second, what, input.result);
}

void Agent::State::done(const ContainerKey& key, Container& container, Doing what, const Status& result) {
    const bool unknown = !result && result.error().code == Code::kUnknown;
    const std::string error = result ? "" : one_line(result.error().text(), kReasonMost);
    Copy* copy = owner(key);
    if (!result) container.unsure = true;
    switch (what) {
        case Doing::kNothing:
            break;
        case Doing::kCreating:
            if (result) break;
            container.trouble = "cannot be created: " + error;
            if (unknown) break;
            if (result.error().code == Code::kNotFound && copy)
                if (const auto* spec = spec_of(*copy)) {
                    runtimes_[key.runtime].images.erase(spec->image_digest);
                    out_.emplace_back(ListImages{key.runtime});
                }
            // A failed create leaves nothing behind.
            return erase(containers_.find(key), container.trouble);
        case Doing::kStarting:
            if (result) {
                container.is = Is::kRunning;
                if (copy) runs(*copy, false);
                break;
            }
            container.trouble = "cannot be started: " + error;
            container.start_failed = true;
            container.may_start = unknown;
            break;
        case Doing::kStopping:
            if (result) {
                container.is = Is::kExited;
                container.cannot_stop = false;
                container.trouble.clear();
                if (copy) ended(*copy, container);
                break;
            }
            if (!container.cannot_stop)
                event_of_report("cannot-stop", facts_.node + ": " + name_of(key) + " cannot be stopped: " + error,
                                {{"container", name_of(key)}});
            container.cannot_stop = true;
            container.trouble = "cannot be stopped: " + error;
            container.retry_at = now_ + kStopAgain;
            break;
        case Doing::kRemoving:
            if (result) return erase(containers_.find(key), "");
            container.trouble = "cannot be removed: " + error;
            container.retry_at = now_ + kStopAgain;
            break;
    }
    // It ended meanwhile, or what happened is not known: the list tells.
    if (container.unsure) want_list(key.runtime);
}

// One step further on the way out: stopped, removed.
void Agent::State::drive_out(const ContainerKey& key, Container& container) {
    if (container.doing != Doing::kNothing) return;
    if (container.unsure) return need_list(key.runtime);
    if (now_ < container.retry_at) return wait_until(container.retry_at);
    if (container.is == Is::kRunning) {
        container.asked_to_stop = true;
        if (container.end_at == Instant()) container.end_at = now_;
        const auto id = begin(key, container, Doing::kStopping);
        out_.emplace_back(Stop{id, key.runtime, name_of(key), container.grace});
    } else {
        const auto id = begin(key, container, Doing::kRemoving);
        out_.emplace_back(Remove{id, key.runtime, name_of(key)});
    }
}

}  // namespace gantry::core
