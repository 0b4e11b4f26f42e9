// SPDX-License-Identifier: Apache-2.0
//
// The stored form, written: one JSON document per key. load.cpp reads it back to the same state.
#include "kernel/core/message_fields.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

json::object Controller::State::meta_document() const {
    json::object out{{"version", kStoredVersion},
                     {"cluster_id", cluster_id_},
                     {"term", term_},
                     {"next_service_no", next_service_no_}};
    if (lease_span_ > Duration(0)) out["lease_span_ns"] = lease_span_.count();
    return out;
}

json::object Controller::State::document(const Image& image) const {
    return {{"digest", image.digest},
            {"os", image.os},
            {"architecture", image.architecture},
            {"size_bytes", image.size_bytes}};
}

json::object Controller::State::document(const Service& service) const {
    json::array revisions;
    for (const auto& [number, revision] : service.revisions)
        revisions.push_back(json::object{{"revision", number},
                                         {"generation", revision.generation},
                                         {"document", to_json(revision.spec)},
                                         {"image_digest", revision.image_digest},
                                         {"os", revision.system},
                                         {"architecture", revision.architecture},
                                         {"failed", json::array(revision.failed.begin(), revision.failed.end())},
                                         {"failing", revision.failing},
                                         {"good", revision.good},
                                         {"rollback_of", revision.rollback_of}});
    json::object out{{"no", service.no},
                     {"epoch_floor", service.epoch_floor},
                     {"removing", service.removing},
                     {"paused", service.paused},
                     {"revisions", std::move(revisions)}};
    if (service.stopped) out["stopped"] = true;  // a gantryd that does not know it refuses the store
    return out;
}

// Instances that never had a copy are as their service says.
bool Controller::State::worth_storing(const Instance& instance) {
    return instance.epoch != 0 || instance.seen != 0 || !instance.bound.empty();
}

json::object Controller::State::document(const Instance& instance) const {
    json::value current, next;
    if (instance.current.node)
        current = json::object{{"node", instance.current.node->name}, {"ready", instance.current.ready}};
    if (const auto& ports = instance.current.ports; instance.current.node && !ports.empty())
        current.get_object()["ports"] = json::array(ports.begin(), ports.end());
    if (const Copy& copy = instance.next; copy.node)
        next = json::object{{"node", copy.node->name}, {"epoch", copy.epoch}, {"revision", copy.revision}};
    json::array lost_on;
    for (const auto& [node, until] : instance.lost_on) lost_on.emplace_back(node);
    json::object out{{"epoch", instance.current.epoch},
                     {"assigned", instance.epoch},
                     {"seen", instance.seen},
                     {"revision", instance.current.revision},
                     {"current", std::move(current)},
                     {"next", std::move(next)},
                     {"may_return", instance.may_return},
                     {"bound", instance.bound},
                     {"moving_from", instance.planned ? "" : instance.moving_from},
                     {"why", instance.planned ? "" : instance.why},
                     {"stopping", instance.stopping},
                     {"lost_on", std::move(lost_on)}};
    if (!instance.leased_on.empty()) out["leased_on"] = instance.leased_on;
    if (!instance.displaced_by.empty()) out["displaced_by"] = instance.displaced_by;
    put_moves(out, instance);
    return out;
}

json::object Controller::State::document(const Node& node) const {
    json::array runtimes, reboots;
    for (const auto& runtime : node.runtimes) runtimes.push_back(runtime_json(runtime));
    for (const auto took : node.reboots_took) reboots.emplace_back(took / milliseconds(1));
    json::object out{{"node_id", node.node_id},
                     {"boot_id", node.boot_id},
                     {"session", node.session},
                     {"liveness", node.down() ? liveness_name(node.liveness) : "known"},
                     {"reason", node.down() ? node.reason : ""},
                     {"intent", intent_name(node.intent)},
                     {"list_no", node.list_no},
                     {"address", node.address},
                     {"advertise", node.advertise},
                     {"labels", labels_json(node.labels)},
                     {"runtimes", std::move(runtimes)},
                     {"probes", texts_json(node.probes)},
                     {"cpu_milli", node.cpu_milli},
                     {"memory_bytes", node.memory_bytes},
                     {"version", node.version},
                     {"ask_port", node.ask_port},
                     {"reboots_ms", std::move(reboots)}};
    if (node.expected) out["reboot_waits_ms"] = node.waits / milliseconds(1);
    return out;
}

void Controller::State::write(std::string key, const std::optional<json::object>& value) {
    std::optional<std::string> text;
    if (value) text = json::serialize(*value);
    out_->writes.push_back({std::move(key), std::move(text)});
}

void Controller::State::flush_documents() {
    for (const auto& name : std::exchange(dirty_services_, {})) {
        const auto at = services_.find(name);
        write("service/" + name, at == services_.end() ? std::nullopt : std::optional(document(at->second)));
    }
    for (const auto& id : std::exchange(dirty_instances_, {})) {
        const Instance* instance = find(id);
        const bool keep = instance && worth_storing(*instance);
        write("instance/" + id.text(), keep ? std::optional(document(*instance)) : std::nullopt);
    }
    for (const auto& name : std::exchange(dirty_nodes_, {})) {
        const auto at = nodes_.find(name);
        write("node/" + name, at == nodes_.end() ? std::nullopt : std::optional(document(at->second)));
    }
    if (std::exchange(shifts_dirty_, false))
        write("rebalance", shifts_.empty() ? std::nullopt : std::optional(rebalance_document()));
}

std::vector<Entry> Controller::State::stored() const {
    std::map<std::string, std::string> out;
    const auto add = [&](std::string key, const json::object& value) { out[std::move(key)] = json::serialize(value); };
    add("meta", meta_document());
    if (!shifts_.empty()) add("rebalance", rebalance_document());
    for (const auto& [name, image] : images_) add("image/" + name, document(image));
    for (const auto& [name, value] : secrets_) add("secret/" + name, json::object{{"value", value}});
    for (const auto& [name, node] : nodes_) add("node/" + name, document(node));
    for (const auto& [name, service] : services_) {
        add("service/" + name, document(service));
        for (const auto& [index, instance] : service.instances)
            if (worth_storing(instance)) add("instance/" + instance.id().text(), document(instance));
    }
    std::vector<Entry> entries;
    entries.reserve(out.size());
    for (auto& [key, value] : out) entries.push_back({key, std::move(value)});
    return entries;
}

}  // namespace gantry::core
