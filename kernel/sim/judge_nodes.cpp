// SPDX-License-Identifier: Apache-2.0
//
// What nodes say, want and truly run, judged as it happens.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

constexpr Duration kNamesSlack = milliseconds(500);  // messages and the agent's disk take their time

}  // namespace

void Judge::booted(const Machine& machine) { applied_.erase(machine.name); }

// --- what agents say ------------------------------------------------------------------------------------------------

void Judge::said(const Machine& machine, const core::AgentMessage& message) {
    if (!world_.setup.judged) return;
    if (random_.chance(30)) {
        // The wire changes nothing, and everything fits it.
        const auto bytes = core::encode(message);
        const auto back = core::decode_agent(bytes);
        if (!back || core::encode(back->message) != bytes || bytes.size() > limits::kMessage)
            broken("the wire changes nothing", back ? bytes : back.error().text());
    }
    const auto* report = std::get_if<core::Report>(&message);
    if (!report) return;
    auto& applied = applied_[machine.name];
    if (report->applied < applied && report->applied != core::ListNo())
        broken("an agent applies only newer lists", machine.name + " went back to list " +
                                                        std::to_string(report->applied.term) + "/" +
                                                        std::to_string(report->applied.no));
    applied = std::max(applied, report->applied);
    std::set<core::CopyId> once;
    for (const auto& copy : report->copies) {
        if (!once.insert(copy.copy).second)
            broken("a report has every copy once", machine.name + " reports " + copy.copy.text() + " twice");
        if (copy.state != core::CopyState::kReady) continue;
        was_ready_.insert({copy.copy, machine.name});
        const auto known = instance_of_.find(copy.copy);
        if (known != instance_of_.end())
            ready_copies_.insert(known->second + "#" + std::to_string(copy.copy.epoch) + " on " + machine.name);
    }
}

// --- what agents want -----------------------------------------------------------------------------------------------

void Judge::wants(const Machine& machine, const core::AgentEffect& effect) {
    if (const auto* create = std::get_if<core::Create>(&effect)) {
        const auto parsed = core::parse_container_name(create->wanted.name);
        if (!parsed) return broken("containers have names of ours", create->wanted.name);
        // After a reboot nothing is begun before a controller says so, but for what is meant to start alone.
        const auto at = static_.find(parsed->copy);
        const bool alone = !forbid_.contains(parsed->copy.instance.service_no) &&
                           (create->wanted.spec.cut_off_start || (at != static_.end() && at->second));
        if (!alone && !machine.list_of_boot)
            broken("after a reboot a node waits for its controller", machine.name + " starts " + create->wanted.name);
        return;
    }
    const auto* stop = std::get_if<core::Stop>(&effect);
    if (!stop || machine.list_heard) return;
    // With nobody to ask, only a second container of one copy is stopped, and what is to be restarted.
    const auto parsed = core::parse_container_name(stop->name);
    if (parsed && restarted.contains(parsed->copy)) return;
    if (parsed && forbid_.contains(parsed->copy.instance.service_no)) return;  // its lease is over
    std::size_t of_copy = 0;
    for (const auto& runtime : machine.runtimes)
        for (const auto& [name, box] : runtime->boxes()) of_copy += parsed && box.copy == parsed->copy;
    if (of_copy < 2) broken("cut off, a node keeps what it runs", machine.name + " stops " + stop->name);
}

void Judge::created(const Machine& machine, const std::string& name, const core::CopyId& copy, bool fresh) {
    if (!fresh) broken("an attempt is never used twice", machine.name + " makes " + name + " again");
    const auto at = published_on_.find(copy);
    if (at == published_on_.end() || at->second != machine.name)
        broken("a node starts only what is in its list", machine.name + " makes " + name);
}

void Judge::began_twice(const Machine& machine, const std::string& name) {
    broken("every operation ends exactly once",
           machine.name + " begins something with " + name + " while another operation on it is under way");
}

// --- what truly runs ------------------------------------------------------------------------------------------------

// In true time, by nobody's clock.
void Judge::started(const Machine& machine, const std::string& name, const core::CopyId& copy) {
    auto& all = running_[copy];
    all.push_back({&machine, name});
    stopped_.erase(copy);
    check_ports(machine);
    if (all.size() > 1)
        broken("one container of a copy runs", copy.text() + " runs as " + all[0].container + " on " +
                                                   all[0].machine->name + " and as " + name + " on " + machine.name);
    if (!forbid_.contains(copy.instance.service_no)) return;
    ++world_.counts.leased;
    if (!machine.guard.holds(name) || machine.guard.killed(name))
        broken("armed, then started", name + " on " + machine.name + " is held by no guard");
    // By its name: one of a service that was removed and deployed again has another number.
    const auto named = [&](const core::CopyId& other) {
        const auto at = instance_of_.find(other);
        return at == instance_of_.end() ? "" : at->second;
    };
    for (const auto& [other, where] : running_)
        if (other != copy && named(other) == named(copy))
            broken("under forbid never two run at once", copy.text() + " starts on " + machine.name + " while " +
                                                             other.text() + " runs on " + where[0].machine->name);
}

// Of those that nodes choose.
void Judge::check_ports(const Machine& machine) {
    std::map<std::uint16_t, std::string> users;
    for (const auto& runtime : machine.runtimes)
        for (const auto& [name, box] : runtime->boxes()) {
            if (!box.running) continue;
            for (const auto port : box.ports)
                if (const auto [at, first] = users.try_emplace(port, name); !first && port >= machine.facts.ports.first)
                    broken("no two attempts that run have one port",
                           std::to_string(port) + " of " + machine.name + " is that of " + at->second + " and " + name);
        }
}

// One that was chosen is that of a container of the copy.
bool Judge::listens(const Machine& machine, const core::CopyId& copy, std::uint16_t port) {
    for (const auto& runtime : machine.runtimes)
        for (const auto& [name, box] : runtime->boxes())
            if (box.copy == copy && std::ranges::count(box.ports, port) != 0) return true;
    return port < machine.facts.ports.first && port != 0;
}

void Judge::ended(const Machine& machine, const std::string& name, const core::CopyId& copy, bool asked) {
    const auto at = running_.find(copy);
    if (at == running_.end()) return;
    std::erase_if(at->second, [&](const Running& r) { return r.machine == &machine && r.container == name; });
    if (!at->second.empty()) return;
    running_.erase(at);
    if (asked && machine.in_contact_since(world_.now())) stopped_[copy] = world_.now();
}

void Judge::look() {
    const Instant bound = world_.now() - kNamesLag - kNamesSlack;
    for (const auto& machine : world_.machines) check_served(*machine);
    std::erase_if(stopped_, [&](const auto& entry) { return entry.second < bound - seconds(10); });
    if (asked_.size() > limits::kWaitingRequests) broken("queues stay under their limits", "requests wait");
}

// A node in contact does not name a stopped copy for long.
void Judge::check_served(const Machine& machine) {
    const Instant bound = world_.now() - kNamesLag - kNamesSlack;
    for (const auto& entry : machine.served) {
        if (entry.node == machine.name && !listens(machine, entry.copy, entry.port))
            broken("names follow the port",
                   machine.name + " names " + entry.copy.text() + " with the port " + std::to_string(entry.port));
        const auto at = stopped_.find(entry.copy);
        if (at == stopped_.end() || at->second > bound) continue;
        const Machine* owner = world_.machine(entry.node);
        if (!machine.in_contact_since(at->second) || !world_.seat.undisturbed_since(at->second)) continue;
        if (!owner || !owner->in_contact_since(at->second)) continue;
        broken("no node in contact names a stopped copy for long",
               machine.name + " names " + entry.copy.text() + " as " + entry.name);
    }
}

}  // namespace gantry::sim
