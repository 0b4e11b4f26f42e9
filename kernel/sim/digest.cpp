// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/digest.hpp"

namespace gantry::sim {

namespace {

void add(Digest& to, const core::Identity& id) {
    to.add(id.node_id);
    to.add(id.boot_id);
    to.add(id.session);
    to.add(id.seq);
}

void add(Digest& to, const core::AgentMessage& message) {
    // The frequent one without its text.
    const auto* beat = std::get_if<core::Heartbeat>(&message);
    if (!beat) return to.add(core::encode(message));
    add(to, beat->id);
    to.add(beat->applied.term);
    to.add(beat->applied.no);
    to.add(static_cast<std::uint64_t>(beat->load.memory_free_bytes));
    to.add(beat->beat);
}

void add(Digest& to, const core::ControllerMessage& message) {
    const auto* ack = std::get_if<core::HeartbeatAck>(&message);
    if (!ack) return to.add(core::encode(message));
    to.add(ack->seq);
    to.add(ack->current.term);
    to.add(ack->current.no);
    to.add(ack->names_no);
    to.add(std::uint64_t{ack->left});
    to.add(ack->beat);
    for (const auto& copy : ack->grants) to.add(copy.text());
}

void add(Digest& to, const core::Rank& rank) {
    to.add(rank.id);
    to.add(rank.policy);
    to.add(rank.service);
    for (const auto& candidate : rank.candidates) {
        to.add(candidate.node);
        to.add(std::uint64_t{candidate.copies_running} << 32 | candidate.copies_pending);
        to.add(static_cast<std::uint64_t>(candidate.memory_free_bytes));
    }
}

struct Acts {
    Digest& to;
    void operator()(const core::SendTo& e) const {
        to.add(e.peer);
        add(to, e.message);
    }
    void operator()(const core::ClosePeer& e) const {
        to.add(e.peer);
        to.add(e.reason);
    }
    void operator()(const core::Announce& e) const { to.add(core::encode(core::ControllerMessage(e.names))); }
    void operator()(const core::Reply& e) const {
        to.add(e.request);
        to.add(e.result ? to_text(*e.result) : e.result.error().text());
    }
    void operator()(const core::Event& e) const {
        to.add(e.kind);
        to.add(e.text);
        to.add(to_text(e.fields));
    }
};

struct AgentActs {
    Digest& to;
    void operator()(const core::Send& e) const {
        to.add(e.peer);
        add(to, e.message);
    }
    void operator()(const core::Save& e) const { to.add(e.document); }
    void operator()(const core::ListContainers& e) const { to.add(e.runtime); }
    void operator()(const core::ListImages& e) const { to.add(e.runtime); }
    void operator()(const core::FetchImage& e) const {
        to.add(e.digest);
        to.add(std::uint64_t{e.urgent});
    }
    void operator()(const core::KeepImages& e) const {
        for (const auto& digest : e.digests) to.add(digest);
    }
    void operator()(const core::Create& e) const {
        to.add(e.id);
        to.add(e.wanted.name);
        to.add(e.wanted.image_digest);
        for (const auto& [name, value] : e.wanted.env) to.add(name), to.add(value);
    }
    void operator()(const core::Start& e) const { operation(e.id, e.name); }
    void operator()(const core::Stop& e) const { operation(e.id, e.name); }
    void operator()(const core::Remove& e) const { operation(e.id, e.name); }
    void operator()(const core::Check& e) const { operation(e.id, e.container); }
    void operator()(const core::ServeNames& e) const {
        to.add(e.table_no);
        for (const auto& entry : e.entries) {
            to.add(entry.name);
            to.add(entry.address);
            to.add(std::uint64_t{entry.port});
            to.add(entry.copy.text());
        }
    }
    void operator()(const core::AgentEvent& e) const {
        to.add(e.kind);
        to.add(e.text);
    }
    void operator()(const core::MayStop&) const {}
    void operator()(const core::DropPeer& e) const {
        to.add(e.peer);
        to.add(e.reason);
    }
    void operator()(const core::Reach& e) const { operation(e.route, e.address); }
    void operator()(const core::PassOn& e) const { operation(e.peer, to_text(e.message)); }
    void operator()(const core::HangUp& e) const { to.add(e.peer); }
    void operator()(const core::Arm& e) const {
        operation(e.id, e.name);
        to.add(static_cast<std::uint64_t>(e.until.ns));
    }
    void operator()(const core::Disarm& e) const { to.add(e.name); }
    void operator()(const core::TryPort& e) const { operation(e.id, std::to_string(e.port)); }
    void operation(std::uint64_t id, const std::string& name) const {
        to.add(id);
        to.add(name);
    }
};

}  // namespace

void Digest::add(const core::Effects& effects) {
    for (const auto& write : effects.writes) {
        add(write.key);
        add(write.value ? std::string_view(*write.value) : std::string_view());
    }
    for (const auto& act : effects.acts) {
        add(act.index());
        std::visit(Acts{*this}, act);
    }
    for (const auto& rank : effects.ranks) sim::add(*this, rank);
    add(std::uint64_t{effects.api_change});
}

void Digest::add(const core::AgentEffects& effects) {
    for (const auto& effect : effects) {
        add(effect.index());
        std::visit(AgentActs{*this}, effect);
    }
}

}  // namespace gantry::sim
