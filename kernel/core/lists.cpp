// SPDX-License-Identifier: Apache-2.0
//
// What nodes are told: their lists and the table of names.
#include "kernel/base/limits.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

NodeList Controller::State::list_of(const Node& node) const {
    NodeList list;
    list.cluster_id = cluster_id_;
    list.no = {term_, node.list_no};
    list.copies.reserve(node.copies.size());
    for (const auto& [copy, instance] : node.copies) {
        const Service& service = *instance->service;
        const bool is_next = copy.epoch == instance->next.epoch;
        const Copy& listed = is_next ? instance->next : instance->current;
        list.copies.push_back({copy, service.name, service.revisions.at(listed.revision).digest, service.is_static(),
                               is_next && instance->current.node, service.forbid});
    }
    // What does not fit is fetched when it is needed.
    for (const auto& [image, services] : node.prepull)
        if (list.images.size() < limits::kNodeImages) list.images.push_back(image_digests_[image]);
    return list;
}

void Controller::State::flush_lists() {
    for (Node* node : dirty_lists_) {
        // Nothing before its first report; what it gets then is a new list anyway.
        if (!node->reported && !(node->down() && node->peer != 0)) continue;
        ++node->list_no;
        dirty(*node);
        send(*node, list_of(*node));
    }
    dirty_lists_.clear();
}

void Controller::State::prepull(Node& node, std::uint32_t image, int sign) {
    auto& services = node.prepull[image];
    const bool before = services != 0;
    services += static_cast<std::uint32_t>(sign);
    const bool after = services != 0;
    if (!after) node.prepull.erase(image);
    if (before != after) dirty_list(node);
}

void Controller::State::announce_copy(Instance& instance, bool present) {
    const auto revision = instance.service->revisions.find(instance.current.revision);
    const ServiceSpec& spec = revision->second.spec;
    for (std::size_t i = 0; i < spec.endpoints.size(); ++i) {
        const auto& endpoint = spec.endpoints[i];
        if (endpoint.name.empty()) continue;
        const std::pair key(endpoint.name, instance.current_id());
        const auto port = spec.port(i, instance.current.ports);
        names_dirty_ = true;
        if (!present || port == 0) {
            names_.erase(key);
            continue;
        }
        Named& named = names_[key];
        if (named.entry.name.empty()) named.since = now_;
        named.entry = {endpoint.name, instance.current.node->public_address(), instance.current.node->name, port,
                       instance.current_id()};
    }
}

Names Controller::State::names_table() const {
    Names table{term_, names_no_, {}};
    table.entries.reserve(names_.size());
    for (const auto& [key, named] : names_) table.entries.push_back(named.entry);
    return table;
}

void Controller::State::flush_names() {
    if (!std::exchange(names_dirty_, false)) return;
    ++names_no_;
    out_->acts.push_back(Announce{names_table()});
}

}  // namespace gantry::core
