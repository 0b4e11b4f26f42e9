// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/relays.hpp"

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr Duration kSilence = seconds(4);  // the transport gives up a connection that is silent for so long

}  // namespace

Relays::Relays(World& world) : world_(world), random_(world.setup.seed, "relays") {}

core::PeerId Relays::dial(Machine& via, std::uint64_t route, Machine& to) {
    Relay relay{&via, &to, ++last_, ++last_, {}, world_.now()};
    at_to_[relay.at_to] = relay.at_via;
    routes_[{&via, route}] = &to;
    relays_[relay.at_via] = relay;
    world_.time.in(random_.ms(1, 3), [this, &to, at_to = relay.at_to] {
        if (at_to_.contains(at_to)) to.turn(core::Connected{at_to, true});
    });
    watch(relay.at_via);
    return relay.at_via;
}

bool Relays::dialled(const Machine& to, core::PeerId peer) const {
    const auto at = at_to_.find(peer);
    return at != at_to_.end() && relays_.at(at->second).to == &to;
}

Machine* Relays::end_of(const Machine& via, std::uint64_t route) const {
    const auto at = routes_.find({&via, route});
    return at == routes_.end() ? nullptr : at->second;
}

std::map<core::PeerId, Relays::Relay>::iterator Relays::find(core::PeerId either) {
    const auto at = at_to_.find(either);
    return relays_.find(at == at_to_.end() ? either : at->second);
}

// kNever: it is lost.
Instant Relays::arrival(Relay& relay, bool up) {
    const Machine &from = up ? *relay.to : *relay.via, &to = up ? *relay.via : *relay.to;
    if (!from.can_send() || !to.can_hear() || random_.chance(world_.faults.loss)) return kNever;
    Instant at = world_.now() + random_.time(std::chrono::microseconds(100), milliseconds(2));
    if (random_.chance(world_.faults.delays)) at = at + random_.ms(10, 1'500);
    auto& last = relay.last[up ? 0 : 1];
    return last = std::max(at, last);
}

void Relays::up(core::PeerId at_to, const core::AgentMessage& message) {
    const auto at = find(at_to);
    if (at == relays_.end()) return;
    const Instant when = arrival(at->second, true);
    auto document = core::unframe(core::encode(message));
    if (!document) return world_.broken("the wire changes nothing", document.error().text());
    world_.time.at(when, [this, at_via = at->first, document = std::move(*document)] {
        const auto relay = relays_.find(at_via);
        if (relay == relays_.end()) return;
        relay->second.heard = world_.now();
        relay->second.via->turn(core::FromNode{at_via, document});
    });
}

void Relays::down(core::PeerId at_via, const json::object& message) {
    const auto at = find(at_via);
    if (at == relays_.end()) return;
    const Instant when = arrival(at->second, false);
    auto read = core::decode_controller(core::frame(message));
    if (!read) return world_.broken("the wire changes nothing", read.error().text());
    world_.time.at(when, [this, at_via, message = std::move(read->message)] {
        const auto relay = relays_.find(at_via);
        if (relay != relays_.end()) relay->second.to->hear(relay->second.at_to, message);
    });
}

void Relays::hang_up(core::PeerId either, core::Ended how) {
    const auto at = find(either);
    if (at == relays_.end()) return;
    const Relay relay = at->second;
    const bool by_via = either == relay.at_via;
    relays_.erase(at);
    at_to_.erase(relay.at_to);
    Machine& other = by_via ? *relay.to : *relay.via;
    const auto run = other.run;
    world_.time.at(std::max(world_.now() + milliseconds(1), relay.last[by_via ? 1 : 0]), [=, &other] {
        if (other.run != run) return;
        if (by_via)
            other.turn(core::Disconnected{relay.at_to});
        else
            other.turn(core::NodeGone{relay.at_via, how});
    });
}

void Relays::gone(const Machine& machine) {
    for (const auto& [at_via, relay] : std::map(relays_)) {
        if (relay.via == &machine) hang_up(at_via, core::Ended::kReset);
        if (relay.to == &machine) hang_up(relay.at_to, core::Ended::kReset);
    }
}

void Relays::watch(core::PeerId at_via) {
    world_.time.in(seconds(1), [this, at_via] {
        const auto at = relays_.find(at_via);
        if (at == relays_.end()) return;
        if (world_.now() - at->second.heard <= kSilence) return watch(at_via);
        const Relay relay = at->second;
        hang_up(relay.at_to, core::Ended::kSilent);
        relay.to->turn(core::Disconnected{relay.at_to});
    });
}

}  // namespace gantry::sim
