// SPDX-License-Identifier: Apache-2.0
//
// One step: the input, then everything that follows from it.
#include "kernel/core/controller.hpp"

#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

Controller::Controller(Timing timing, std::vector<std::string> policies)
    : state_(std::make_unique<State>(timing, std::move(policies))) {}
Controller::~Controller() = default;
Controller::Controller(Controller&&) noexcept = default;
Controller& Controller::operator=(Controller&&) noexcept = default;

Result<Effects> Controller::load(std::span<const Entry> entries, const std::string& fresh_id, Instant now) {
    return state_->load(entries, fresh_id, now);
}
Effects Controller::step(const Input& input, Instant now) { return state_->step(input, now); }
Instant Controller::next_deadline() const { return state_->next_deadline(); }
json::array Controller::nodes(Instant now) const { return state_->nodes(now); }
json::array Controller::services() const { return state_->services(); }
json::array Controller::instances() const { return state_->instances(); }
json::array Controller::images() const { return state_->images(); }
std::vector<std::string> Controller::images_needed() const { return state_->images_needed(); }
std::vector<std::string> Controller::neighbours_with(const std::string& image, PeerId reader) const {
    return state_->neighbours_with(image, reader);
}
json::array Controller::secrets() const { return state_->secrets(); }
json::array Controller::names() const { return state_->names(); }
Result<json::value> Controller::service(const std::string& name) const { return state_->service(name); }
Result<json::array> Controller::history(const std::string& name) const { return state_->history(name); }
Result<json::value> Controller::explain(
    const std::string& service, Instant now, const std::function<Result<std::vector<Keys>>(const Rank&)>& rank,
    const std::function<std::vector<std::string>(const std::string& policy)>& key_names) const {
    return state_->explain(service, now, rank, key_names);
}
std::string Controller::cluster_id() const { return state_->cluster_id_; }
std::uint64_t Controller::term() const { return state_->term_; }
Result<Controller::Place> Controller::place(const std::string& instance) const { return state_->place(instance); }
void Controller::each_load(const std::function<void(const std::string&, const Load&, const Usage&)>& node,
                           const std::function<void(const std::string&, const CopyUsage&)>& instance) const {
    state_->each_load(node, instance);
}
Result<PeerId> Controller::drilled(const std::string& node, const std::string& kind) const {
    return state_->drilled(node, kind);
}
std::vector<Entry> Controller::stored() const { return state_->stored(); }

namespace {

template <class T>
constexpr bool kIsApiChange =
    std::is_same_v<T, ApiDeploy> || std::is_same_v<T, ApiRemoveService> || std::is_same_v<T, ApiRollout> ||
    std::is_same_v<T, ApiRebalance> || std::is_same_v<T, ApiSetIntent> || std::is_same_v<T, ApiRemoveNode> ||
    std::is_same_v<T, ApiConfirmLost> || std::is_same_v<T, ApiSetImage> || std::is_same_v<T, ApiRemoveImage> ||
    std::is_same_v<T, ApiSetSecret>;

}  // namespace

Effects Controller::State::step(const Input& input, Instant now) {
    Effects effects;
    out_ = &effects;
    now_ = std::max(now_, now);
    std::visit(
        [&](const auto& value) {
            on(value);
            settle();
            effects.api_change = kIsApiChange<std::decay_t<decltype(value)>> && !effects.writes.empty();
        },
        input);
    out_ = nullptr;
    const Node* beats = beat_of(input);
    if (!beats || !effects.writes.empty() || !effects.ranks.empty() || effects.acts.size() > 1) due_ = {};
    if (beats && due_ > now_) due_ = std::min(due_, node_due(*beats));  // its window may have become narrower
    return effects;
}

// While a policy is being asked, its in-process answer arrives within the same turn and changes the same lists again:
// they are sent when no question follows, or at the next input (next_deadline() is then at once).
void Controller::State::settle() {
    if (!removing_.empty()) check_removed();
    check_leases();
    check_leaving();
    plan_moves();
    retry_waiting();
    pump();
    const bool more_follows = !out_->ranks.empty();
    // Names first: who is told to stop a copy knows by then who answers instead.
    if (!more_follows) flush_names();
    if (!more_follows) flush_lists();
    flush_documents();
}

void Controller::State::on(const Tick&) {
    check_silence();
    check_moves();
    std::vector<std::uint64_t> late;
    for (const auto& [id, question] : questions_)
        if (question.deadline <= now_) late.push_back(id);
    for (const auto id : late)
        if (const auto at = questions_.find(id); at != questions_.end())
            question_failed(at->second, "no answer within " + std::to_string(kRankLimit / seconds(1)) + " s");
    for (const auto no : std::set<std::uint64_t>(waiting_))
        if (Service* service = find_service(no); service && service->ask_again <= now_) enqueue(*service);
}

// The node of a sign of life, null if the input is anything else.
const Node* Controller::State::beat_of(const Input& input) {
    const auto* message = std::get_if<PeerMessage>(&input);
    return message && std::holds_alternative<Heartbeat>(message->message) ? node_of(message->peer) : nullptr;
}

void Controller::State::on(const LoopLate& input) {
    const auto shift = [&](Instant& at) {
        if (at != kNever) at = at + input.lag;
    };
    for (auto& [name, node] : nodes_) {
        node.heard = std::min(node.heard + input.lag, now_);
        node.pace.take_back(timing_.heartbeat, now_);
        shift(node.ask_at);
        shift(node.dropped);
        if (node.hold_until.ns != 0) shift(node.hold_until);
        if (node.leaves_by) shift(*node.leaves_by);
    }
    for (auto& [id, question] : questions_) shift(question.deadline);
    for (auto& [id, until] : moves_) shift(until);
    shift(plan_again_);
    if (paused_until_) shift(*paused_until_);
}

Instant Controller::State::next_deadline() const {
    if (!dirty_lists_.empty() || names_dirty_) return now_;
    if (paused_until_ && !anybody_silent()) return now_;
    // Heartbeats move it away: until it comes, or something else happens, what it was is early enough.
    if (due_ <= now_) due_ = earliest();
    return due_;
}

Instant Controller::State::earliest() const {
    Instant due = std::min(plan_again_, next_lease_end());
    for (const auto& [name, node] : nodes_) due = std::min(due, node_due(node));
    for (const auto& [id, question] : questions_) due = std::min(due, question.deadline);
    for (const auto& [id, until] : moves_) due = std::min(due, until);
    for (const auto no : waiting_) due = std::min(due, service_by_no_.at(no)->ask_again);
    return due;
}

Instant Controller::State::node_due(const Node& node) const {
    if (node.down()) return kNever;
    Instant due = node.ask_at;
    if (node.leaves_by) due = std::min(due, *node.leaves_by);
    if (node.liveness == Liveness::kReady || !node.via.empty()) due = std::min(due, suspect_at(node));
    const Instant lost = lost_at(node);
    return std::min(due, waits(node) ? std::max(lost, *paused_until_) : lost);
}

void Controller::State::event(std::string kind, std::string text, json::object fields) {
    out_->acts.push_back(Event{std::move(kind), std::move(text), std::move(fields)});
}

std::uint32_t Controller::State::image_no(const std::string& digest) {
    const auto [at, fresh] = image_numbers_.try_emplace(digest, static_cast<std::uint32_t>(image_digests_.size()));
    if (fresh) image_digests_.push_back(digest);
    return at->second;
}

}  // namespace gantry::core
