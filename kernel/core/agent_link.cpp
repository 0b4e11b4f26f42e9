// SPDX-License-Identifier: Apache-2.0
//
// The conversation with controllers: hello, reports, heartbeats, lists.
#include <algorithm>
#include <utility>

#include "kernel/base/limits.hpp"
#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kPullListAgain = milliseconds(300), kPullSpecsAgain = milliseconds(500);
constexpr Duration kReportAgain = seconds(1), kUsageAgain = seconds(60), kTellAgain = seconds(60);
constexpr std::uint32_t kBeatsBetweenReports = 5;
constexpr std::size_t kShortReason = 60;
constexpr std::size_t kSpecsPerPull = 16;
constexpr std::int64_t kHeartbeatMinMs = 10;
constexpr Duration kWelcomeLimit = seconds(5);  // a hello may get lost; the connection is then made anew

}  // namespace

Identity Agent::State::identity() { return {facts_.node_id, facts_.boot_id, facts_.session, ++seq_}; }

// --- connections ----------------------------------------------------------------------------------------------------

void Agent::State::on(const Connected& input) {
    peers_[input.peer].through_node = input.through_node;
    if (looked_) hello(input.peer);
}

// Only after every runtime was asked for its list. What is said to be applied counts over reboots, and a table of names
// too: of anything older nothing would be accepted, and the controller must know.
void Agent::State::hello(PeerId peer) {
    out_.emplace_back(Send{
        peer, Hello{identity(), facts_.node, cluster_id_, facts_.advertise, facts_.labels, facts_.runtimes,
                    facts_.probes, facts_.cpu_milli, facts_.memory_bytes, std::max(applied_, ListNo{names_.term, 0}),
                    facts_.version, facts_.ask_port, facts_.drills, true, true, true}});
    Peer& state = peers_[peer];
    state.give_up = now_ + kWelcomeLimit;
    if (state.hello_at == Instant()) state.hello_at = now_;
}

void Agent::State::on(const Disconnected& input) {
    peers_.erase(input.peer);
    if (input.peer == current_) choose_controller();
}

void Agent::State::choose_controller() {
    end_relays();
    const PeerId before = std::exchange(current_, 0);
    std::uint64_t newest = 0;
    for (const auto& [peer, state] : peers_) {
        if (!state.welcomed || state.order <= newest) continue;
        newest = state.order;
        current_ = peer;
    }
    clock_known_ = clock_known_ && current_ == before;
    last_report_.reset();
    usage_due_ = {};
    next_heartbeat_ = current_ != 0 ? now_ + heartbeat_ : kNever;
    pull_specs_at_ = {};
    pulled_list_at_ = {INT64_MIN / 2};
}

// The same once a minute.
void Agent::State::tell_refusal(std::string kind, const std::string& reason) {
    if (reason == last_refusal_ && now_ - refused_at_ < kTellAgain) return;
    event(std::move(kind), facts_.node + ": " + reason);
    refused_at_ = now_;
    last_refusal_ = reason;
}

void Agent::State::leave(PeerId peer, const std::string& reason) {
    tell_refusal("controller-refused", reason);
    out_.emplace_back(DropPeer{peer, reason});
    peers_[peer].welcomed = false;
    peers_[peer].give_up = kNever;
    if (peer == current_) choose_controller();
}

void Agent::State::give_up_waiting() {
    for (auto& [peer, state] : peers_) {
        if (now_ >= state.give_up) {
            state.give_up = kNever;
            out_.emplace_back(DropPeer{peer, "no answer to the hello within " + format_duration(kWelcomeLimit)});
        }
        wait_until(state.give_up);
    }
}

void Agent::State::welcome(PeerId peer, const Welcome& message) {
    if (!cluster_id_.empty() && message.cluster_id != cluster_id_)
        return leave(peer, "this node belongs to cluster " + cluster_id_ + ", the controller to " + message.cluster_id +
                               ": nothing of it is done here; to join, remove the node's state file");
    if (cluster_id_.empty()) {
        cluster_id_ = message.cluster_id;
        dirty_ = true;
        for (auto& [name, runtime] : runtimes_) take_list(name, runtime, std::vector(runtime.unclaimed));
    }
    if (!message.address.empty() && message.address != address_) {
        address_ = message.address;
        dirty_ = names_changed_ = true;
    }
    peers_[peer] = {true, ++welcomes_, kNever, peers_[peer].through_node, peers_[peer].hello_at};
    heartbeat_ = milliseconds(std::max(message.heartbeat_ms, kHeartbeatMinMs));
    timing_.restart_delay = milliseconds(message.restart_delay_ms);
    timing_.stable_after = milliseconds(message.stable_after_ms);
    timing_.crashes_to_move = message.crashes_to_move;
    timing_.restart_delay_max = milliseconds(message.restart_delay_max_ms);
    timing_.lease = milliseconds(message.lease_ms);
    choose_controller();
    compare_clocks(peers_[peer].hello_at, message.at);
    tell_again();
    // What failed for want of a controller is tried again at once.
    for (auto& [digest, fetch] : fetches_) fetch.retry_at = {};
    say_leaving();
}

void Agent::State::on(const FromController& input) {
    const auto at = peers_.find(input.peer);
    if (at == peers_.end() || !looked_) return;
    if (const auto* m = std::get_if<Welcome>(&input.message)) return welcome(input.peer, *m);
    if (const auto* m = std::get_if<Refused>(&input.message))
        return leave(input.peer, "refused by the controller: " + one_line(m->reason, kReasonMost));
    if (!at->second.welcomed) return;
    if (const auto* m = std::get_if<HeartbeatAck>(&input.message)) {
        if (input.peer == current_) {
            take_grants(*m);
            if (const auto beat = beats_sent_.find(m->beat); beat != beats_sent_.end())
                compare_clocks(beat->second, m->at);
            take_runs_no(*m);
        }
        take_ack(*m);
    }
    if (const auto* m = std::get_if<NodeList>(&input.message)) take_list(input.peer, *m);
    if (const auto* m = std::get_if<Specs>(&input.message)) take_specs(*m);
    if (const auto* m = std::get_if<Names>(&input.message)) take_names(*m);
    if (const auto* m = std::get_if<RestartCopy>(&input.message)) restart(input.peer, *m);
    if (const auto* m = std::get_if<Ask>(&input.message)) reach(input.peer, *m);
    if (const auto* m = std::get_if<Forward>(&input.message)) forward(*m);
}

// --- what the controller says ---------------------------------------------------------------------------------------

void Agent::State::take_ack(const HeartbeatAck& message) {
    if (message.left && leave_at_ != kNever) leave_at_ = now_;
    if (message.current == shown_applied() && accepted_ && !std::exchange(confirmed_, true)) at_rest_ = false;
    const bool old_names = message.current.term == names_.term && message.names_no > names_.names_no;
    const bool other_term = message.current.term > names_.term && message.names_no != 0;
    if (message.current == shown_applied() && !old_names && !other_term) return;
    if (current_ == 0 || now_ - pulled_list_at_ < kPullListAgain) return;
    pulled_list_at_ = now_;
    send(PullList{identity()});
}

void Agent::State::take_list(PeerId peer, const NodeList& list) {
    if (list.cluster_id != cluster_id_)
        return leave(peer,
                     "a list of cluster " + list.cluster_id + " was refused: this node belongs to " + cluster_id_);
    if (list.no.term < applied_.term)
        return tell_refusal("list-refused", "a list of term " + std::to_string(list.no.term) +
                                                " was refused: this node has applied one of term " +
                                                std::to_string(applied_.term));
#ifndef GANTRY_BUG_OLD_LIST
    if (list.no < applied_) return;
#endif
    if (list.no == applied_ && accepted_ && confirmed_) return;
    const bool same = list.no == applied_ && accepted_;
    confirmed_ = true;
    if (same) return;
    accepted_ = dirty_ = true;
    applied_ = list.no;
    list_boot_ = facts_.boot_id;
    prepull_ = list.images;
    take_entries(list.copies);
    pull_specs_at_ = {};
}

void Agent::State::take_specs(const Specs& specs) {
    std::set<std::string> named;
    for (const auto& [id, copy] : copies_) named.insert(copy.entry.spec_digest);
    for (const auto& [digest, spec] : specs.specs) {
        if (!named.contains(digest) || specs_.contains(digest)) continue;
        specs_.emplace(digest, spec);
        names_changed_ = dirty_ = true;
        pull_specs_at_ = {};
    }
    forget_specs();
}

void Agent::State::pull_specs() {
    std::set<std::string> missing;
    for (const auto& [id, copy] : copies_)
        if (!specs_.contains(copy.entry.spec_digest)) missing.insert(copy.entry.spec_digest);
    if (missing.empty()) return;
    if (now_ < pull_specs_at_) return wait_until(pull_specs_at_);
    // In rotation: one that the controller does not have keeps none from coming.
    PullSpecs pull{identity(), {}};
    auto at = missing.upper_bound(last_pulled_);
    while (pull.digests.size() < std::min(kSpecsPerPull, missing.size())) {
        if (at == missing.end()) at = missing.begin();
        pull.digests.push_back(*at++);
    }
    last_pulled_ = pull.digests.back();
    pull_specs_at_ = now_ + kPullSpecsAgain;
    send(std::move(pull));
    wait_until(pull_specs_at_);
}

// --- what the agent says --------------------------------------------------------------------------------------------

void Agent::State::tell() {
    if (current_ == 0) return;
    send_report();
    beat();
    pull_specs();
    send_events();
}

void Agent::State::beat() {
    if (current_ == 0 || now_ < next_heartbeat_) return;
    send(heartbeat());
    next_heartbeat_ = std::max(next_heartbeat_ + heartbeat_, now_ + heartbeat_ / 2);
    ++beats_;
    if (beats_ % kBeatsBetweenReports != 0 || now_ - reported_at_ < kReportAgain) return;
    last_report_.reset();
    send_report();
}

void Agent::State::send_report() {
    Report next = report();
    const auto same = [](const Report& a, const Report& b) {
        return a.applied == b.applied && a.copies == b.copies && a.images == b.images && a.fetching == b.fetching &&
               a.incomplete == b.incomplete;
    };
    if (last_report_ && same(*last_report_, next) && !has_news()) return;
    last_report_ = next;
    // What is measured goes with a report that goes anyway: when it is new to the controller, and now and then.
    if (usage_ && now_ >= usage_due_) {
        next.usage = usage_;
        usage_due_ = now_ + kUsageAgain;
    }
    reported_at_ = now_;
    put_runs(next);
    next.told = told();
    next.id = identity();
    send(std::move(next));
}

void Agent::State::send_events() {
    if (events_dropped_ != 0) {
        send(NodeEvent{identity(),
                       "events-dropped",
                       facts_.node + " dropped " + std::to_string(events_dropped_) + " older events",
                       {{"count", events_dropped_}}});
        events_dropped_ = 0;
    }
    for (auto& event : events_) {
        event.id = identity();
        send(std::move(event));
    }
    events_.clear();
}

Report Agent::State::report() const {
    Report out;
    out.applied = shown_applied();
    out.load = load_;
    std::map<CopyId, CopyReport> copies;
    add_unwanted(copies);
    for (const auto& [id, copy] : copies_)
        if (copy.current || !copy.held) copies[id] = copy_report(id, copy);
    // More than the controller ever gives: what is left over from elsewhere must still fit the message.
    const bool many = copies.size() > limits::kNodeCopies;
    for (auto& [id, copy] : copies) {
        if (many) copy.reason = one_line(copy.reason, kShortReason);
        out.copies.push_back(std::move(copy));
    }
    std::set<std::string> images;
    for (const auto& [name, runtime] : runtimes_) {
        images.insert(runtime.images.begin(), runtime.images.end());
        out.incomplete = out.incomplete || !runtime.listed;
    }
    for (const auto& digest : images)
        if (out.images.size() < limits::kNodeImages) out.images.push_back(digest);
    for (const auto& [digest, fetch] : fetches_)
        if (out.fetching.size() < limits::kNodeFetching)
            out.fetching.push_back(fetch.active || fetch.reason.empty() ? digest : digest + " " + fetch.reason);
    return out;
}

CopyReport Agent::State::copy_report(const CopyId& id, const Copy& copy) const {
    CopyReport out{id, CopyState::kWaiting, copy.attempt, copy.crashes, copy.restarts, copy.exit_code, {}, false};
    out.reason = copy.waiting;
    // A leftover that cannot be stopped still runs beside it.
    for (auto at = containers_.lower_bound({id, 0, {}}); at != containers_.end() && at->first.copy == id; ++at)
        out.cannot_stop = out.cannot_stop || at->second.cannot_stop;
    if (!copy.current) return out;
    out.attempt = copy.current->attempt;
    out.ports = ports_of(copy);
    const Container& container = containers_.at(*copy.current);
    if (container.doing == Doing::kCreating || container.doing == Doing::kStarting || container.is == Is::kCreated) {
        out.state = CopyState::kCreating;
    } else if (container.is == Is::kRunning) {
        out.state = copy.ready ? CopyState::kReady : CopyState::kRunning;
        if (!copy.ready) out.reason = why_not_ready(copy, spec_of(copy));
    } else if (out.reason.empty()) {
        out.reason = copy.last_end;
    }
    return out;
}

// What is here and not in the list. Before a list is confirmed nothing of it is stopped.
void Agent::State::add_unwanted(std::map<CopyId, CopyReport>& out) const {
    for (const auto& [key, container] : containers_) {
        if (const auto wanted = copies_.find(key.copy); wanted != copies_.end() && !wanted->second.held) continue;
        CopyReport& copy = out[key.copy];
        const bool runs_now = container.is == Is::kRunning;
        copy.copy = key.copy;
        copy.attempt = key.attempt;
        if (confirmed_)
            copy.state = CopyState::kStopping;
        else if (runs_now)
            copy.state = CopyState::kRunning;
        else if (copy.state != CopyState::kRunning)
            copy.state = CopyState::kExited;
        copy.exit_code = container.exit_code;
        copy.cannot_stop = copy.cannot_stop || container.cannot_stop;
        if (!container.trouble.empty()) copy.reason = container.trouble;
    }
}

}  // namespace gantry::core
