// SPDX-License-Identifier: Apache-2.0
//
// Messages of nodes, and what they do to a node's state.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

std::string_view liveness_name(Liveness liveness) {
    switch (liveness) {
        case Liveness::kNew:
            return "new";
        case Liveness::kReady:
            return "ready";
        case Liveness::kSuspect:
            return "suspect";
        case Liveness::kLost:
            return "lost";
        case Liveness::kLeft:
            return "left";
    }
    return "new";
}

std::string_view intent_name(Intent intent) {
    switch (intent) {
        case Intent::kActive:
            return "active";
        case Intent::kCordoned:
            return "cordoned";
        case Intent::kDraining:
            return "draining";
    }
    return "active";
}

namespace {

const Identity* identity_of(const AgentMessage& message) {
    return std::visit([](const auto& m) { return &m.id; }, message);
}

}  // namespace

Node* Controller::State::node_of(PeerId peer) {
    const auto at = peers_.find(peer);
    return at == peers_.end() ? nullptr : at->second;
}

void Controller::State::on(const PeerMessage& input) {
    if (const auto* message = std::get_if<Hello>(&input.message)) return hello(input, *message);
    Node* node = node_of(input.peer);
    const Identity& id = *identity_of(input.message);
    // A message of another boot or session, an older one, or one of a connection that was replaced says nothing.
    if (!node || id.node_id != node->node_id || id.boot_id != node->boot_id || id.session != node->session) return;
#ifndef GANTRY_BUG_OLD_MESSAGE
    if (id.seq <= node->seq) return;
#endif
    node->seq = id.seq;
    // Of the boot that ends nothing counts any more.
    if (node->expected) {
        if (std::holds_alternative<Heartbeat>(input.message))
            send(*node, HeartbeatAck{id.seq, {term_, node->list_no}, names_no_, true});
        return;
    }
    if (const auto* message = std::get_if<Heartbeat>(&input.message)) {
        heard_from(*node, message->load, message->applied, true);
        take_told(*node, message->told, false);
        // Before the first report a node is told nothing: its list may be older than what it runs.
        if (!node->reported && !node->down()) return;
        HeartbeatAck answer{message->id.seq, {term_, node->list_no}, names_no_, node->liveness == Liveness::kLeft};
        answer.beat = message->beat;
        answer.at = now_;
        answer.runs_no = node->runs_no;
        grant(*node, *message, answer);
        send(*node, std::move(answer));
    } else if (const auto* full = std::get_if<Report>(&input.message)) {
        report(*node, *full);
    } else if (const auto* relay = std::get_if<Relayed>(&input.message)) {
        heard_from(*node, node->load, node->applied);
        if (!is_route(input.peer)) relayed(*node, *relay);
    } else if (std::holds_alternative<PullList>(input.message)) {
        heard_from(*node, node->load, node->applied);
        if (!node->reported && !node->down()) return;
        if (dirty_lists_.contains(node)) return;  // a newer one is about to be sent
        send_names(*node);
        send(*node, list_of(*node));
    } else if (const auto* pull = std::get_if<PullSpecs>(&input.message)) {
        heard_from(*node, node->load, node->applied);
        send_specs(*node, *pull);
    } else if (const auto* leaving = std::get_if<Leaving>(&input.message)) {
        leave(*node, *leaving);
    } else if (std::holds_alternative<Hold>(input.message)) {
        hold(*node);
    } else if (const auto* told = std::get_if<NodeEvent>(&input.message)) {
        json::object fields = told->fields;
        fields["node"] = node->name;
        event(told->kind, told->text, std::move(fields));
    }
}

void Controller::State::heard_from(Node& node, const Load& load, const ListNo& applied, bool heartbeat) {
    sign_of_life(node, heartbeat);
    node.load = load;
    node.applied = applied;
    if (node.liveness != Liveness::kSuspect) return;
    if (node.reported)
        now_ready(node);
    else
        node.liveness = Liveness::kNew;
}

void Controller::State::now_ready(Node& node) {
    in_reach(node);
    if (!node.via.empty()) return cut_off(node);
    const Liveness before = node.liveness;
    if (before == Liveness::kReady) return;
    end_routes(node);
    node.ask_at = kNever;
    node.answers.clear();
    node.confirmed = false;
    ++nodes_ready_;
    node.liveness = Liveness::kReady;
    node.reason.clear();
    node.hold_until = {};
    touched_.insert(&node);
    moves_dirty_ = true;
    const bool returned = std::exchange(node.returning, false);
    event(returned ? "node-returned" : "node-ready",
          node.name + (returned                       ? " is back"
                       : before == Liveness::kSuspect ? " answers again"
                                                      : " is ready"),
          {{"node", node.name}});
}

void Controller::State::on(const PeerDown& input) {
    Node* node = node_of(input.peer);
    if (!node) return;
    peers_.erase(input.peer);
    const std::string via = std::exchange(node->via, "");
    if (via.empty()) routes_down(*node);
    node->peer = 0;
    node->dropped = now_;
    node->quiet = input.cause == Down::kReset     ? Quiet::kReset
                  : input.cause == Down::kTimeout ? Quiet::kTimeout
                                                  : Quiet::kClosed;
    if (node->liveness != Liveness::kReady && node->liveness != Liveness::kSuspect) return;
    if (node->expected) return;
    const bool known = node->liveness == Liveness::kSuspect && input.cause == Down::kTimeout && via.empty();
    std::string reason = !via.empty()                    ? "no longer heard through " + via
                         : input.cause == Down::kReset   ? "its connection broke"
                         : input.cause == Down::kTimeout ? "silent for " + format_duration(now_ - node->heard)
                                                         : "it closed its connection";
    if (node->hold_until > now_) reason = "gantryd restarts there";
    if (known)
        node->reason = std::move(reason);
    else
        now_suspect(*node, std::move(reason));
}

void Controller::State::hold(Node& node) {
    node.heard = node.last_word = now_;
    node.hold_until = now_ + timing_.hold;
    event("node-hold", node.name + ": gantryd restarts, its copies run on for up to " + format_duration(timing_.hold),
          {{"node", node.name}});
}

// Planned moves, then left. One that does not wait for them has left at once.
void Controller::State::leave(Node& node, const Leaving& message) {
    node.heard = node.last_word = now_;
    if (node.down()) return;
    node.reboots = message.reboots;
    if (!message.waits) return may_go(node);
    if (node.leaves_by) return;
    node.leaves_by = now_ + kLeaveLimit;
    leaving_.insert(node.name);
    event("node-leaving", node.name + " goes down, " + std::to_string(node.copies.size()) + " copies to move",
          {{"node", node.name}});
    touched_.insert(&node);
    moves_dirty_ = true;
}

void Controller::State::check_leaving() {
    for (auto at = leaving_.begin(); at != leaving_.end();) {
        const auto found = nodes_.find(*at);
        const bool leaves = found != nodes_.end() && found->second.leaves_by;
        if (leaves && (now_ >= *found->second.leaves_by || !may_still_move(found->second))) may_go(found->second);
        at = leaves && found->second.leaves_by ? std::next(at) : leaving_.erase(at);
    }
}

// Whether waiting on spares an instance of this node a gap.
bool Controller::State::may_still_move(const Node& node) const {
    if (!node.stale.empty()) return true;
    return std::any_of(node.copies.begin(), node.copies.end(), [&](const auto& entry) {
        const Instance& instance = *entry.second;
        if (instance.service->is_static() || stays_for_reboot(node, instance)) return false;
        return instance.moves() || may_leave(*instance.service, instance);
    });
}

void Controller::State::send(const Node& node, ControllerMessage message) {
    if (node.peer != 0) send_to(node.peer, std::move(message));
}

void Controller::State::send_names(const Node& node) {
    for (auto& part : divide(names_table())) send(node, std::move(part));
}

void Controller::State::close(PeerId peer, std::string reason) {
    if (is_route(peer)) return end_route(peer);
    out_->acts.push_back(ClosePeer{peer, std::move(reason)});
}

void Controller::State::send_specs(const Node& node, const PullSpecs& message) {
    const std::set<std::string> wanted(message.digests.begin(), message.digests.end());
    Specs specs;
    for (const auto& [name, service] : services_)
        for (const auto& [number, revision] : service.revisions)
            if (wanted.contains(revision.digest)) specs.specs[revision.digest] = revision.copy_spec;
    for (auto& part : divide(specs)) send(node, std::move(part));
}

// Its copies must be lost already.
void Controller::State::forget(Node& node) {
    routes_down(node);
    end_routes(node);
    if (node.peer != 0) {
        peers_.erase(node.peer);
        close(node.peer, "the node was removed");
    }
    forget_stale(node);
    machine_over(node);
    for (auto& [name, service] : services_)
        for (auto& [index, instance] : service.instances) {
            if (instance.moving_from == node.name) end_move(instance);
            if (instance.room_on == &node) promise(instance, nullptr);
        }
    list_floor_ = std::max(list_floor_, node.list_no);
    dirty_lists_.erase(&node);
    touched_.erase(&node);
    dirty(node);
    const auto still_asked = [&](Question& question) {
        std::erase_if(question.order, [&](const auto& scored) { return scored.node == &node; });
        std::replace(question.asked.begin(), question.asked.end(), &node, static_cast<Node*>(nullptr));
        if (question.dry) question.dry->imagined.erase(&node);
    };
    for (auto& [id, question] : questions_) still_asked(question);
    ++nodes_version_;
    const std::string name = node.name;
    nodes_.erase(name);
}

}  // namespace gantry::core
