// SPDX-License-Identifier: Apache-2.0
//
// Rebalance: moves copies from nodes that have many to nodes that have few, so many at a time, each make before break.
// What is left of the plan is stored: a controller that starts anew goes on with it when its nodes are back.
#include <algorithm>

#include "kernel/core/message_fields.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kShifts = 1'000;  // of one rebalance
constexpr const char* kWhy = "rebalance";

json::object range(const std::map<const Node*, std::size_t>& copies) {
    std::size_t most = 0, least = SIZE_MAX;
    for (const auto& [node, count] : copies) {
        most = std::max(most, count);
        least = std::min(least, count);
    }
    return {{"most", most}, {"least", copies.empty() ? 0 : least}};
}

}  // namespace

// Only what is well moves for the sake of balance.
bool Controller::State::may_shift(const Instance& instance, const Node& to, const Imagined* imagined) const {
    const Service& service = *instance.service;
    // A gap is too dear for the sake of balance.
    if (service.forbid || service.is_static() || service.last().failing || instance.moves()) return false;
    if (!instance.current.node || !instance.current.ready) return false;
    if (outdated(service, instance, instance.current)) return false;
    const PoolNode* candidate = pool_entry(service, to);
    return candidate && takes_next(service.last(), to) && !held(instance, to, now_) &&
           rules(service.last(), *candidate, nullptr, imagined) == Exclusion::kNone;
}

bool Controller::State::shift_from(Balance& balance, Node& from) const {
    for (Node* to : balance.nodes) {
        if (balance.copies[to] + 2 > balance.copies[&from]) break;  // those behind have no fewer
        for (const auto& [copy, instance] : from.copies) {
            if (balance.moved.contains(copy.instance) || copy.epoch != instance->current.epoch) continue;
            Imagined& imagined = balance.imagined[to];
            if (!may_shift(*instance, *to, &imagined)) continue;
            const Need& need = need_of(*instance, instance->current);
            imagined.take(need);
            ++balance.copies[to];
            --balance.copies[&from];
            balance.moved.insert(copy.instance);
            balance.shifts.push_back({copy.instance, from.name, to->name});
            return true;
        }
    }
    return false;
}

bool Controller::State::shift_one(Balance& balance) const {
    std::sort(balance.nodes.begin(), balance.nodes.end(), [&](const Node* a, const Node* b) {
        return std::tie(balance.copies[a], a->name) < std::tie(balance.copies[b], b->name);
    });
    for (auto from = balance.nodes.rbegin(); from != balance.nodes.rend(); ++from)
        if (shift_from(balance, **from)) return true;
    return false;
}

void Controller::State::on(const ApiRebalance& input) {
    if (input.at_once == 0)
        return reply(input.request, fail(Code::kInvalid, "expected 1 or more moves at a time, got 0", "at_once"));
    Balance balance;
    for (auto& [name, node] : nodes_) {
        if (node.liveness != Liveness::kReady || node.intent != Intent::kActive || node.leaves_by) continue;
        balance.nodes.push_back(&node);
        balance.copies[&node] = node.copies.size();
    }
    json::object answer{{"before", range(balance.copies)}, {"at_once", input.at_once}};
    while (balance.shifts.size() < kShifts && shift_one(balance)) continue;
    json::array moves;
    for (const auto& shift : balance.shifts)
        moves.push_back(
            json::object{{"instance", find(shift.instance)->text()}, {"from", shift.from}, {"to", shift.to}});
    answer["after"] = range(balance.copies);
    answer["moves"] = std::move(moves);
    if (!input.dry_run) {
        shifts_ = {balance.shifts.rbegin(), balance.shifts.rend()};
        shifts_at_once_ = input.at_once;
        moves_dirty_ = shifts_dirty_ = true;
        event("rebalance",
              std::to_string(shifts_.size()) + " copies move, " + std::to_string(input.at_once) + " at a time",
              {{"moves", shifts_.size()}});
    }
    reply(input.request, std::move(answer));
}

void Controller::State::go_on_rebalancing() {
    std::erase_if(shifting_, [&](const InstanceId& id) {
        const Instance* instance = find(id);
        return !instance || !instance->moves();
    });
    if (shifts_.empty()) return;
    // After a start of the controller nodes come back one after the other; those that do not are lost soon.
    if (std::any_of(nodes_.begin(), nodes_.end(), [](const auto& e) { return e.second.liveness == Liveness::kNew; }))
        return;
    while (!shifts_.empty() && shifting_.size() < shifts_at_once_) {
        const Shift shift = shifts_.back();
        shifts_.pop_back();
        shifts_dirty_ = true;
        Instance* instance = find(shift.instance);
        const auto to = nodes_.find(shift.to);
        // What has changed meanwhile is left as it is.
        if (!instance || to == nodes_.end() || !may_shift(*instance, to->second, nullptr)) continue;
        if (instance->current.node->name != shift.from) continue;
        plan_next(*instance, kWhy);
        assign(*instance, to->second);
        tell_placed(*instance, kWhy, nullptr);
        shifting_.insert(shift.instance);
    }
}

json::object Controller::State::rebalance_document() const {
    json::array moves;
    for (const auto& shift : shifts_)
        moves.push_back(json::object{{"instance", shift.instance.text()}, {"from", shift.from}, {"to", shift.to}});
    return {{"at_once", shifts_at_once_}, {"moves", std::move(moves)}};
}

Status Controller::State::load_rebalance(const json::value& value) {
    Fields fields(&value, "rebalance");
    GANTRY_TRY(at_once, fields.integer("at_once", 1, 1, UINT32_MAX));
    GANTRY_TRY(moves, fields.list("moves"));
    for (std::size_t i = 0; i < moves.size(); ++i) {
        Fields entry(moves[i], fields.path("moves") + "[" + std::to_string(i) + "]");
        GANTRY_TRY(text, entry.text("instance"));
        GANTRY_TRY(from, entry.text("from"));
        GANTRY_TRY(to, entry.text("to"));
        GANTRY_CHECK(entry.finish());
        const auto copy = parse_copy_id(text + "#1");
        if (!copy) return fail(Code::kInvalid, "expected an instance (\"12.0\"), got " + text, entry.path("instance"));
        shifts_.push_back({copy->instance, std::move(from), std::move(to)});
    }
    shifts_at_once_ = static_cast<std::uint32_t>(at_once);
    for (const auto& [name, service] : services_)
        for (const auto& [index, instance] : service.instances)
            if (instance.next.node && instance.why == kWhy) shifting_.insert(instance.id());
    return fields.finish();
}

}  // namespace gantry::core
