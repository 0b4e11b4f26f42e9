// SPDX-License-Identifier: Apache-2.0
//
// A suspect node is asked about through others (docs/detection.md, ADR 16). A node that was asked dials the suspect
// one, which says hello there as it does to a controller; from then on that route is a peer like any other. Its numbers
// are above those of the transport, and what goes to it is wrapped for the node that passes it on.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kAskLeast = milliseconds(200), kAskAgain = seconds(1);

std::string with_port(const std::string& address, std::uint16_t port) {
    const bool v6 = address.find(':') != std::string::npos;
    return (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port);
}

// On the controller's own machine: what such a node reaches, the controller reaches by the same link.
bool beside_us(const Node& node) { return node.address.starts_with("127.") || node.address == "::1"; }

}  // namespace

bool Controller::State::may_be_asked(const Node& node) const {
    return node.liveness == Liveness::kReady && node.peer != 0 && node.ask_port != 0 && !node.leaves_by &&
           now_ < suspect_at(node) && !beside_us(node);
}

// Spread like the questions below, by who reads.
std::vector<std::string> Controller::State::neighbours_with(const std::string& image, PeerId reader) const {
    const auto number = image_numbers_.find(image);
    if (number == image_numbers_.end()) return {};
    std::vector<const Node*> others;
    for (const auto& [name, node] : nodes_) {
        if (node.peer != reader && may_be_asked(node) && std::ranges::binary_search(node.images, number->second))
            others.push_back(&node);
    }
    std::vector<std::string> out;
    const std::size_t count = std::min(kAsked, others.size());
    for (std::size_t i = 0; i < count; ++i) {
        const Node& node = *others[(reader + i * others.size() / count) % others.size()];
        out.push_back(with_port(node.address, node.ask_port));
    }
    return out;
}

// Three that are far apart in the order of names, from where the suspect one's id says: many suspects are spread.
void Controller::State::ask_about(Node& node) {
    node.ask_at = now_ + std::max(timing_.lost_after, kAskAgain);
    end_routes(node);
    if (node.ask_port == 0 || node.address.empty()) return;
    std::vector<const Node*> others;
    for (const auto& [name, other] : nodes_)
        if (&other != &node && may_be_asked(other)) others.push_back(&other);
    const std::size_t count = std::min(kAsked, others.size());
    // Who is told that nothing came back can still say so before the node is lost.
    const Duration within = std::max((timing_.lost_after - timing_.suspect_after) / 4 * 3, kAskLeast);
    for (std::size_t i = 0; i < count; ++i) {
        const Node& via = *others[((fnv1a(node.node_id) >> 8) + i * others.size() / count) % others.size()];
        routes_[++last_route_] = {via.name, node.name};
        send(via, Ask{last_route_, with_port(node.address, node.ask_port), within / milliseconds(1)});
    }
}

void Controller::State::relayed(const Node& via, const Relayed& message) {
    const auto at = routes_.find(message.route);
    if (at == routes_.end() || at->second.via != via.name) return;  // of a question that is over
    const Route route = at->second;
    if (message.ended != Ended::kNot) return route_ended(message.route, route, message);
    auto said = read_agent(message.message);
    const auto node = nodes_.find(route.node);
    const auto of_it = [&](const auto& m) { return m.id.node_id == node->second.node_id; };
    const auto* hello = said ? std::get_if<Hello>(&*said) : nullptr;
    // Another machine may have that address now; and no route leads through another.
    if (!said || node == nodes_.end() || !std::visit(of_it, *said) || std::holds_alternative<Relayed>(*said) ||
        (hello && hello->node != route.node))
        return end_route(message.route);
    on(PeerMessage{message.route, node->second.address, std::move(*said)});
}

void Controller::State::route_ended(PeerId number, const Route& route, const Relayed& message) {
    routes_.erase(number);
    if (node_of(number)) {
        const Down cause = message.ended == Ended::kReset    ? Down::kReset
                           : message.ended == Ended::kClosed ? Down::kClosed
                                                             : Down::kTimeout;
        return on(PeerDown{number, cause});
    }
    const auto at = nodes_.find(route.node);
    if (at == nodes_.end() || at->second.liveness == Liveness::kReady) return;
    Node& node = at->second;
    const bool silent = message.ended == Ended::kSilent, refused = message.ended == Ended::kRefused;
    node.confirmed = node.confirmed || silent || refused;
    node.answers[route.via] = silent    ? "does not reach it either"
                              : refused ? "reaches its machine, but no gantryd there"
                                        : "cannot tell: " + message.text;
}

std::string Controller::State::told_by_others(const Node& node) const {
    std::string out;
    for (const auto& [name, answer] : node.answers) out += "; " + name + " " + answer;
    return out;
}

void Controller::State::send_to(PeerId peer, ControllerMessage message) {
    if (!is_route(peer)) {
        out_->acts.push_back(SendTo{peer, std::move(message)});
        return;
    }
    const auto at = routes_.find(peer);
    const auto via = at == routes_.end() ? nodes_.end() : nodes_.find(at->second.via);
    if (via != nodes_.end()) send(via->second, Forward{peer, to_document(message)});
}

void Controller::State::end_route(PeerId number) {
    const auto route = routes_.extract(number);
    const auto via = route.empty() ? nodes_.end() : nodes_.find(route.mapped().via);
    if (via != nodes_.end()) send(via->second, Forward{number, {}, true});
}

void Controller::State::end_routes(const Node& node, PeerId but) {
    const auto routes = routes_;
    for (const auto& [number, route] : routes)
        if (route.node == node.name && number != but) end_route(number);
}

// What was heard through that node is not heard any more.
void Controller::State::routes_down(const Node& via) {
    const auto routes = routes_;
    for (const auto& [number, route] : routes) {
        if (route.via != via.name) continue;
        routes_.erase(number);
        on(PeerDown{number, Down::kTimeout});
    }
}

// It is heard, so nothing of it moves; nothing new is placed there, for images do not come that way.
void Controller::State::cut_off(Node& node) {
    node.ask_at = kNever;
    const std::string reason = "cut off from the controller, heard through " + node.via;
    if (node.liveness == Liveness::kReady) --nodes_ready_;
    node.liveness = Liveness::kSuspect;
    if (std::exchange(node.reason, reason) == reason) return;
    event("node-cut-off", node.name + " is " + reason, {{"node", node.name}, {"via", node.via}});
}

}  // namespace gantry::core
