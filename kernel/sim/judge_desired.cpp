// SPDX-License-Identifier: Apache-2.0
//
// Placement judged from documents and manifests, not with the core's own rules; and whether desired equals actual.
#include <algorithm>

#include "kernel/sim/world.hpp"

namespace gantry::sim {

namespace {

std::string text(const json::value& value) { return std::string(value.as_string()); }
std::uint64_t whole(const json::value& value) { return value.to_number<std::uint64_t>(); }

}  // namespace

Judge::Takes Judge::takes(const json::value& document) {
    const auto spec = core::parse_service(document);
    Takes out;
    if (!spec) return out;
    out.memory = spec->memory_bytes;
    out.cpu = spec->cpu_milli;
    out.runtime = spec->runtime;
    out.forbid = spec->forbid;
    out.preempt = spec->preempt;
    out.apart = spec->apart == core::Force::kHard;
    if (spec->spread == core::Force::kHard) out.spread = spec->spread_label;
    out.priority = spec->priority;
    if (!spec->endpoints.empty()) out.port = spec->endpoints[0].port;
    out.nodes = spec->nodes;
    out.labels = spec->pool_labels;
    out.constraints = spec->constraints;
    return out;
}

bool Judge::in_pool(const Takes& need, const Machine& machine) {
    const auto has = [&](const auto& label) { return std::ranges::count(machine.facts.labels, label) != 0; };
    return (need.nodes.empty() || std::ranges::count(need.nodes, machine.name) != 0) &&
           std::ranges::all_of(need.labels, has);
}

// Why this node never fits, whatever else it runs.
std::string Judge::unfit(const Takes& need, const Machine& machine) {
    const auto& facts = machine.facts;
    if (!in_pool(need, machine)) return "not in the pool";
    if (facts.runtimes[0].architectures[0] != "amd64") return "architecture";
    const auto same = [&](const core::RuntimeHello& runtime) { return runtime.name == need.runtime; };
    if (!need.runtime.empty() && std::none_of(facts.runtimes.begin(), facts.runtimes.end(), same)) return "runtime";
    if (need.forbid && !(need.runtime.empty() || need.runtime == "oci")) return "fence";
    if (need.forbid && !facts.runtimes[0].guarded) return "fence";
    const auto has = [&](const auto& label) { return std::ranges::count(facts.labels, label) != 0; };
    return std::ranges::all_of(need.constraints, has) ? "" : "constraints";
}

// A group of nodes counts that has a copy or could get one.
std::string Judge::crowded(const Takes& need, const std::map<std::string, int>& copies, const Machine& machine,
                           bool placed) const {
    const auto of = [&](const std::string& name) {
        const auto at = copies.find(name);
        return at == copies.end() ? 0 : at->second;
    };
    if (need.apart && of(machine.name) > (placed ? 1 : 0)) return "anti-affinity";
    if (need.spread.empty()) return "";
    const auto group_of = [&](const Machine& of_node) {
        for (const auto& [key, value] : of_node.facts.labels)
            if (key == need.spread) return value;
        return std::string();
    };
    std::set<std::string> open;
    for (const auto& node : world_.seat.core->nodes(world_.seat.local()))
        if (text(node.at("liveness")) == "ready" && text(node.at("intent")) == "active")
            open.insert(text(node.at("name")));
    std::map<std::string, int> groups;
    for (const auto& each : world_.machines) {
        const bool could = open.contains(each->name) && !each->leaving && unfit(need, *each).empty();
        if (in_pool(need, *each) && (could || of(each->name) != 0)) groups[group_of(*each)] += of(each->name);
    }
    int least = INT32_MAX;
    for (const auto& [value, count] : groups) least = std::min(least, count);
    return groups[group_of(machine)] > least + (placed ? 1 : 0) ? "spread" : "";
}

// What a policy is told of a node counts every copy that was assigned to it, running or not.
void Judge::question(const core::Rank& rank) {
    if (!world_.setup.judged || !random_.chance(200)) return;
    std::map<std::string, std::uint64_t> assigned;
    for (const auto& node : world_.seat.core->nodes(world_.seat.local()))
        assigned[text(node.at("name"))] = whole(node.at("copies"));
    for (const auto& candidate : rank.candidates)
        if (candidate.copies_running + candidate.copies_pending < assigned[std::string(candidate.node)])
            broken("pending left out of the count", std::string(candidate.node));
}

// Called when something was placed, before anything else happens: no copy of an instance that was placed in this turn
// may be on a node that fails a hard rule.
void Judge::placed() {
    if (!world_.seat.core || !world_.setup.judged) return;
    const auto& core = *world_.seat.core;
    struct Total {
        std::int64_t memory = 0, cpu = 0;
        std::map<std::uint16_t, std::vector<std::string>> ports;
        std::vector<std::string> copies;
    };
    std::map<std::string, Total> totals;
    std::map<std::string, std::map<std::string, int>> of_service;  // copies by node
    const auto add = [&](const std::string& node, const std::string& copy, const Takes& need) {
        Total& total = totals[node];
        total.memory += need.memory;
        total.cpu += need.cpu;
        total.copies.push_back(copy + " (" + std::to_string(need.cpu) + "m)");
        if (need.port) total.ports[need.port].push_back(copy);
    };
    std::vector<std::pair<std::string, std::string>> placed;  // node, copy
    const auto look = [&](const json::object& instance, const json::object& its) {
        const std::string node = text(its.at("node"));
        if (node.empty()) return;
        ++of_service[text(instance.at("service"))][node];
        const std::string copy = text(instance.at("instance")) + "#" + std::to_string(whole(its.at("epoch")));
        const auto known = taken_.find(copy);
        const auto full = core.service(text(instance.at("service")));
        const bool fresh = its.at("since_ms").to_number<int>() == 0 && text(its.at("state")) == "waiting" &&
                           text(its.at("reason")).starts_with("sent to ");
        // One that was placed by an earlier turn of the same instant was judged then.
        const bool judged = known != taken_.end() && known->second.placed == world_.now();
        if (fresh && !judged && its.at("revision") == full->at("revision")) {
            placed.emplace_back(node, copy);
            const bool twice = known != taken_.end();  // of a service that was removed
            taken_[copy] = takes(full->at("document"));
            taken_[copy].placed = world_.now();
            taken_[copy].twice = twice;
        }
        const auto at = taken_.find(copy);
        if (at == taken_.end()) return;
        at->second.run = world_.seat.starts;
        add(node, copy, at->second);
    };
    for (const auto& value : core.instances()) {
        const auto& instance = value.as_object();
        look(instance, instance);
        if (const auto* next = instance.if_contains("next")) look(instance, next->as_object());
    }
    if (placed.empty()) return;
    std::map<std::string, json::object> nodes;
    for (const auto& entry : core.nodes(world_.seat.local())) nodes[text(entry.at("name"))] = entry.as_object();
    // What a controller after this one meets by surprise it knows less well.
    for (const auto& [name, doc] : nodes)
        for (const auto& stale : doc.at("stale").as_array()) {
            const auto at = taken_.find(text(stale.at("copy")));
            if (at != taken_.end() && at->second.run == world_.seat.starts && !at->second.twice)
                add(name, at->first, at->second);
        }
    for (const auto& [node, copy] : placed) {
        const auto bad = [&](const std::string& rule) {
            std::string all;
            for (const auto& each : totals.at(node).copies) all += " " + each;
            broken("never on a node that fails a hard rule", copy + " on " + node + ": " + rule + ";" + all);
        };
        const Takes& need = taken_.at(copy);
        const auto& doc = nodes.at(node);
        const Machine& machine = *world_.machine(node);
        if (text(doc.at("liveness")) != "ready") bad("it is " + text(doc.at("liveness")));
        if (text(doc.at("intent")) != "active") bad("it is " + text(doc.at("intent")));
        if (const auto why = unfit(need, machine); !why.empty()) bad(why);
        const auto& others = of_service.at(copy.substr(0, copy.rfind('.')));
        if (const auto why = crowded(need, others, machine, true); !why.empty()) bad(why);
        const Total& total = totals.at(node);
        if (need.memory && total.memory > machine.facts.memory_bytes) bad("more memory than it has");
        if (need.cpu && total.cpu > machine.facts.cpu_milli) bad("more cores than it has");
        if (need.port && total.ports.at(need.port).size() > 1)
            bad("port of " + total.ports.at(need.port)[0] + " and " + total.ports.at(need.port)[1]);
    }
}

// Only what is of less priority leaves, and nobody who could have stayed: of those who leave for one instance each one
// is in its way on that node.
void Judge::displaced(const core::Effects& effects) {
    std::map<std::string, std::map<std::string, std::set<std::string>>> leave;  // node -> for whom -> copies
    const auto field = [](const core::Event& event, const char* name) { return text(event.fields.at(name)); };
    const auto wanted = [&](const std::string& instance) {
        return takes(world_.seat.core->service(instance.substr(0, instance.rfind('.')))->at("document"));
    };
    for (const auto& act : effects.acts) {
        const auto* event = std::get_if<core::Event>(&act);
        if (!event || event->kind != "preempted" || !world_.setup.judged) continue;
        const std::string instance = field(*event, "instance"), by = field(*event, "by");
        leave[field(*event, "node")][by].insert(instance + "#" + std::to_string(whole(event->fields.at("epoch"))));
        if (wanted(instance).priority >= wanted(by).priority)
            broken("only what is of less priority is displaced", event->text);
    }
    for (const auto& [node, all] : leave) {
        if (all.size() != 1) continue;  // one needs what another leaves
        const auto& [by, copies] = *all.begin();
        Takes used;
        std::set<std::uint16_t> ports;
        bool known = true;
        const auto add = [&](const std::string& copy) {
            const auto at = taken_.find(copy);
            known = known && at != taken_.end() && !at->second.twice;
            if (!known) return;
            used.memory += at->second.memory;
            used.cpu += at->second.cpu;
            ports.insert(at->second.port);
        };
        for (const auto& value : world_.seat.core->instances()) {
            const auto& instance = value.as_object();
            const std::string name = text(instance.at("instance"));
            const auto of = [&](const json::object& copy) {
                if (text(copy.at("node")) == node) add(name + "#" + std::to_string(whole(copy.at("epoch"))));
            };
            of(instance);
            if (const auto* next = instance.if_contains("next")) of(next->as_object());
            // Room that is promised to another one is not free either.
            known = known && (name == by || !text(instance.at("reason")).starts_with("waits for " + node + ","));
        }
        // What cannot be stopped may have been met by surprise: nobody knows for certain what it takes.
        for (const auto& entry : world_.seat.core->nodes(world_.seat.local()))
            if (text(entry.at("name")) == node)
                for (const auto& stale : entry.at("stale").as_array())
                    known = known && !text(stale.at("reason")).starts_with("cannot stop");
        const Takes need = wanted(by);
        const Machine& machine = *world_.machine(node);
        for (const auto& copy : copies) {
            const auto at = taken_.find(copy);
            if (!known || at == taken_.end() || at->second.twice) break;
            const Takes& has = at->second;
            const bool fits = (!need.memory || used.memory + has.memory + need.memory <= machine.facts.memory_bytes) &&
                              (!need.cpu || used.cpu + has.cpu + need.cpu <= machine.facts.cpu_milli) &&
                              (!need.port || (has.port != need.port && !ports.contains(need.port)));
            if (fits) broken("nobody is displaced who could have stayed", copy + " on " + node + " for " + by);
        }
    }
}

// --- when faults have stopped ---------------------------------------------------------------------------------------

json::value Judge::as_stored(const std::string& key) const {
    const auto at = world_.seat.durable.find(key);
    return at == world_.seat.durable.end() ? json::value() : *parse_json(at->second);
}

// "" if every instance has exactly one running copy where the controller says, or has no node that fits it.
std::string Judge::unlike_desired() {
    const auto& core = *world_.seat.core;
    if (!asked_.empty()) return "request " + std::to_string(*asked_.begin()) + " was never answered";
    std::map<core::InstanceId, int> running;
    std::set<std::pair<core::CopyId, std::string>> there;
    for (const auto& machine : world_.machines) {
        if (!machine->agent || !machine->welcomed) return machine->name + " is not back";
        for (const auto& runtime : machine->runtimes)
            for (const auto& [name, box] : runtime->boxes()) {
                if (!box.running && box.copy.instance == crashing) continue;
                if (!box.running) return name + " on " + machine->name + " is there and does not run";
                ++running[box.copy.instance];
                there.insert({box.copy, machine->name});
            }
    }
    for (const auto& entry : core.services())
        if (text(entry.at("state")) == "removing") return text(entry.at("name")) + " is still being removed";
    for (const auto& entry : core.nodes(world_.seat.local())) {
        if (text(entry.at("liveness")) != "ready") return text(entry.at("name")) + " is not ready";
        if (!entry.at("stale").as_array().empty()) return text(entry.at("name")) + " has stale copies";
    }
    std::size_t expected = 0;
    for (const auto& value : core.instances())
        if (const auto wrong = unlike_desired(value.as_object(), running, there, expected); !wrong.empty())
            return wrong;
    for (const auto& entry : core.services()) {
        const std::string why = text(entry.at("reason"));
        if (why.find("older revision") == std::string::npos) continue;
        const auto full = core.service(text(entry.at("name")));
        int stay = 0;
        for (const auto& instance : full->at("instances").as_array())
            stay += text(instance.at("reason")).starts_with("stays ");
        if (std::stoi(why) > stay) return text(entry.at("name")) + " has copies to replace: " + to_text(*full);
    }
    if (there.size() > expected)
        return std::to_string(there.size()) + " copies run, " + std::to_string(expected) + " are wanted";
    return "";
}

std::string Judge::unlike_desired(const json::object& instance, std::map<core::InstanceId, int>& running,
                                  const std::set<std::pair<core::CopyId, std::string>>& there, std::size_t& expected) {
    const std::string name = text(instance.at("instance"));
    const auto stored = as_stored("service/" + text(instance.at("service")));
    const core::CopyId copy{{whole(stored.at("no")), instance.at("index").to_number<std::uint32_t>()},
                            whole(instance.at("epoch"))};
    const std::string node = text(instance.at("node"));
    if (stopped.contains(text(instance.at("service")))) {
        if (!node.empty() || running[copy.instance] != 0) return name + " was stopped and runs: " + to_text(instance);
        return text(instance.at("state")) == "stopped" ? "" : name + " is not stopped: " + to_text(instance);
    }
    if (node.empty()) {
        if (const auto where = fits_somewhere(instance, true); !where.empty())
            return name + " is pending and fits " + where + ": " + to_text(instance);
        return running[copy.instance] != 0 ? name + " is pending and runs" : "";
    }
    ++expected;
    const std::string state = text(instance.at("state"));
    if (instance.contains("next")) return name + " still moves: " + to_text(instance);
    // Its pauses grow: until it has crashed often enough to be given up, the last word on it is not spoken.
    const bool given_up = whole(instance.at("crashes")) >= world_.seat.timing.crashes_to_move;
    const bool rests = crashing == copy.instance && given_up &&
                       (state == "failing" || text(instance.at("reason")).starts_with("stays "));
    if (state != "ready" && !rests) return name + " is not ready: " + to_text(instance);
    if (node == draining && !fits_somewhere(instance, false).empty())
        return name + " is still on the draining node: " + to_text(instance);
    if (crashing == copy.instance) return rests ? "" : name + " crashes and has not come to rest";
    if (running[copy.instance] != 1)
        return name + " has " + std::to_string(running[copy.instance]) + " copies that run";
    return there.contains({copy, node}) ? misnamed(instance, copy) : name + " runs elsewhere than on " + node;
}

// "" if every node names it with the port on which it listens.
std::string Judge::misnamed(const json::object& instance, const core::CopyId& copy) const {
    for (const auto& endpoint : instance.at("endpoints").as_array()) {
        const auto port = endpoint.at("mapped").to_number<std::uint16_t>();
        const auto names = [&](const core::NameEntry& entry) { return entry.copy == copy && entry.port == port; };
        if (!listens(*world_.machine(text(instance.at("node"))), copy, port))
            return text(instance.at("instance")) + " does not listen on " + std::to_string(port);
        for (const auto& machine : world_.machines)
            if (std::ranges::none_of(machine->served, names))
                return machine->name + " does not name " + text(instance.at("instance")) + " with its port " +
                       std::to_string(port);
    }
    return "";
}

// The node, and what is taken there; "" if there is none. failed_too: also where the service kept crashing.
std::string Judge::fits_somewhere(const json::object& instance, bool failed_too) {
    const auto& core = *world_.seat.core;
    const auto full = core.service(text(instance.at("service")));
    const Takes need = takes(full->at("document"));
    const bool is_static = text(full->at("mode")) == "static";
    std::map<std::string, Takes> used;
    std::set<std::pair<std::string, std::uint16_t>> ports;
    std::map<std::string, int> own_copies;
    const auto recorded = as_stored("service/" + text(instance.at("service")));
    const bool displaces = need.preempt && text(instance.at("state")) == "pending" &&
                           !text(instance.at("reason")).starts_with("displaced by ") &&
                           recorded.at("revisions").as_array().back().at("failed").as_array().empty();
    for (const auto& value : core.instances()) {
        const auto& other = value.as_object();
        const std::string node = text(other.at("node"));
        if (node.empty()) continue;
        if (other.at("service") == instance.at("service")) ++own_copies[node];
        if (displaces && takes(core.service(text(other.at("service")))->at("document")).priority < need.priority)
            continue;
        // What an older revision takes is in the stored form.
        const auto stored = as_stored("service/" + text(other.at("service")));
        for (const auto& revision : stored.at("revisions").as_array()) {
            if (revision.at("revision") != other.at("revision")) continue;
            const Takes has = takes(revision.at("document"));
            used[node].memory += has.memory;
            used[node].cpu += has.cpu;
            if (has.port) ports.insert({node, has.port});
        }
    }
    const auto stored = as_stored("service/" + text(instance.at("service")));
    const auto& last = stored.at("revisions").as_array().back();
    std::set<std::string> failed;
    if (!failed_too && (!last.at("failing").as_bool() || text(instance.at("state")) == "ready"))
        for (const auto& name : last.at("failed").as_array()) failed.insert(text(name));
    const auto own = as_stored("instance/" + std::to_string(whole(stored.at("no"))) + "." +
                               std::to_string(whole(instance.at("index"))));
    for (const auto& machine : world_.machines) {
        const auto& name = machine->name;
        if (name == draining || failed.contains(name) || !unfit(need, *machine).empty()) continue;
        if (is_static && (own.is_null() || text(own.at("bound")) != name)) continue;
        if (need.memory > 0 && used[name].memory + need.memory > machine->facts.memory_bytes) continue;
        if (need.cpu > 0 && used[name].cpu + need.cpu > machine->facts.cpu_milli) continue;
        if (need.port && ports.contains({name, need.port})) continue;
        if (!crowded(need, own_copies, *machine, false).empty()) continue;
        return name + " beside " + std::to_string(used[name].cpu) + "m, " + std::to_string(used[name].memory >> 20) +
               " MiB";
    }
    return "";
}

}  // namespace gantry::sim
