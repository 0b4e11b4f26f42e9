// SPDX-License-Identifier: Apache-2.0
//
// A node says hello: who may, and what it means for a node that was known (faults.md 1 and 4).
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

void Controller::State::refuse(PeerId peer, const std::string& node, std::string kind, std::string reason) {
    // A refused node comes back at once, for ever: it is told each time, people once a minute.
    if (told_.size() > limits::kNodes) told_.clear();
    auto& told = told_[kind + " " + node];
    if (told.ns == 0 || now_ - told >= kTellAgain) {
        told = now_;
        event(std::move(kind), reason, {{"node", node}});
    }
    send_to(peer, Refused{reason});
    close(peer, std::move(reason));
}

// True: answered, nothing more to do.
bool Controller::State::refuse_hello(const PeerMessage& input, const Hello& message) {
    const std::string& name = message.node;
    if (const auto good = check_name(name, "the node's name"); !good) {
        refuse(input.peer, "?", "node-refused", good.error().message + ", set by [node] name");
        return true;
    }
    if (message.id.node_id.empty() || message.id.boot_id.empty()) {
        refuse(input.peer, name, "node-refused", name + " said hello without node id or boot id");
        return true;
    }
    if (!message.cluster_id.empty() && message.cluster_id != cluster_id_) {
        refuse(input.peer, name, "foreign-cluster",
               name + " belongs to cluster " + message.cluster_id + ", this controller has " + cluster_id_ +
                   ": its copies run on untouched; restore the controller's database, or remove the node's state file "
                   "to let it join");
        return true;
    }
    const auto at = nodes_.find(name);
    if (at == nodes_.end()) {
        if (nodes_.size() < limits::kNodes) return false;
        refuse(input.peer, name, "node-refused",
               name + " is refused: the cluster has " + std::to_string(nodes_.size()) + " nodes already");
        return true;
    }
    const Node& node = at->second;
    if (node.node_id != message.id.node_id && !node.down()) {
        refuse(input.peer, name, "name-taken",
               "a second machine calls itself " + name + ": expected node id " + node.node_id + ", got " +
                   message.id.node_id + "; give one of them another [node] name");
        return true;
    }
    return false;
}

void Controller::State::hello(const PeerMessage& input, const Hello& message) {
    if (refuse_hello(input, message)) return;
    // The same machine under a new name: the old name is free once it is lost.
    for (auto& [name, other] : nodes_) {
        if (other.node_id != message.id.node_id || name == message.node) continue;
        if (!other.down()) {
            refuse(input.peer, message.node, "name-taken",
                   "the node id of " + message.node + " is known as " + name + ", which is " +
                       std::string(liveness_name(other.liveness)) + "; run gantry node rm " + name + " --dead");
            return;
        }
        forget(other);
        break;
    }
    const auto [at, fresh] = nodes_.try_emplace(message.node);
    Node& node = at->second;
    const bool same_machine = !fresh && node.node_id == message.id.node_id;
    const bool same_boot = same_machine && node.boot_id == message.id.boot_id;
    // Sessions grow over boots: a hello of an earlier boot may come late.
    if (same_machine) {
        const bool old = message.id.session < node.session ||
                         (same_boot && message.id.session == node.session && message.id.seq <= node.seq);
        // Repeated on its way, or overtaken by what followed it.
        if (old && same_boot && message.id.session == node.session && node.peer == input.peer) return;
        if (old)
            return close(input.peer, "a hello of session " + std::to_string(message.id.session) + " of " + node.name +
                                         ", expected session " + std::to_string(node.session) +
                                         " or a newer one; a node whose state was restored is removed with gantry "
                                         "node rm --dead first");
    }
    if (!fresh && !same_boot) {
        if (same_machine) leases_over(node);
        if (!node.down() && !node.expected) node_lost(node, Liveness::kLost, "new boot id");
        if (same_machine && (node.away || node.expected)) rebooted(node);
        same_machine ? boot_over(node) : machine_over(node);
        forget_stale(node);
    }
    if (std::exchange(node.expected, false)) dirty(node);
    node.away.reset();
    if (is_route(input.peer) && !routes_.contains(input.peer)) return;  // it went with what the node was before
    // The newest connection wins: the old one may hang.
    if (node.peer != 0 && node.peer != input.peer) {
        if (node.via.empty()) routes_down(node);
        peers_.erase(node.peer);
        close(node.peer, "replaced by a newer connection");
    }
    if (Node* other = node_of(input.peer); other && other != &node) other->peer = 0;
    node.name = message.node;
    if (!same_machine) node.list_no = std::max(node.list_no, list_floor_);
    if (take_facts(node, input, message)) dirty(node);
    if (fresh) event("node-joined", node.name + " joined from " + input.address, {{"node", node.name}});
    welcome(node, input.peer);
    if (!same_boot || node.down()) {
        dirty(node);
        node.returning = node.down();
        if (node.liveness == Liveness::kReady) --nodes_ready_;
        node.liveness = Liveness::kNew;
        node.reason = "its first report is awaited";
        node.reported = false;
    } else if (node.liveness == Liveness::kSuspect) {
        if (node.reported)
            now_ready(node);
        else
            node.liveness = Liveness::kNew;
    }
    node.hold_until = {};
    node.leaves_by.reset();  // an agent that still goes down says so again
    node.reboots = false;
}

// Takes what the hello says of the machine; true if something that is stored changed.
bool Controller::State::take_facts(Node& node, const PeerMessage& input, const Hello& message) {
    const json::object before = document(node);
    const auto labels = node.labels;
    const auto runtimes = node.runtimes;
    const bool joins = node.node_id.empty();
    const std::string address = node.public_address();
    node.node_id = message.id.node_id;
    node.boot_id = message.id.boot_id;
    if (node.session != message.id.session || joins) node.runs_no = 0;
    node.session = message.id.session;
    node.seq = message.id.seq;
    node.address = input.address;
    node.advertise = message.advertise;
    node.labels = message.labels;
    std::sort(node.labels.begin(), node.labels.end());
    node.runtimes = message.runtimes;
    node.probes = message.probes;
    node.cpu_milli = message.cpu_milli;
    node.memory_bytes = message.memory_bytes;
    node.version = message.version;
    node.ask_port = message.ask_port;
    node.drills = message.drills;
    node.exec = message.exec;
    node.restart = message.restart;
    node.disk = message.disk;
    node.applied = message.applied;
    pass_applied(node);
    if (labels != node.labels || runtimes != node.runtimes || joins) {
        ++nodes_version_;
        for (auto& [name, service] : services_) rolling_.insert(service.no);
        moves_dirty_ = true;
        // Which images this node should have ready depends on the pools that it is in now.
        for (const auto& [image, count] : std::map<std::uint32_t, std::uint32_t>(node.prepull))
            for (std::uint32_t i = 0; i < count; ++i) prepull(node, image, -1);
        for (const auto& [name, service] : services_)
            if (!service.removing && wants_image(service.last(), node)) prepull(node, service.last().image_no, 1);
    }
    touched_.insert(&node);
    if (address != node.public_address())
        for (const auto& [id, instance] : node.copies)
            if (id.epoch == instance->current.epoch && instance->current.ready) announce_copy(*instance, true);
    return before != document(node);
}

// Agents accept only what is greater than what they have applied, and every list is stored before it is sent: more than
// that can only be of a controller whose newer database was lost.
void Controller::State::pass_applied(Node& node) {
    const ListNo greatest{term_, node.list_no};
    if (node.applied <= greatest) return;
    const auto text = [](const ListNo& no) { return std::to_string(no.no) + " of term " + std::to_string(no.term); };
    event("term-raised",
          node.name + " has applied list " + text(node.applied) + ", this controller had given it list " +
              text(greatest) + ": its database is older than the fleet",
          {{"node", node.name}});
    term_ = node.applied.term + 1;
    write("meta", meta_document());
    names_dirty_ = true;
    for (auto& [name, other] : nodes_) dirty_list(other);
}

void Controller::State::welcome(Node& node, PeerId peer) {
    end_routes(node, peer);
    node.via = is_route(peer) ? routes_.at(peer).via : "";
    node.peer = peer;
    node.quiet = Quiet::kConnected;
    node.heard = node.last_word = now_;
    node.ask_at = kNever;
    peers_[peer] = &node;
    send(node, Welcome{cluster_id_, term_, timing_.heartbeat / milliseconds(1), node.public_address(),
                       timing_.restart_delay / milliseconds(1), timing_.stable_after / milliseconds(1),
                       timing_.crashes_to_move, timing_.restart_delay_max / milliseconds(1),
                       timing_.lease / milliseconds(1), now_});
}

}  // namespace gantry::core
