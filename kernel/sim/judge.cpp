// SPDX-License-Identifier: Apache-2.0
//
// What the controller publishes, stores and says, judged as it happens.
#include "kernel/sim/judge.hpp"

#include <algorithm>
#include <cstdio>

#include "kernel/base/limits.hpp"
#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

std::string text(const json::value& value) { return std::string(value.as_string()); }

std::uint64_t number(const std::string& document, const char* key) {
    return parse_json(document)->at(key).to_number<std::uint64_t>();
}

std::map<std::string, std::string> mapped(const std::vector<core::Entry>& entries) {
    std::map<std::string, std::string> out;
    for (const auto& entry : entries) out[entry.key] = entry.value;
    return out;
}

std::string first_difference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
    for (const auto& [key, value] : a) {
        const auto at = b.find(key);
        if (at == b.end()) return key + " only on the left: " + value;
        if (at->second != value) return key + ": " + value + " / " + at->second;
    }
    for (const auto& [key, value] : b)
        if (!a.contains(key)) return key + " only on the right: " + value;
    return "";
}

}  // namespace

Judge::Judge(World& world) : world_(world), random_(world.setup.seed, "judge") {}

void Judge::broken(const std::string& invariant, const std::string& how) { world_.broken(invariant, how); }

// --- the store ------------------------------------------------------------------------------------------------------

// A term belongs to one start: it is durable before it is published.
void Judge::loaded(std::uint64_t start) {
    const auto term = world_.seat.core->term();
    if (!term_of_.empty() && term <= term_of_.rbegin()->first)
        broken("a term belongs to one start of a controller",
               "start " + std::to_string(start) + " has term " + std::to_string(term) + ", which was published before");
    named_.clear();
    acked_.clear();
}

void Judge::committed() {
    if (!world_.setup.judged) return;
    check_stored();
    check_reload();
    if (random_.chance(250)) check_bookkeeping();
    check_names();
}

void Judge::check_stored() {
    const auto live = mapped(world_.seat.core->stored());
    if (live != world_.seat.durable)
        broken("the stored state equals the live one", first_difference(world_.seat.durable, live));
}

void Judge::check_reload() {
    const auto& seat = world_.seat;
    core::Controller other(seat.timing, seat.policies);
    std::vector<core::Entry> entries;
    for (const auto& [key, value] : seat.durable) entries.push_back({key, value});
    const auto effects = other.load(entries, "x", seat.local());
    if (!effects) return broken("a stored state can be loaded", effects.error().text());
    auto again = mapped(other.stored());
    auto expected = seat.durable;
    for (const auto& write : effects->writes) expected[write.key] = *write.value;
    again.erase("meta");
    expected.erase("meta");
    if (again != expected) broken("a stored state reloaded equals the live one", first_difference(expected, again));
}

// One current copy and at most one next, and each node counts those that it has.
void Judge::check_bookkeeping() {
    std::map<std::string, std::size_t> copies;
    for (const auto& [key, document] : world_.seat.durable) {
        if (!key.starts_with("instance/")) continue;
        const auto stored = *parse_json(document);
        for (const auto* slot : {"current", "next"})
            if (const auto* copy = stored.at(slot).if_object()) ++copies[text(copy->at("node"))];
        if (const auto* next = stored.at("next").if_object(); next && next->at("epoch") == stored.at("epoch"))
            broken("one current copy and at most one next", key + ": " + document);
    }
    for (const auto& node : world_.seat.core->nodes(world_.seat.local()))
        if (const auto name = text(node.at("name")); node.at("copies").to_number<std::size_t>() != copies[name])
            broken("one current copy and at most one next", name + " counts other copies than are stored");
}

// What was taken away, lost or replaced is named no more.
void Judge::check_names() {
    std::set<std::string> current;
    for (const auto& value : world_.seat.core->instances()) {
        const auto& instance = value.as_object();
        if (!text(instance.at("node")).empty())
            current.insert(text(instance.at("instance")) + "#" +
                           std::to_string(instance.at("epoch").to_number<std::uint64_t>()) + " on " +
                           text(instance.at("node")));
    }
    if (!world_.seat.names) return;
    for (const auto& entry : world_.seat.names->entries) {
        const auto known = instance_of_.find(entry.copy);
        if (known == instance_of_.end()) continue;  // of an earlier term, and not listed in this one yet
        const std::string copy = known->second + "#" + std::to_string(entry.copy.epoch) + " on " + entry.node;
        if (!current.contains(copy)) broken("a name means a current copy", entry.name + " means " + copy);
    }
}

// --- what is published ----------------------------------------------------------------------------------------------

// No list is published before what it rests on is durable; a copy is never on two nodes; nothing goes backwards.
void Judge::published(const Machine& machine, const core::NodeList& list) {
    const auto& durable = world_.seat.durable;
    const auto stored = durable.find("node/" + machine.name);
    const auto meta = durable.find("meta");
    const std::string which = std::to_string(list.no.term) + "/" + std::to_string(list.no.no) + " of " + machine.name;
    if (meta == durable.end() || number(meta->second, "term") < list.no.term || stored == durable.end() ||
        number(stored->second, "list_no") < list.no.no)
        return broken("acting before the commit", "list " + which + " was sent and is not stored");
    const auto [start, first] = term_of_.try_emplace(list.no.term, world_.seat.starts);
    if (!first && start->second != world_.seat.starts)
        broken("a term belongs to one start of a controller", "list " + which);
    for (const auto& entry : list.copies) {
        const auto [at, fresh] = published_on_.try_emplace(entry.copy, machine.name);
        if (!fresh && at->second != machine.name)
            broken("one current copy of an instance",
                   entry.copy.text() + " was listed on " + at->second + " and on " + machine.name);
        if (entry.forbid) forbid_.insert(entry.copy.instance.service_no);
        static_[entry.copy] |= entry.is_static;  // a node may not have heard yet that it is no more
    }
    if (list.copies.size() > limits::kNodeCopies) broken("queues stay under their limits", "list " + which);
    check_stopped(machine, list);
    auto& last = last_list_[machine.name];
    if (list.no < last) broken("lists only grow", which);
    last = list.no;
}

// What leaves a list is stopped: no name means it any more, and it is not replaced by what was never ready.
void Judge::check_stopped(const Machine& machine, const core::NodeList& list) {
    std::set<core::CopyId> copies;
    for (const auto& entry : list.copies) {
        copies.insert(entry.copy);
        of_instance_[entry.copy.instance].insert(entry.copy);
        instance_of_[entry.copy] = entry.service + "." + std::to_string(entry.copy.instance.index);
    }
    for (const auto& entry : named_)
        if (entry.node == machine.name && !copies.contains(entry.copy))
            broken("names never point at a stopped copy",
                   entry.name + " means " + entry.copy.text() + " on " + machine.name);
    for (const auto& copy : listed_[machine.name]) {
        if (copies.contains(copy) || !running_.contains(copy) || !was_ready_.contains({copy, machine.name})) continue;
        const core::CopyId newest = *of_instance_.at(copy.instance).rbegin();
        const auto where = published_on_.find(newest);
        if (newest == copy || was_ready_.contains({newest, where->second})) continue;
        const std::string& instance = instance_of_.at(copy);
        if (forbid_.contains(copy.instance.service_no)) continue;
        if (!planned_.contains({instance, newest.epoch}) || lost_.contains({instance, copy.epoch})) continue;
        const auto now =
            world_.seat.core->instances();  // one that was taken away meanwhile is stopped, next copy and all
        const bool there = std::any_of(now.begin(), now.end(), [&](const json::value& entry) {
            return entry.at("instance").as_string() == instance && entry.at("epoch") == newest.epoch;
        });
        if (there) broken("next is ready before current stops", copy.text() + " is stopped for " + newest.text());
    }
    listed_[machine.name] = std::move(copies);
}

// What is older than what was answered says nothing, and is not answered.
void Judge::acked(core::PeerId peer, std::uint64_t seq) {
    auto& last = acked_[peer];
    if (seq <= last)
        broken("an older message says nothing",
               "heartbeat " + std::to_string(seq) + " was answered after " + std::to_string(last));
    last = seq;
}

// A name is answered by a copy that its node has reported ready.
void Judge::announced(const core::Names& names) {
    named_ = names.entries;
    for (const auto& entry : names.entries) {
        if (entry.port == 0) broken("names follow the port", entry.name + " is named without one");
        if (!was_ready_.contains({entry.copy, entry.node}))
            broken("a stale report accepted as current", entry.name + " is said to be " + entry.copy.text() + " on " +
                                                             entry.node + ", which never was ready");
    }
}

// --- what people are told -------------------------------------------------------------------------------------------

void Judge::told(const core::Event& event) {
    auto& counts = world_.counts;
    ++counts.events[event.kind];
    if (world_.setup.tell)
        std::printf("%10.3f s  %s: %s\n", static_cast<double>(world_.now().ns) / 1e9, event.kind.c_str(),
                    event.text.c_str());
    const auto of = [&](const char* field) { return text(event.fields.at(field)); };
    const auto epoch = [&] { return event.fields.at("epoch").to_number<std::uint64_t>(); };
    counts.placements += event.kind == "placed";
    counts.losses += event.kind == "lost";
    counts.gaps += event.kind == "gap-planned";
    counts.moves += event.kind == "moving";
    if (event.kind == "ready") {
        const std::string copy = of("instance") + "#" + std::to_string(epoch()) + " on " + of("node");
        if (!ready_copies_.contains(copy))
            broken("a stale report accepted as current", copy + " is said to be ready, which it never was");
    }
    // Names and epochs mean others when a service is deployed again.
    if (event.kind == "service-removed" || event.kind == "service-deployed")
        for (auto* known : {&planned_, &lost_})
            std::erase_if(*known, [name = of("service") + "."](const auto& e) { return e.first.starts_with(name); });
    // What a node that was forgotten brings along is met by surprise: nobody knows any more what it takes.
    if (event.kind == "node-removed")
        for (const auto& [copy, node] : published_on_)
            if (node == of("node")) taken_.erase(instance_of_[copy] + "#" + std::to_string(copy.epoch));
    if (event.kind == "moving" && event.text.find(" moves from ") != std::string::npos)
        planned_.insert({of("instance"), epoch()});
    if (event.kind == "lost") lost_.insert({of("instance"), epoch()});
    if (event.kind == "placed" || event.kind == "returned") displaced_.erase(of("instance"));
    if (event.kind == "preempted") {
        ++counts.displaced;
        displaced_.insert(of("instance"));
        if (displaced_.contains(of("by"))) broken("one displacement leads to no other", event.text);
    }
    if (event.kind == "node-lost") false_alarm(event);
}

// A node whose words all arrive, at a controller that runs, is not lost.
void Judge::false_alarm(const core::Event& event) {
    const Machine* machine = world_.machine(text(event.fields.at("node")));
    const std::string cause = text(event.fields.at("cause"));
    if (!machine || cause == "confirmed by the operator" || cause == "removed as dead") return;
    const Instant since = world_.now() - world_.seat.timing.lost_after - seconds(2);
    if (machine->in_contact_since(since) && world_.seat.ran_since(since))
        broken("a node in contact is not lost", event.text);
}

// --- people's requests: each ends once ------------------------------------------------------------------------------

void Judge::asked(core::RequestId request) { asked_.insert(request); }
void Judge::deployed(core::RequestId request, const std::string& service) { deploys_[request] = service; }
void Judge::requests_lost() {
    asked_.clear();
    deploys_.clear();
    displaced_.clear();
}

void Judge::replied(const core::Reply& reply) {
    if (asked_.erase(reply.request) == 0)
        broken("every operation ends exactly once", "request " + std::to_string(reply.request) + " was answered again");
    const auto at = deploys_.find(reply.request);
    if (at == deploys_.end() || !reply.result) return;
    const auto revision = reply.result->at("revision").to_number<std::uint64_t>();
    const auto stored = world_.seat.durable.find("service/" + at->second);
    const bool there = stored != world_.seat.durable.end() &&
                       stored->second.find("\"revision\":" + std::to_string(revision)) != std::string::npos;
    if (!there) broken("acting before the commit", "an answered deploy of " + at->second + " is not stored");
}

}  // namespace gantry::sim
