// SPDX-License-Identifier: Apache-2.0
//
// API changes other than a deployment; each ends with one Reply.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

void Controller::State::reply(RequestId request, Result<json::value> result) {
    out_->acts.push_back(Reply{request, std::move(result)});
}

void Controller::State::on(const ApiRemoveService& input) {
    const auto at = services_.find(input.name);
    if (at == services_.end()) return reply(input.request, fail(Code::kNotFound, "there is no service " + input.name));
    Service& service = at->second;
    if (!service.removing) {
        cancel_placing(service);
        set_prepull(service, -1);
        std::size_t copies = 0;
        while (!service.instances.empty()) {
            copies += (service.instances.rbegin()->second.current.node != nullptr) +
                      (service.instances.rbegin()->second.next.node != nullptr);
            remove_instance(service, service.instances.rbegin()->first);
        }
        service.removing = true;
        removing_.insert(service.no);
        rolling_.erase(service.no);
        dirty(service);
        event("service-removed", input.name + " removed, " + std::to_string(copies) + " copies to stop",
              {{"service", input.name}});
    }
    reply(input.request, json::object{{"service", input.name}, {"removing", true}});
    check_removed();
}

void Controller::State::drop_service(Service& service) {
    const std::string name = service.name;
    removing_.erase(service.no);
    rolling_.erase(service.no);
    waiting_.erase(service.no);
    service_by_no_.erase(service.no);
    dirty_services_.insert(name);
    services_.erase(name);
}

bool Controller::State::wants_image(const Revision& revision, const Node& node) const {
    return revision.spec.prepull && in_pool(revision.spec, node) && fixed_rules(revision, node) == Exclusion::kNone;
}

void Controller::State::set_prepull(const Service& service, int sign) {
    if (!service.last().spec.prepull) return;
    for (const auto& candidate : pool_of(service))
        if (candidate.fixed == Exclusion::kNone) prepull(*candidate.node, service.last().image_no, sign);
}

void Controller::State::on(const ApiSetIntent& input) {
    const auto at = nodes_.find(input.node);
    if (at == nodes_.end()) return reply(input.request, fail(Code::kNotFound, "there is no node " + input.node));
    Node& node = at->second;
    Intent intent = Intent::kActive;
    if (input.intent == "cordoned")
        intent = Intent::kCordoned;
    else if (input.intent == "draining")
        intent = Intent::kDraining;
    else if (input.intent != "active")
        return reply(
            input.request,
            fail(Code::kInvalid, "not an intent: expected active, cordoned or draining, got \"" + input.intent + "\"",
                 "intent"));
    if (node.intent != intent) {
        node.intent = intent;
        node.drain_told = false;
        if (intent == Intent::kDraining) draining_.insert(node.name);
        dirty(node);
        touched_.insert(&node);
        moves_dirty_ = true;
        const char* kind = intent == Intent::kDraining   ? "drain-started"
                           : intent == Intent::kCordoned ? "cordoned"
                                                         : "activated";
        event(kind, node.name + " is " + std::string(intent_name(intent)), {{"node", node.name}});
    }
    reply(input.request, json::object{{"node", node.name}, {"intent", intent_name(intent)}});
}

void Controller::State::on(const ApiRemoveNode& input) {
    const auto at = nodes_.find(input.node);
    if (at == nodes_.end()) return reply(input.request, fail(Code::kNotFound, "there is no node " + input.node));
    Node& node = at->second;
    if (node.liveness == Liveness::kReady)
        return reply(input.request, fail(Code::kConflict, input.node + " is ready; stop its gantryd first"));
    if (!node.down() && !input.dead)
        return reply(input.request, fail(Code::kConflict,
                                         input.node + " is " + std::string(liveness_name(node.liveness)) +
                                             " and may come back with its " + std::to_string(node.copies.size()) +
                                             " copies; confirm that it will not: gantry node rm --dead " + input.node));
    if (!node.down()) node_lost(node, Liveness::kLost, "removed as dead");
    event("node-removed", input.node + " is forgotten", {{"node", input.node}});
    forget(node);
    reply(input.request, json::object{{"node", input.node}});
}

void Controller::State::on(const ApiSetImage& input) {
    if (input.name.empty() || input.digest.empty())
        return reply(input.request, fail(Code::kInvalid, "an image has a name and a digest", "name"));
    Image image{input.digest, input.os, input.architecture, input.size_bytes};
    const auto at = images_.find(input.name);
    const bool changed = at == images_.end() || at->second != image;
    if (changed) {
        write("image/" + input.name, document(image));
        images_[input.name] = std::move(image);
        event("image-set", input.name + " is " + input.digest.substr(0, 19),
              {{"image", input.name}, {"digest", input.digest}});
    }
    reply(input.request, json::object{{"name", input.name}, {"digest", input.digest}, {"changed", changed}});
}

namespace {

// Why a service's revision is still needed, and what would end that.
std::string why_kept(const Service& service, std::uint64_t number) {
    if (service.removing) return ", which is being removed: try again when its copies are gone";
    if (number == service.last().number) return "; deploy that service with another image first, or remove it";
    return ", which copies still run: try again when revision " + std::to_string(service.last().number) +
           " has replaced them";
}

}  // namespace

void Controller::State::on(const ApiRemoveImage& input) {
    const auto at = images_.find(input.name);
    if (at == images_.end()) return reply(input.request, fail(Code::kNotFound, "there is no image " + input.name));
    const std::string digest = at->second.digest;
    const auto needs = [&](const Revision& revision) {
        return revision.spec.image == input.name || revision.image_digest == digest;
    };
    for (const auto& [name, service] : services_)
        for (const auto number : live_revisions(service))
            if (needs(service.revisions.at(number)))
                return reply(input.request, fail(Code::kConflict, "image " + input.name + " is needed by revision " +
                                                                      std::to_string(number) + " of service " + name +
                                                                      why_kept(service, number)));
    // There is no way back to those that are only recorded.
    std::string forgotten;
    for (auto& [name, service] : services_)
        if (const auto gone =
                std::erase_if(service.revisions, [&](const auto& entry) { return needs(entry.second); })) {
            dirty(service);
            forgotten += (forgotten.empty() ? ", and with it " : ", ") + std::to_string(gone) + " recorded of " + name;
        }
    images_.erase(at);
    write("image/" + input.name, std::nullopt);
    event("image-removed", input.name + " is removed" + forgotten, {{"image", input.name}});
    reply(input.request, json::object{{"name", input.name}});
}

bool Controller::State::uses_secret(const Service& service, const std::string& secret) const {
    for (const auto number : live_revisions(service))
        for (const auto& endpoint : service.revisions.at(number).spec.endpoints)
            if (endpoint.secret == secret) return true;
    return false;
}

void Controller::State::on(const ApiSetSecret& input) {
    if (const auto good = check_name(input.name, "the secret's name"); !good)
        return reply(input.request, std::unexpected(good.error()));
    if (input.remove) {
        if (!secrets_.contains(input.name))
            return reply(input.request, fail(Code::kNotFound, "there is no secret " + input.name));
        for (const auto& [name, service] : services_)
            if (uses_secret(service, input.name))
                return reply(input.request,
                             fail(Code::kConflict, "secret " + input.name + " is used by service " + name));
        secrets_.erase(input.name);
        write("secret/" + input.name, std::nullopt);
        return reply(input.request, json::object{{"name", input.name}});
    }
    if (input.value.size() > limits::kSecret)
        return reply(input.request, fail(Code::kInvalid,
                                         "a secret has at most " + std::to_string(limits::kSecret) + " bytes, got " +
                                             std::to_string(input.value.size()),
                                         "value"));
    const auto at = secrets_.find(input.name);
    if (at == secrets_.end() || at->second != input.value) {
        secrets_[input.name] = input.value;
        write("secret/" + input.name, json::object{{"value", input.value}});
        for (auto& [name, service] : services_) {
            if (!uses_secret(service, input.name)) continue;
            // The containers stay: the password is what probes log in with.
            for (auto& [number, revision] : service.revisions) derive(revision);
            for (const auto& [index, instance] : service.instances)
                for (const Copy* copy : {&instance.current, &instance.next})
                    if (copy->node) dirty_list(*copy->node);
        }
    }
    reply(input.request, json::object{{"name", input.name}});
}

}  // namespace gantry::core
