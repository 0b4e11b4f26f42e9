// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/agent.hpp"

#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/core/agent_state.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr Duration kLeaveLimit = seconds(30);  // above the controller's
constexpr Duration kAloneLimit = seconds(2);   // without one
constexpr std::int64_t kDiskBack = 5;          // percent below the threshold, where there is room again

}  // namespace

Agent::Agent(AgentFacts facts, Timing timing) : state_(std::make_unique<State>(std::move(facts), timing)) {}
Agent::~Agent() = default;
Agent::Agent(Agent&&) noexcept = default;
Agent& Agent::operator=(Agent&&) noexcept = default;

AgentEffects Agent::step(const AgentInput& input, Instant now) { return state_->step(input, now); }
Instant Agent::next_deadline() const { return state_->next_deadline(); }
std::optional<Agent::CopyPlace> Agent::container_of(const CopyId& copy) const { return state_->container_of(copy); }
std::vector<Agent::Running> Agent::running() const { return state_->running(); }
json::value Agent::document() const { return state_->document(); }
bool Agent::connected() const { return state_->connected(); }

std::string instance_name(const ListEntry& entry) {
    return entry.service + "." + std::to_string(entry.copy.instance.index);
}

Agent::State::State(AgentFacts facts, Timing timing)
    : facts_(std::move(facts)), timing_(timing), heartbeat_(timing.heartbeat) {
    for (const auto& runtime : facts_.runtimes) {
        runtimes_[runtime.name];
        guard_known_ = guard_known_ && !runtime.guarded;
    }
}

AgentEffects Agent::State::step(const AgentInput& input, Instant now) {
    now_ = now;
    ++turn_;
    out_.clear();
    dirty_ = false;
    if (silent_) return {};
    std::visit([this](const auto& i) { on(i); }, input);
    // Most turns are signs of life: the walk would find everything as the last one left it.
    if (at_rest_ && now_ < deadline_ && changes_nothing(input)) {
        beat();
        return std::move(out_);
    }
    deadline_ = kNever;
    at_rest_ = false;
    taken_no_ = 0;
    sure_until_.reset();
    if (started_ && !silent_) work();
    if (dirty_) out_.insert(out_.begin(), Save{saved_document()});
    return std::move(out_);
}

// Of an input that was taken already.
bool Agent::State::changes_nothing(const AgentInput& input) const {
    if (std::holds_alternative<AgentTick>(input) || std::holds_alternative<LoadMeasured>(input)) return true;
    const auto* message = std::get_if<FromController>(&input);
    const auto* ack = message ? std::get_if<HeartbeatAck>(&message->message) : nullptr;
    return ack && ack->grants.empty() && out_.empty() && !has_news();
}

void Agent::State::work() {
    for (auto& [name, runtime] : runtimes_) look(name, runtime);
    if (!looked_) {
        looked_ = guard_known_ &&
                  std::all_of(runtimes_.begin(), runtimes_.end(), [](const auto& r) { return r.second.answered; });
        if (!looked_) return;
        for (auto& [id, copy] : copies_) adopt(id, copy);
        forget_held();
        for (const auto& [peer, state] : peers_) hello(peer);
    }
    keep_leases();
    keep_records();
    for (auto& [id, copy] : copies_) drive(id, copy);
    for (auto& [key, container] : containers_)
#ifdef GANTRY_BUG_STOPS_ALONE
        if (!copies_.contains(key.copy)) drive_out(key, container);
#else
        if (confirmed_ && !copies_.contains(key.copy)) drive_out(key, container);
#endif
    fetch_images();
    keep_images();
    serve_names();
    give_up_waiting();
    at_rest_ = out_.empty() && leave_at_ == kNever;
    tell();
    wait_to_leave();
}

void Agent::State::event(std::string kind, std::string text, json::object fields) {
    text = one_line(text, kReasonMost);
    out_.emplace_back(AgentEvent{kind, text, fields});
    events_.push_back({{}, std::move(kind), std::move(text), std::move(fields)});
    if (events_.size() <= limits::kAgentEvents) return;
    events_.pop_front();
    ++events_dropped_;
}

void Agent::State::event_of_report(std::string kind, std::string text, json::object fields) {
    if (current_ == 0) return event(std::move(kind), std::move(text), std::move(fields));
    out_.emplace_back(AgentEvent{std::move(kind), one_line(text, kReasonMost), std::move(fields)});
}

void Agent::State::on(const ShutDown& input) {
    if (input.machine_goes_down) {
        leave_at_ = now_ + kLeaveLimit;
        reboots_ = input.reboots;
        return say_leaving();
    }
    if (current_ != 0) send(Hold{identity()});
    silent_ = true;
    deadline_ = kNever;
}

// The node goes on as before: its lists take its copies away, one by one, as others replace them.
void Agent::State::say_leaving() {
    if (current_ != 0 && leave_at_ != kNever) send(Leaving{identity(), true, reboots_});
}

void Agent::State::wait_to_leave() {
    if (leave_at_ == kNever) return;
    if (current_ == 0) leave_at_ = std::min(leave_at_, now_ + kAloneLimit);
    if (now_ < leave_at_) return wait_until(leave_at_);
    if (current_ != 0) send(Leaving{identity(), false, reboots_});
    out_.emplace_back(MayStop{});
    silent_ = true;
    deadline_ = kNever;
}

std::optional<Agent::CopyPlace> Agent::State::container_of(const CopyId& copy) const {
    const auto wanted = copies_.find(copy);
    if (wanted != copies_.end() && wanted->second.current)
        return CopyPlace{wanted->second.current->runtime, name_of(*wanted->second.current),
                         !wanted->second.entry.forbid};
    // A copy on its way out still has its logs.
    auto at = containers_.upper_bound({copy, UINT64_MAX, {}});
    if (at == containers_.begin() || (--at)->first.copy != copy) return std::nullopt;
    return CopyPlace{at->first.runtime, name_of(at->first)};
}

std::vector<Agent::Running> Agent::State::running() const {
    std::vector<Running> out;
    for (const auto& [id, copy] : copies_)
        if (copy.current && containers_.at(*copy.current).is == Is::kRunning)
            out.push_back({id, {copy.current->runtime, name_of(*copy.current)}});
    return out;
}

// A node that is at rest walks only if there is something to tell.
void Agent::State::on(const LoadMeasured& input) {
    load_ = input.load;
    if (!input.usage || input.usage == usage_) return;
    usage_ = input.usage;
    usage_due_ = {};
    watch_disk();
}

void Agent::State::watch_disk() {
    const auto total = usage_->disk_total_bytes.value_or(0), free = usage_->disk_free_bytes.value_or(-1);
    if (facts_.disk_warn_percent == 0 || total <= 0 || free < 0 || free > total) return;
    const auto used = (total - free) * 100 / total;  // both below 2^53
    const bool full = disk_full_ ? used > facts_.disk_warn_percent - kDiskBack : used >= facts_.disk_warn_percent;
    if (full == std::exchange(disk_full_, full)) return;
    at_rest_ = false;
    event(full ? "disk-filling" : "disk-has-room",
          facts_.node + ": the disk of gantryd's state is " + std::to_string(used) + "% full, " + format_size(free) +
              " are free",
          {{"used_percent", used}, {"free_bytes", free}});
}

json::value Agent::State::document() const {
    json::array copies;
    for (const auto& c : report().copies) {
        json::object copy{{"copy", c.copy.text()},  {"state", copy_state_name(c.state)},
                          {"attempt", c.attempt},   {"crashes", c.crashes},
                          {"restarts", c.restarts}, {"reason", c.reason}};
        if (const auto at = copies_.find(c.copy); at != copies_.end())
            copy["instance"] = instance_name(at->second.entry);
        if (const auto place = container_of(c.copy)) copy["container"] = place->container;
        if (!c.ports.empty()) copy["ports"] = json::array(c.ports.begin(), c.ports.end());
        copies.push_back(std::move(copy));
    }
    json::object runtimes;
    for (const auto& [name, runtime] : runtimes_)
        runtimes[name] = runtime.trouble.empty() ? (runtime.listed ? "ready" : "being listed") : runtime.trouble;
    json::object used{{"cpu_used_milli", load_.cpu_used_milli}, {"memory_free_bytes", load_.memory_free_bytes}};
    if (usage_) show(used, *usage_);
    return json::object{{"node", facts_.node},          {"cluster_id", cluster_id_},
                        {"connected", connected()},     {"list", json::array{applied_.term, applied_.no}},
                        {"list_confirmed", confirmed_}, {"names", served_.size()},
                        {"load", std::move(used)},      {"runtimes", std::move(runtimes)},
                        {"copies", std::move(copies)}};
}

}  // namespace gantry::core
