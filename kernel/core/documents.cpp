// SPDX-License-Identifier: Apache-2.0
//
// Documents for readers (docs/api.md, "Members").
#include <algorithm>
#include <charconv>

#include "kernel/core/agent.hpp"
#include "kernel/core/message_fields.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

std::int64_t ms(Duration duration) { return duration / milliseconds(1); }

}  // namespace

json::object Controller::State::node_document(const Node& node, Instant now) const {
    json::array runtimes, images, stale;
    for (const auto& runtime : node.runtimes) runtimes.push_back(runtime_json(runtime));
    for (const auto image : node.images) images.emplace_back(image_digests_[image]);
    for (const auto& [copy, entry] : node.stale) {
        std::string why = entry.reason;
        if (entry.cannot_stop) why = "cannot stop" + (why.empty() ? "" : ": " + why);
        stale.push_back(json::object{{"copy", entry.instance + "#" + std::to_string(copy.epoch)},
                                     {"state", copy_state_name(entry.state)},
                                     {"since_ms", ms(now - entry.since)},
                                     {"reason", std::move(why)}});
    }
    json::object out{{"name", node.name},
                     {"liveness", liveness_name(node.liveness)},
                     {"intent", intent_name(node.intent)},
                     {"reason", node.reason},
                     {"node_id", node.node_id},
                     {"boot_id", node.boot_id},
                     {"session", node.session},
                     {"address", node.public_address()},
                     {"labels", labels_json(node.labels)},
                     {"runtimes", std::move(runtimes)},
                     {"cpu_milli", node.cpu_milli},
                     {"memory_bytes", node.memory_bytes},
                     {"memory_free_bytes", node.load.memory_free_bytes},
                     {"cpu_used_milli", node.load.cpu_used_milli},
                     {"copies", node.copies.size()},
                     {"heard_ms", ms(now - node.heard)}};
    if (node.reported && !node.down()) show(out, node.usage);
    out["via"] = node.via;
    out["greatest_pause_ms"] = ms(node.pace.greatest());
    out["lost_after_ms"] = ms(window(node));
    if (const auto usual = usual_reboot(node)) out["usual_reboot_ms"] = ms(*usual);
    json::object answers;
    for (const auto& [name, answer] : node.answers) answers[name] = answer;
    out["answers"] = std::move(answers);
    out["term"] = term_;
    out["list_no"] = node.list_no;
    out["applied"] = json::object{{"term", node.applied.term}, {"list_no", node.applied.no}};
    out["images"] = std::move(images);
    out["fetching"] = texts_json(node.fetching);
    out["stale"] = std::move(stale);
    out["drills"] = texts_json(node.drills);
    out["version"] = node.version;
    return out;
}

json::array Controller::State::nodes(Instant now) const {
    json::array out;
    for (const auto& [name, node] : nodes_) out.push_back(node_document(node, now));
    return out;
}

// Of a copy: what was asked for, and which port of its node that is; 0: not known yet.
json::array Controller::State::endpoints_document(const Service& service, const Copy& copy) const {
    json::array out;
    const auto revision = service.revisions.find(copy.revision);
    const auto& spec = (revision == service.revisions.end() ? service.last() : revision->second).spec;
    for (std::size_t i = 0; i < spec.endpoints.size(); ++i)
        out.push_back(json::object{{"kind", spec.endpoints[i].kind},
                                   {"name", spec.endpoints[i].name},
                                   {"requested", spec.endpoints[i].port},
                                   {"mapped", copy.node ? spec.port(i, copy.ports) : 0}});
    return out;
}

json::object Controller::State::service_document(const Service& service) const {
    const Revision& last = service.last();
    std::size_t placed = 0, running = 0, old = 0;
    const Instance* pending = nullptr;
    json::array endpoints = endpoints_document(service, {});
    for (auto& endpoint : endpoints) endpoint.get_object()["mapped"] = json::array();
    for (const auto& [index, instance] : service.instances) {
        const Copy& copy = instance.shown();
        placed += copy.node != nullptr;
        running += copy.node && copy_runs(copy.state);
        old += outdated(service, instance, instance.current);
        if (instance.pending() && !pending) pending = &instance;
        if (!copy.node || service.revisions.at(copy.revision).generation != last.generation) continue;
        for (std::size_t i = 0; i < endpoints.size(); ++i)
            if (const auto port = last.spec.port(i, copy.ports); port != 0)
                endpoints[i].get_object()["mapped"].get_array().push_back(port);
    }
    const std::size_t desired = service.instances.size();
    std::string state = "deploying", why;
    if (service.removing) {
        state = "removing";
        why = "its copies are being stopped";
    } else if (service.stopped) {
        std::tie(state, why) = stopped_state(service);
    } else if (last.failing && (service.ready != desired || old != 0)) {
        state = "failing";
        for (const auto& node : last.failed) why += (why.empty() ? "keeps crashing on " : ", ") + node;
    } else if (pending) {
        state = "pending";
        if (barred(*pending)) why = pending->text() + " " + lease_reason(*pending);
        for (const auto& entry : pending_reasons(service))
            why += (why.empty() ? "" : "; ") + std::string(entry.at("node").as_string()) + " " +
                   std::string(entry.at("reason").as_string());
    } else if (service.ready == desired && old == 0) {
        state = "ready";
    } else if (old != 0) {
        why = (service.paused ? "the rollout is paused: " : "") + std::to_string(old) + " of " +
              std::to_string(desired) + " still run an older revision";
    } else {
        for (const auto& [index, instance] : service.instances)
            if (!instance.current.ready && why.empty()) why = instance.text() + ": " + instance.shown().reason;
    }
    return {{"name", service.name},
            {"revision", last.number},
            {"image", last.spec.image},
            {"image_digest", last.image_digest},
            {"mode", service.is_static() ? "static" : "dynamic"},
            {"policy", policy_of(service)},
            {"paused", service.paused},
            {"stopped", service.stopped},
            {"rollback_of", last.rollback_of},
            {"nodes", texts_json(last.spec.nodes)},
            {"labels", labels_json(last.spec.pool_labels)},
            {"desired", desired},
            {"placed", placed},
            {"running", running},
            {"ready", service.ready},
            {"state", std::move(state)},
            {"reason", std::move(why)},
            {"endpoints", std::move(endpoints)},
            {"moves", moves_document(service)}};
}

json::array Controller::State::services() const {
    json::array out;
    for (const auto& [name, service] : services_) out.push_back(service_document(service));
    return out;
}

json::object Controller::State::instance_document(const Service& service, const Instance& instance,
                                                  const json::array& pending) const {
    const Copy& copy = instance.shown();
    std::string state(copy_state_name(copy.state)), why = copy.reason;
    if (!copy.node) {
        state = !service.stopped ? "pending" : instance.stopping ? "stopping" : "stopped";
        if (instance.stopping)
            why = "waits for " + instance.moving_from + " to stop epoch " + std::to_string(copy.epoch);
        else if (barred(instance) && !service.stopped)
            why = lease_reason(instance);
        else if (instance.room_on)
            why = "waits for " + instance.room_on->name + ", where room is made for it";
        else if (!instance.displaced_by.empty())
            why = "displaced by " + instance.displaced_by;
    } else if (service.last().failing && copy.crashes >= timing_.crashes_to_move) {
        state = "failing";
    } else if (copy.state == CopyState::kRunning && copy.reason.starts_with(kPausedReason)) {
        state = "paused";
    }
    if (const auto stays = why_it_stays(service, instance); !stays.empty()) why = stays;
    if (!instance.moving_from.empty() && !moves_.contains(instance.id()) && !service.stopped)
        why += (why.empty() ? "" : "; ") + slow_move(instance);
    json::object out{{"instance", instance.text()},
                     {"service", service.name},
                     {"index", instance.index},
                     {"epoch", copy.epoch},
                     {"revision", copy.node ? copy.revision : service.last().number},
                     {"state", std::move(state)},
                     {"node", copy.node ? copy.node->name : ""},
                     {"attempt", copy.attempt},
                     {"restarts", copy.restarts},
                     {"crashes", copy.crashes},
                     {"exit_code", copy.exit_code},
                     {"reason", std::move(why)},
                     {"since_ms", ms(now_ - copy.since)},
                     {"endpoints", endpoints_document(service, copy)}};
    const auto* usage = copy.node ? copy.node->usage.of({instance.id(), copy.epoch}) : nullptr;
    if (usage && copy.node->reported) show(out, *usage);
    if (instance.current.node && instance.next.node) out["next"] = next_document(instance);
    out["pending"] = instance.pending() && !service.stopped ? pending : json::array();
    if (service.forbid) out["lease"] = lease_document(instance);
    return out;
}

json::object Controller::State::next_document(const Instance& instance) const {
    const Copy& next = instance.next;
    return {{"node", next.node->name},   {"epoch", next.epoch},
            {"revision", next.revision}, {"state", copy_state_name(next.state)},
            {"reason", next.reason},     {"since_ms", ms(now_ - next.since)},
            {"why", instance.why},       {"endpoints", endpoints_document(*instance.service, next)}};
}

namespace {

// Only the first pending instance of a service lists every node; the others have the same reasons.
constexpr std::size_t kReasonsOfOthers = 4;

json::array cut(const json::array& reasons) {
    json::array out;
    for (std::size_t i = 0; i < std::min(reasons.size(), kReasonsOfOthers); ++i) out.push_back(reasons[i]);
    return out;
}

}  // namespace

json::array Controller::State::instances_of(const Service& service) const {
    json::array out;
    json::array reasons;
    bool shown = false;
    for (const auto& [index, instance] : service.instances) {
        const bool pending = instance.pending() && !service.stopped;
        if (pending && !shown) reasons = pending_reasons(service);
        out.push_back(instance_document(service, instance, reasons));
        if (pending && !std::exchange(shown, true)) reasons = cut(reasons);
    }
    return out;
}

json::array Controller::State::instances() const {
    json::array out;
    for (const auto& [name, service] : services_)
        for (auto& document : instances_of(service)) out.push_back(std::move(document));
    return out;
}

Result<json::value> Controller::State::service(const std::string& name) const {
    const auto at = services_.find(name);
    if (at == services_.end()) return fail(Code::kNotFound, "there is no service " + name);
    json::object out = service_document(at->second);
    out["document"] = to_json(at->second.last().spec);
    out["instances"] = instances_of(at->second);
    return out;
}

std::vector<std::string> Controller::State::images_needed() const {
    std::set<std::string> out;
    for (const auto& [name, image] : images_) out.insert(image.digest);
    for (const auto& [name, service] : services_)
        for (const auto& [number, revision] : service.revisions) out.insert(revision.image_digest);
    return {out.begin(), out.end()};
}

json::array Controller::State::images() const {
    json::array out;
    for (const auto& [name, image] : images_) {
        json::object entry{{"name", name}};
        for (const auto& member : document(image)) entry[member.key()] = member.value();
        out.push_back(std::move(entry));
    }
    return out;
}

json::array Controller::State::secrets() const {
    json::array out;
    for (const auto& [name, value] : secrets_) out.push_back(json::object{{"name", name}});
    return out;
}

json::array Controller::State::names() const {
    json::array out;
    for (const auto& [key, named] : names_) {
        const auto service = service_by_no_.find(named.entry.copy.instance.service_no);
        const std::string instance = (service == service_by_no_.end() ? "?" : service->second->name) + "." +
                                     std::to_string(named.entry.copy.instance.index);
        out.push_back(json::object{{"name", named.entry.name},
                                   {"address", named.entry.address},
                                   {"port", named.entry.port},
                                   {"node", named.entry.node},
                                   {"instance", instance},
                                   {"since_ms", ms(now_ - named.since)}});
    }
    return out;
}

// Whom to tell to begin a drill.
Result<PeerId> Controller::State::drilled(const std::string& name, const std::string& kind) const {
    const auto at = nodes_.find(name);
    if (at == nodes_.end()) return fail(Code::kNotFound, "there is no node " + name, "node");
    const Node& node = at->second;
    if (node.liveness != Liveness::kReady || node.peer == 0 || !node.via.empty())
        return fail(
            Code::kConflict,
            name + " is " + std::string(liveness_name(node.liveness)) + ": a drill begins on a node that is ready",
            "node");
    if (std::ranges::count(node.drills, kind) != 0) return node.peer;
    std::string permitted;
    for (const auto& known : node.drills) permitted += (permitted.empty() ? "" : ", ") + known;
    return fail(Code::kRefused,
                name + " permits no drill of kind " + kind + (permitted.empty() ? "" : ", only " + permitted) +
                    "; its configuration does that with [node.drill] " + kind + " = [COMMAND, ...]",
                "kind");
}

Result<Controller::Place> Controller::State::place(const std::string& instance) const {
    if (const auto named = parse_container_name(instance)) {
        for (const auto& [name, service] : services_)
            for (const auto& [index, each] : service.instances)
                if (each.id() == named->copy.instance && each.shown().epoch == named->copy.epoch)
                    return place(each.text());
        return fail(Code::kNotFound, "no instance is in container " + instance + " now");
    }
    const auto dot = instance.rfind('.');
    std::uint32_t index = 0;
    if (dot == std::string::npos ||
        std::from_chars(instance.data() + dot + 1, instance.data() + instance.size(), index).ptr !=
            instance.data() + instance.size() ||
        dot + 1 == instance.size())
        return fail(
            Code::kInvalid,
            "not an instance: expected a service, a dot and a number (\"axis_server.0\"), got \"" + instance + "\"");
    const auto service = services_.find(instance.substr(0, dot));
    if (service == services_.end()) return fail(Code::kNotFound, "there is no service " + instance.substr(0, dot));
    const auto at = service->second.instances.find(index);
    if (at == service->second.instances.end()) return fail(Code::kNotFound, "there is no instance " + instance);
    const Copy& copy = at->second.shown();
    if (!copy.node)
        return fail(Code::kUnavailable,
                    instance + " is on no node: it is " +
                        (service->second.stopped ? "stopped; gantry start " + service->first + " runs it" : "pending"));
    const Node& node = *copy.node;
    if (node.peer == 0 || !node.via.empty())
        return fail(Code::kUnavailable, instance + " is on " + node.name + ", which is " +
                                            (node.via.empty() ? "not connected" : node.reason));
    return Place{node.name, node.peer, {at->second.id(), copy.epoch}, node.exec, node.restart, node.disk};
}

}  // namespace gantry::core
