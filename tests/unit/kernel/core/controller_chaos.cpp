// SPDX-License-Identifier: Apache-2.0
//
// What befalls the world, and how it is judged.
#include <algorithm>

#include "tests/unit/kernel/core/controller_world.hpp"

namespace gantry::core {

namespace {

constexpr std::int64_t kNodeMemory = std::int64_t{1} << 30;
constexpr std::int64_t kNodeCpu = 4'000;

std::string text(const json::value& value) { return std::string(value.as_string()); }

World::Takes takes(const json::value& document) {
    const auto spec = parse_service(document);
    World::Takes out;
    if (!spec) return out;
    out.memory = spec->memory_bytes;
    out.cpu = spec->cpu_milli;
    out.runtime = spec->runtime;
    if (!spec->endpoints.empty()) out.port = spec->endpoints[0].port;
    out.nodes = spec->nodes;
    if (!spec->pool_labels.empty()) out.side = spec->pool_labels[0].second;
    if (!spec->constraints.empty()) out.constraint = spec->constraints[0].second;
    return out;
}

}  // namespace

void World::chaos(Duration how_long) {
    const Instant end = now_ + how_long;
    while (now_ < end && breach.empty()) {
        step();
        if (random_.chance(2)) misfortune();
        if (random_.chance(4)) change_something();
    }
}

void World::misfortune() {
    auto at = nodes_.begin();
    std::advance(at, random_.below(static_cast<int>(nodes_.size())));
    SimNode& node = at->second;
    switch (random_.below(9)) {
        case 0:  // power
            node.up = false;
            node.up_at = now_ + random_.time(100, 6'000);
            drop(node, random_.chance(50));
            break;
        case 1:  // a cable is pulled; sometimes the connection breaks, sometimes it only goes quiet
            node.cut_until = now_ + random_.time(100, 4'000);
            break;
        case 2:
            if (node.up) drop(node, true);
            break;
        case 3:  // gantryd is restarted: containers run on
            if (!node.up || node.left) break;
            if (node.welcomed && random_.chance(50)) say(node, Hold{});
            ++node.id.session;
            node.id.seq = 0;
            drop(node, true);
            node.connect_at = now_ + random_.time(50, 3'000);
            break;
        case 4:  // the machine goes down in order
            if (!node.up || node.left || !node.welcomed) break;
            if (random_.chance(50)) {
                say(node, Leaving{});
                leave(node);
            } else if (node.leave_at == kNever) {
                say(node, Leaving{{}, true});
                node.leave_at = now_ + random_.time(500, 6'000);
            }
            break;
        case 5:
            if (random_.chance(30)) kill_controller();
            break;
        case 6:  // the cable of the controller
            if (!random_.chance(20)) break;
            for (auto& [name, other] : nodes_) other.cut_until = now_ + random_.time(500, 3'000);
            break;
        case 7:  // a container that crashes again and again
            for (auto& [copy, sim] : node.copies)
                if (!sim.unwanted && random_.chance(40)) {
                    sim.state = CopyState::kWaiting;
                    sim.crashes += static_cast<std::uint32_t>(1 + random_.below(5));
                    ++sim.restarts;
                    sim.next = now_ + seconds(1);
                    node.changed = true;
                }
            break;
        case 8:
            if (core_) {
                const Duration lag = random_.time(200, 5'000);
                now_ = now_ + lag;
                turn(LoopLate{lag});
            }
            break;
    }
}

json::value World::random_manifest(const std::string& name) {
    json::object service{{"name", name}, {"image", random_.chance(90) ? "app:1" : "app:2"}};
    json::object placement;
    if (random_.chance(20)) {
        placement["labels"] = json::object{{"side", random_.chance(50) ? "left" : "right"}};
    } else {
        json::array pool;
        for (const auto& [node, unused] : nodes_)
            if (random_.chance(60)) pool.emplace_back(node);
        if (pool.empty()) pool.emplace_back("n1");
        placement["nodes"] = pool;
        if (random_.chance(15)) placement["mode"] = "static";
    }
    if (!placement.contains("mode")) service["instances"] = 1 + random_.below(4);
    if (random_.chance(10)) placement["anti_affinity"] = "soft";
    if (random_.chance(10)) placement["spread"] = "side";
    if (random_.chance(10)) placement["constraints"] = json::object{{"side", "left"}};
    json::object out{{"service", std::move(service)}, {"placement", std::move(placement)}};
    json::object resources;
    if (random_.chance(50)) resources["memory"] = (1 + random_.below(5)) * 100 << 20;
    if (random_.chance(30)) resources["cpu"] = 0.5 * (1 + random_.below(5));
    if (!resources.empty()) out["resources"] = std::move(resources);
    if (random_.chance(10)) out["service"].as_object()["runtime"] = random_.chance(80) ? "process" : "unheard-of";
    out["container"] = json::object{{"args", {"v" + std::to_string(random_.below(3))}}};
    if (random_.chance(40)) {
        json::object update{{"max_surge", random_.below(3)}, {"max_unavailable", 1 + random_.below(2)}};
        if (random_.chance(30)) update["canary"] = 1;
        if (random_.chance(30)) update["gate"] = "2s";
        if (random_.chance(20)) update["deadline"] = "5s";
        if (random_.chance(20)) update["on_failure"] = "stay";
        out["update"] = std::move(update);
    }
    const int no = name.back() - '0';
    out["endpoint"] = json::array{json::object{{"name", name}, {"port", 3000 + no % 2}}};
    if (no % 3 == 0) out.erase("endpoint");
    return out;
}

void World::change_something() {
    if (!core_) return;
    const std::string service = "s" + std::to_string(random_.below(6));
    auto at = nodes_.begin();
    std::advance(at, random_.below(static_cast<int>(nodes_.size())));
    const RequestId request = ++last_request_;
    switch (random_.below(13)) {
        case 11:
            turn(ApiRebalance{request, static_cast<std::uint32_t>(1 + random_.below(3)), random_.chance(20)});
            break;
        case 10: {
            using Action = ApiRollout::Action;
            const int which = random_.below(4);
            turn(ApiRollout{request, service,
                            which == 0   ? Action::kPause
                            : which == 1 ? Action::kRollBack
                                         : Action::kResume,
                            0});
            break;
        }
        case 0:
            turn(ApiRemoveService{request, service});
            break;
        case 1:
        case 2: {
            const int which = random_.below(3);
            turn(ApiSetIntent{request, at->first, which == 0 ? "active" : which == 1 ? "cordoned" : "draining"});
            break;
        }
        case 3:
            turn(ApiSetIntent{request, at->first, "active"});
            break;
        case 4:
            if (random_.chance(20)) turn(ApiRemoveNode{request, at->first, true});
            break;
        case 5:
            turn(ApiDeploy{request, random_manifest(service), true});
            break;
        case 6:
            if (random_.chance(20)) turn(ApiConfirmLost{request, {}});
            break;
        default:
            deploys_[request] = {service, 0};
            turn(ApiDeploy{request, random_manifest(service), false});
            break;
    }
}

// Called when something was placed, before anything else happens: no copy of an instance that was placed in this turn
// may be on a node that fails a hard rule. Judged from documents and manifests, not with the core's own rules.
void World::check_placed() {
    if (!core_) return;
    struct Total {
        std::int64_t memory = 0, cpu = 0;
        std::map<std::uint16_t, std::vector<std::string>> ports;
    };
    std::map<std::string, Total> totals;
    const auto add = [&](const std::string& node, const std::string& copy, const Takes& need) {
        Total& total = totals[node];
        total.memory += need.memory;
        total.cpu += need.cpu;
        if (need.port) total.ports[need.port].push_back(copy);
    };
    std::vector<std::pair<std::string, std::string>> placed;  // node, copy
    const auto look = [&](const json::object& instance, const json::object& its) {
        const std::string node = text(its.at("node"));
        if (node.empty()) return;
        const std::string copy =
            text(instance.at("instance")) + "#" + std::to_string(its.at("epoch").to_number<std::uint64_t>());
        const auto known = taken_.find(copy);
        const auto full = core_->service(text(instance.at("service")));
        const bool fresh = its.at("since_ms").to_number<int>() == 0 && text(its.at("state")) == "waiting" &&
                           text(its.at("reason")).starts_with("sent to ");
        // One that was placed by an earlier turn of the same instant was judged then.
        const bool judged = known != taken_.end() && known->second.placed == now_;
        if (fresh && !judged && its.at("revision") == full->at("revision")) {
            placed.emplace_back(node, copy);
            const bool twice = known != taken_.end();  // of a service that was removed
            taken_[copy] = takes(full->at("document"));
            taken_[copy].placed = now_;
            taken_[copy].twice = twice;
        }
        const auto at = taken_.find(copy);
        if (at == taken_.end()) return;
        at->second.run = controller_starts;
        add(node, copy, at->second);
    };
    for (const auto& value : core_->instances()) {
        const auto& instance = value.as_object();
        look(instance, instance);
        if (const auto* next = instance.if_contains("next")) look(instance, next->as_object());
    }
    if (placed.empty()) return;
    std::map<std::string, json::object> nodes;
    for (const auto& entry : core_->nodes(now_)) nodes[text(entry.at("name"))] = entry.as_object();
    // What a controller after this one meets by surprise it knows less well.
    for (const auto& [name, doc] : nodes)
        for (const auto& stale : doc.at("stale").as_array()) {
            const auto at = taken_.find(text(stale.at("copy")));
            if (at != taken_.end() && at->second.run == controller_starts && !at->second.twice)
                add(name, at->first, at->second);
        }
    for (const auto& [node, copy] : placed) {
        const auto bad = [&](const std::string& rule) {
            broken("never on a node that fails a hard rule", copy + " on " + node + ": " + rule);
        };
        const Takes& need = taken_.at(copy);
        const auto& doc = nodes.at(node);
        if (text(doc.at("liveness")) != "ready") bad("it is " + text(doc.at("liveness")));
        if (text(doc.at("intent")) != "active") bad("it is " + text(doc.at("intent")));
        if (const auto why = unfit(need, nodes_.at(node)); !why.empty()) bad(why);
        const Total& total = totals.at(node);
        if (need.memory && total.memory > kNodeMemory) bad("more memory than it has");
        if (need.cpu && total.cpu > kNodeCpu) bad("more cores than it has");
        if (need.port && total.ports.at(need.port).size() > 1)
            bad("port of " + total.ports.at(need.port)[0] + " and " + total.ports.at(need.port)[1]);
    }
}

// Why this node never fits, whatever else it runs.
std::string World::unfit(const Takes& need, const SimNode& node) {
    const auto& pool = need.nodes;
    if (!pool.empty() && std::find(pool.begin(), pool.end(), node.name) == pool.end()) return "not in the pool";
    if (node.architecture != "amd64") return "architecture";
    if (!need.runtime.empty() && (need.runtime != "process" || !node.has_process)) return "runtime";
    if (!need.side.empty() && node.labels[0].second != need.side) return "labels of the pool";
    if (!need.constraint.empty() && node.labels[0].second != need.constraint) return "constraints";
    return "";
}

// Some histories end with a node that is being drained, some with an instance that crashes whatever is done.
void World::heal() {
    const auto known = core_->nodes(now_);
    if (!known.empty() && random_.chance(30))
        draining_ = text(known[static_cast<std::size_t>(random_.below(static_cast<int>(known.size())))].at("name"));
    for (const auto& [name, node] : nodes_)
        turn(ApiSetIntent{++last_request_, name, name == draining_ ? "draining" : "active"});
    for (const auto& service : core_->services())
        turn(ApiRollout{++last_request_, text(service.at("name")), ApiRollout::Action::kResume, 0});
    const auto instances = core_->instances();
    if (instances.empty() || !random_.chance(30)) return;
    const auto& victim = instances[static_cast<std::size_t>(random_.below(static_cast<int>(instances.size())))];
    const auto stored = as_stored("service/" + text(victim.at("service")));
    if (stored.is_null()) return;
    crashing_ = InstanceId{stored.at("no").to_number<std::uint64_t>(), victim.at("index").to_number<std::uint32_t>()};
}

void World::settle(Duration at_most) {
    faulty_ = false;
    for (auto& [name, node] : nodes_) {
        node.cut_until = now_;
        if (!node.up) node.up_at = std::min(node.up_at, now_ + seconds(1));
        for (auto& [copy, sim] : node.copies) sim.crashes = 0;
        node.changed = true;
    }
    slow_ranks_.clear();
    const Instant end = now_ + at_most;
    bool healed = false;
    std::string still = "nothing was looked at";
    Instant calm = kNever;
    std::size_t placed = 0;
    for (std::size_t steps = 1; now_ < end && breach.empty(); ++steps) {
        step();
        if (!core_) continue;
        if (!std::exchange(healed, true)) heal();
        if (steps % 20 != 0 || !gate_.idle()) continue;
        still = unlike_desired();
        if (!still.empty()) {
            calm = kNever;
        } else if (!crashing_) {
            return;
        } else if (calm == kNever) {
            calm = now_;
            placed = placements;
        } else if (placements != placed) {
            broken("an instance that always crashes comes to rest", "something was placed again");
        } else if (now_ - calm >= seconds(10)) {
            return;
        }
    }
    if (breach.empty()) broken("desired equals actual when faults have stopped", still);
}

json::value World::as_stored(const std::string& key) const {
    const auto at = durable_.find(key);
    return at == durable_.end() ? json::value() : *parse_json(at->second);
}

// "" if every instance has exactly one running copy where the controller says, or has no node that fits it.
std::string World::unlike_desired() {
    std::map<InstanceId, int> running;
    std::set<std::pair<CopyId, std::string>> there;
    for (const auto& [name, node] : nodes_)
        for (const auto& [copy, sim] : node.copies) {
            ++running[copy.instance];
            there.insert({copy, name});
            if (sim.unwanted) return copy.text() + " is still being stopped on " + name;
        }
    for (const auto& entry : core_->services())
        if (text(entry.at("state")) == "removing") return text(entry.at("name")) + " is still being removed";
    for (const auto& entry : core_->nodes(now_)) {
        if (text(entry.at("liveness")) != "ready") return text(entry.at("name")) + " is not ready";
        if (!entry.at("stale").as_array().empty()) return text(entry.at("name")) + " has stale copies";
    }
    std::size_t expected = 0;
    for (const auto& value : core_->instances()) {
        const auto& instance = value.as_object();
        const std::string name = text(instance.at("instance"));
        const auto stored = parse_json(durable_.at("service/" + text(instance.at("service"))));
        const CopyId copy{
            {stored->at("no").to_number<std::uint64_t>(), instance.at("index").to_number<std::uint32_t>()},
            instance.at("epoch").to_number<std::uint64_t>()};
        const std::string node = text(instance.at("node"));
        if (node.empty()) {
            if (fits_somewhere(instance, true)) return name + " is pending and fits: " + to_text(value);
            if (running[copy.instance] != 0) return name + " is pending and runs";
            continue;
        }
        ++expected;
        const std::string state = text(instance.at("state"));
        if (instance.contains("next")) return name + " still moves: " + to_text(value);
        const bool rests =
            crashing_ == copy.instance && (state == "failing" || text(instance.at("reason")).starts_with("stays "));
        if (state != "ready" && !rests) return name + " is not ready: " + to_text(value);
        if (node == draining_ && fits_somewhere(instance, false))
            return name + " is still on the draining node: " + to_text(value);
        if (running[copy.instance] != 1)
            return name + " has " + std::to_string(running[copy.instance]) + " copies that run";
        if (!there.contains({copy, node})) return name + " runs elsewhere than on " + node;
    }
    for (const auto& entry : core_->services()) {
        const std::string why = text(entry.at("reason"));
        if (why.find("older revision") == std::string::npos) continue;
        const auto full = core_->service(text(entry.at("name")));
        int stay = 0;
        for (const auto& instance : full->at("instances").as_array())
            stay += text(instance.at("reason")).starts_with("stays ");
        if (std::stoi(why) > stay) return text(entry.at("name")) + " has copies to replace: " + to_text(*full);
    }
    if (there.size() != expected)
        return std::to_string(there.size()) + " copies run, " + std::to_string(expected) + " are wanted";
    return "";
}

// failed_too: also where the service kept crashing.
bool World::fits_somewhere(const json::object& instance, bool failed_too) {
    const auto full = core_->service(text(instance.at("service")));
    const Takes need = takes(full->at("document"));
    const bool is_static = text(full->at("mode")) == "static";
    std::map<std::string, Takes> used;
    std::set<std::pair<std::string, std::uint16_t>> ports;
    for (const auto& value : core_->instances()) {
        const auto& other = value.as_object();
        const std::string node = text(other.at("node"));
        if (node.empty()) continue;
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
    const auto own = as_stored("instance/" + std::to_string(stored.at("no").to_number<std::uint64_t>()) + "." +
                               std::to_string(instance.at("index").to_number<std::size_t>()));
    for (const auto& [name, node] : nodes_) {
        if (name == draining_ || failed.contains(name) || !unfit(need, node).empty()) continue;
        if (is_static && (own.is_null() || text(own.at("bound")) != name)) continue;
        if (need.memory > 0 && used[name].memory + need.memory > kNodeMemory) continue;
        if (need.cpu > 0 && used[name].cpu + need.cpu > kNodeCpu) continue;
        if (need.port && ports.contains({name, need.port})) continue;
        return true;
    }
    return false;
}

}  // namespace gantry::core
