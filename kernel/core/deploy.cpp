// SPDX-License-Identifier: Apache-2.0
//
// A manifest becomes a service, or a new revision of one.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

// Where an instance may run and how many there are is no part of its container.
ServiceSpec container_of(ServiceSpec spec) {
    spec.instances = 1;
    spec.nodes.clear();
    spec.pool_labels.clear();
    spec.constraints.clear();
    spec.policy.clear();
    spec.prepull = true;
    spec.max_gap = spec.max_overlap = {};
    spec.mode = Mode::kDynamic;
    spec.update = {};
    spec.after.clear();
    spec.priority = 0;
    spec.apart = spec.spread = Force::kNone;
    spec.spread_label.clear();
    spec.forbid = spec.preempt = false;
    return spec;
}

std::string path_of(const char* list, std::size_t i, const char* member) {
    return std::string(list) + "[" + std::to_string(i) + "]." + member;
}

// "table.member" -> value, for comparing two manifests.
std::map<std::string, json::value> flat(const ServiceSpec& spec) {
    std::map<std::string, json::value> out;
    const json::value document = to_json(spec);
    for (const auto& table : document.as_object()) {
        if (const auto* members = table.value().if_object())
            for (const auto& member : *members)
                out[std::string(table.key()) + "." + std::string(member.key())] = member.value();
        else
            out[std::string(table.key())] = table.value();
    }
    return out;
}

// How a rollout would go, for people. back: the revision to which a failure leads, 0: none.
std::string rollout_text(const UpdateSpec& update, std::uint64_t back) {
    std::string out = "up to " + std::to_string(update.max_surge) + " next copies at once, up to " +
                      std::to_string(update.max_unavailable) + " instances away";
    if (update.canary != 0) out += ", " + std::to_string(update.canary) + " first, alone";
    if (update.gate > Duration(0)) out += ", each ready for " + format_duration(update.gate) + " before others follow";
    out += ", ready within " + format_duration(update.deadline);
    if (!update.roll_back) return out + "; if it fails, it stays so";
    return out + (back == 0 ? "; if it fails, there is no revision to go back to"
                            : "; if it fails, back to revision " + std::to_string(back));
}

std::uint64_t newest_good(const Service& service) {
    for (auto at = service.revisions.rbegin(); at != service.revisions.rend(); ++at)
        if (at->second.good) return at->first;
    return 0;
}

json::array difference(const ServiceSpec* from, const ServiceSpec& to) {
    const auto before = from ? flat(*from) : std::map<std::string, json::value>();
    auto after = flat(to);
    std::map<std::string, std::pair<json::value, json::value>> changes;
    for (const auto& [field, value] : before) changes[field].first = value;
    for (const auto& [field, value] : after) changes[field].second = value;
    json::array out;
    for (const auto& [field, change] : changes)
        if (change.first != change.second)
            out.push_back(json::object{{"field", field}, {"from", change.first}, {"to", change.second}});
    return out;
}

}  // namespace

// new_image: of a recorded revision the image is here.
Status Controller::State::check_deploy(const ServiceSpec& spec, bool new_image) const {
    if (new_image && !images_.contains(spec.image))
        return fail(Code::kInvalid,
                    "image " + spec.image + " is not in the store; import it with: gantry image import FILE",
                    "service.image");
    const auto& policy = spec.policy;
    if (!policy.empty() && std::find(policies_.begin(), policies_.end(), policy) == policies_.end()) {
        std::string known;
        for (const auto& name : policies_) known += (known.empty() ? "" : ", ") + name;
        return fail(Code::kInvalid, "there is no policy " + policy + ", expected one of " + known, "placement.policy");
    }
    GANTRY_CHECK(check_order(spec));
    GANTRY_CHECK(check_forbid(spec));
    for (std::size_t i = 0; i < spec.endpoints.size(); ++i) {
        const auto& endpoint = spec.endpoints[i];
        if (!endpoint.secret.empty() && !secrets_.contains(endpoint.secret))
            return fail(Code::kInvalid,
                        "there is no secret " + endpoint.secret + "; set it with: gantry secret set " + endpoint.secret,
                        path_of("endpoint", i, "password.secret"));
        if (endpoint.name.empty()) continue;
        for (const auto& [name, other] : services_) {
            if (name == spec.name || other.removing) continue;
            // Copies of an older revision still answer to its names.
            for (const auto number : live_revisions(other))
                for (const auto& taken : other.revisions.at(number).spec.endpoints)
                    if (taken.name == endpoint.name)
                        return fail(Code::kInvalid,
                                    "the name " + endpoint.name + " belongs to service " + name + "; choose another",
                                    path_of("endpoint", i, "name"));
        }
    }
    if (!services_.contains(spec.name) && services_.size() >= limits::kServices)
        return fail(Code::kFull, "the cluster has " + std::to_string(services_.size()) + " services, no more fit",
                    "service.name");
    return {};
}

json::array Controller::State::deploy_warnings(const ServiceSpec& spec) const {
    json::array out;
    for (std::size_t i = 0; i < spec.nodes.size(); ++i)
        if (!nodes_.contains(spec.nodes[i]))
            out.push_back(json::string("placement.nodes[" + std::to_string(i) + "]: no node " + spec.nodes[i] +
                                       " has joined yet"));
    for (std::size_t i = 0; i < spec.after.size(); ++i)
        if (!services_.contains(spec.after[i]))
            out.push_back(json::string("service.after[" + std::to_string(i) + "]: there is no service " +
                                       spec.after[i] + " yet; " + spec.name + " waits for it"));
    if (spec.nodes.empty() &&
        std::none_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) { return in_pool(spec, entry.second); }))
        out.push_back("no node matches the pool's labels yet");
    if (const auto at = services_.find(spec.name); at != services_.end() && at->second.stopped && !at->second.removing)
        out.push_back(json::string(spec.name + " is stopped and stays so: gantry start " + spec.name + " runs it"));
    return out;
}

void Controller::State::derive(Revision& revision) {
    const ServiceSpec& spec = revision.spec;
    revision.need.cpu_milli = spec.cpu_milli;
    revision.need.memory_bytes = spec.memory_bytes;
    std::set<std::uint16_t> ports;
    for (const auto& endpoint : spec.endpoints)
        if (endpoint.port != 0) ports.insert(endpoint.port);
    revision.need.ports.assign(ports.begin(), ports.end());
    revision.image_no = image_no(revision.image_digest);
    std::map<std::string, std::string> secrets;
    for (const auto& endpoint : spec.endpoints)
        if (const auto at = secrets_.find(endpoint.secret); !endpoint.secret.empty() && at != secrets_.end())
            secrets[endpoint.name] = at->second;
    revision.copy_spec = {
        spec.name, revision.number, revision.image_digest, spec.image, spec, Labels(secrets.begin(), secrets.end())};
    revision.digest = spec_digest(revision.copy_spec);
}

// The tag means the digest that it means now, for as long as this revision lives.
Revision Controller::State::make_revision(const ServiceSpec& spec, const Service* service) {
    const Image& image = images_.find(spec.image)->second;
    Revision revision;
    revision.number = service ? service->last().number + 1 : 1;
    revision.spec = spec;
    revision.image_digest = image.digest;
    revision.system = image.os;
    revision.architecture = image.architecture;
    revision.generation = revision.number;
    if (service && service->last().image_digest == image.digest &&
        container_of(service->last().spec) == container_of(spec))
        revision.generation = service->last().generation;
    derive(revision);
    return revision;
}

Service& Controller::State::new_service(const std::string& name) {
    Service& service = services_[name];
    service.name = name;
    service.no = next_service_no_++;
    service_by_no_[service.no] = &service;
    write("meta", meta_document());
    return service;
}

void Controller::State::on(const ApiDeploy& input) {
    const auto spec = parse_service(input.document);
    if (!spec) return reply(input.request, std::unexpected(spec.error()));
    if (const auto good = check_deploy(*spec, true); !good) return reply(input.request, std::unexpected(good.error()));
    const auto at = services_.find(spec->name);
    Service* service = at == services_.end() || at->second.removing ? nullptr : &at->second;
    const bool changed = !service || service->last().spec != *spec;
    json::object answer{{"service", spec->name},
                        {"revision", changed ? (service ? service->last().number + 1 : 1) : service->last().number},
                        {"changed", changed},
                        {"warnings", deploy_warnings(*spec)}};
    if (const auto good = check_overlap(*spec); !good) return reply(input.request, std::unexpected(good.error()));
    if (input.dry_run) return start_dry_run(input, *spec, service, std::move(answer));
    if (changed) {
        const bool fresh = !service;
        // What is left of a removed service of that name is now nobody's: its copies stay on their way out.
        if (fresh && at != services_.end()) drop_service(at->second);
        if (spec->forbid) lease_span_ = std::max(lease_span_, lease_span(timing_));
        Revision revision = make_revision(*spec, service);
        if (fresh) service = &new_service(spec->name);
        change(*service, std::move(revision));
        event(fresh ? "service-deployed" : "service-changed",
              spec->name + " revision " + std::to_string(service->last().number) + ": " +
                  std::to_string(service->instances.size()) + " of " + spec->image,
              {{"service", spec->name}, {"revision", service->last().number}});
    }
    answer["instances"] = service->instances.size();
    reply(input.request, std::move(answer));
}

void Controller::State::change(Service& service, Revision revision) {
    if (!service.revisions.empty()) {
        cancel_placing(service);
        give_up_plans(service);
        set_prepull(service, -1);
    }
    const std::uint64_t number = revision.number;
    revision.service_no = service.no;
    service.forbid = revision.spec.forbid;
    service.revisions[number] = std::move(revision);
    service.paused = false;
    service.pool_version = 0;
    set_prepull(service, 1);
    match_instances(service);
    // Also those that were held back until now.
    for (auto& [index, instance] : service.instances) {
        if (instance.pending()) service.unplaced.insert(index);
        if (instance.current.node) touched_.insert(instance.current.node);  // who waits there may displace it now
    }
    forget_revisions(service);
    enqueue(service);
    rolling_.insert(service.no);
    moves_dirty_ = true;
    dirty(service);
}

Instance& Controller::State::add_instance(Service& service, std::uint32_t index) {
    Instance& instance = service.instances[index];
    instance.service = &service;
    instance.index = index;
    instance.current.since = now_;
    service.unplaced.insert(index);
    return instance;
}

// Makes the instances those that the last revision asks for.
void Controller::State::match_instances(Service& service) {
    if (service.is_static()) return match_static(service);
    const std::uint32_t wanted = service.last().spec.instances;
    while (!service.instances.empty() && service.instances.rbegin()->first >= wanted)
        remove_instance(service, service.instances.rbegin()->first);
    for (auto& [index, instance] : service.instances) {
        if (instance.bound.empty()) continue;
        instance.bound.clear();
        dirty(instance);
    }
    for (std::uint32_t index = 0; index < wanted; ++index)
        if (!service.instances.contains(index)) add_instance(service, index);
}

// One instance for every node of the pool. What runs on such a node already belongs to it.
void Controller::State::match_static(Service& service) {
    std::set<std::string> wanted(service.last().spec.nodes.begin(), service.last().spec.nodes.end());
    std::vector<std::uint32_t> superfluous;
    for (auto& [index, instance] : service.instances) {
        const std::string& name = !instance.bound.empty() ? instance.bound
                                  : instance.shown().node ? instance.shown().node->name
                                                          : "";
        if (wanted.erase(name) == 0) {
            superfluous.push_back(index);
        } else if (instance.bound.empty()) {
            instance.bound = name;
            dirty(instance);
        }
    }
    for (const auto index : superfluous) remove_instance(service, index);
    std::uint32_t index = 0;
    for (const auto& name : wanted) {
        while (service.instances.contains(index)) ++index;
        Instance& instance = add_instance(service, index);
        instance.bound = name;
        dirty(instance);
    }
}

namespace {

// Which instance of a static service each node has or gets, as match_static() gives them out.
std::map<std::string, std::uint32_t> static_places(const Service* service, const ServiceSpec& spec) {
    std::set<std::string> wanted(spec.nodes.begin(), spec.nodes.end());
    std::map<std::string, std::uint32_t> out;
    std::set<std::uint32_t> taken;
    if (service)
        for (const auto& [index, instance] : service->instances) {
            const std::string& name = !instance.bound.empty() ? instance.bound
                                      : instance.shown().node ? instance.shown().node->name
                                                              : "";
            if (wanted.erase(name) == 0) continue;
            out[name] = index;
            taken.insert(index);
        }
    std::uint32_t index = 0;
    for (const auto& name : wanted) {
        while (taken.contains(index)) ++index;
        out[name] = index++;
    }
    return out;
}

}  // namespace

// The service as it would be: its instances are those that there are, judged by the new revision.
void Controller::State::start_dry_run(const ApiDeploy& input, const ServiceSpec& spec, const Service* service,
                                      json::object reply_so_far) {
    Question question;
    question.dry.emplace();
    DryRun& dry = *question.dry;
    dry.request = input.request;
    dry.reply = std::move(reply_so_far);
    dry.reply["difference"] = difference(service ? &service->last().spec : nullptr, spec);
    dry.service.name = spec.name;
    if (service) {
        dry.service.no = service->no;
        dry.service.revisions = service->revisions;
    }
    dry.service.forbid = spec.forbid;
    const bool changed = dry.reply.at("changed").as_bool();
    if (changed) {
        Revision revision = make_revision(spec, service);
        revision.service_no = dry.service.no;
        dry.service.revisions[revision.number] = std::move(revision);
    }
    const bool is_static = spec.mode == Mode::kStatic;
    const auto places = is_static ? static_places(service, spec) : std::map<std::string, std::uint32_t>();
    std::map<std::uint32_t, std::string> bound;
    for (const auto& [name, index] : places) bound[index] = name;
    if (!is_static)
        for (std::uint32_t index = 0; index < spec.instances; ++index) bound[index];
    dry.reply["instances"] = bound.size();
    if (service && changed) dry.reply["rollout"] = rollout_text(spec.update, newest_good(*service));
    for (const auto& [index, name] : bound) {
        if (dry.placement.size() + dry.left.size() >= kDryRunShown) break;
        imagine_instance(dry, service, index, name, changed);
    }
    std::vector<Node*> nodes;
    for (const auto& candidate : pool_of(dry.service))
        if (rules(dry.service.last(), candidate) == Exclusion::kNone) nodes.push_back(candidate.node);
    question.policy = policy_of(dry.service);
    question.candidates = nodes.size();
    if (dry.left.empty() || nodes.empty()) return finish_dry_run(question, "");
    const std::uint64_t id = next_question_;
    Question& asked = questions_.emplace(id, std::move(question)).first->second;
    ask(asked, asked.dry->service, asked.dry->left.size(), nodes);
}

void Controller::State::imagine_instance(DryRun& dry, const Service* service, std::uint32_t index,
                                         const std::string& bound, bool changed) {
    const Revision& last = dry.service.last();
    const auto show = [&](const std::string& node, std::string why) {
        dry.placement.push_back(json::object{
            {"instance", dry.service.name + "." + std::to_string(index)}, {"node", node}, {"reason", std::move(why)}});
    };
    const Instance* now = nullptr;
    if (service)
        if (const auto at = service->instances.find(index); at != service->instances.end()) now = &at->second;
    if (now && now->current.node && (bound.empty() || now->current.node->name == bound)) {
        Instance then = *now;
        then.bound = bound;
        const std::string& here = now->current.node->name;
        if (!changed || !outdated(dry.service, then, then.current)) return show(here, "stays");
        switch (fit(dry.service, then)) {
            case Fit::kBeside:
                return show(here, "runs now; replaced when its turn comes, without a gap");
            case Fit::kInstead:
                return show(here, std::string("runs now; replaced when its turn comes, with a gap: no second copy ") +
                                      (dry.service.forbid ? "may run beside it" : "fits beside it"));
            case Fit::kNowhere:
                return show(here, "stays at its revision: the new one fits no node");
        }
    }
    if (bound.empty()) return dry.left.push_back(index);
    const auto at = nodes_.find(bound);
    if (at == nodes_.end()) return show("pending", bound + " never joined");
    const PoolNode* place = pool_entry(dry.service, at->second);
    const Exclusion exclusion = place ? rules(last, *place) : Exclusion::kPool;
    if (exclusion == Exclusion::kNone) return show(bound, "static");
    if (const auto room = imagine_room(dry, bound)) return show(bound, displaces(room->leave));
    show("pending", bound + " " + reason(exclusion, last, at->second));
}

// Where nothing is free: who would have to leave.
std::optional<Controller::State::Room> Controller::State::imagine_room(DryRun& dry, const std::string& bound) const {
    if (!dry.service.last().spec.preempt || !dry.service.last().failed.empty()) return std::nullopt;
    auto room = room_for(dry.service, bound, nullptr, dry.imagined);
    if (!room || room->leave.empty()) return std::nullopt;
    dry.imagined[room->node] = room->after;
    return room;
}

void Controller::State::imagine(Question& question) {
    DryRun& dry = *question.dry;
    const Revision& revision = dry.service.last();
    while (!dry.left.empty()) {
        Node* outdated = nullptr;
        Node* node = choose(question, revision, nullptr, &outdated);
        if (outdated) return ask(question, dry.service, dry.left.size(), {outdated});
        if (!node) break;
        dry.placement.push_back(
            json::object{{"instance", dry.service.name + "." + std::to_string(dry.left.front())},
                         {"node", node->name},
                         {"reason", "best of " + std::to_string(question.candidates) + " by " + question.policy}});
        dry.left.erase(dry.left.begin());
        question.order.erase(question.order.begin());
        Imagined& imagined = dry.imagined[node];
        imagined.take(revision.need);
        if (!dry.left.empty() && rules(revision, {node, Exclusion::kNone}, nullptr, &imagined) == Exclusion::kNone)
            return ask(question, dry.service, dry.left.size(), {node});
    }
    finish_dry_run(question, "");
}

void Controller::State::finish_dry_run(Question& question, const std::string& why) {
    DryRun& dry = *question.dry;
    while (why.empty() && !dry.left.empty()) {
        const auto room = imagine_room(dry, "");
        if (!room) break;
        dry.placement.push_back(json::object{{"instance", dry.service.name + "." + std::to_string(dry.left.front())},
                                             {"node", room->node->name},
                                             {"reason", displaces(room->leave)}});
        dry.left.erase(dry.left.begin());
    }
    std::string reasons = why;
    if (reasons.empty() && !dry.left.empty())
        for (const auto& entry : pending_reasons(dry.service))
            reasons += (reasons.empty() ? "" : "; ") + std::string(entry.at("node").as_string()) + " " +
                       std::string(entry.at("reason").as_string());
    if (reasons.empty()) reasons = dry.imagined.empty() ? "its pool has no node" : "nothing is left on the candidates";
    for (const auto index : dry.left)
        dry.placement.push_back(json::object{
            {"instance", dry.service.name + "." + std::to_string(index)}, {"node", "pending"}, {"reason", reasons}});
    dry.reply["placement"] = std::move(dry.placement);
    reply(dry.request, std::move(dry.reply));
    if (question.id != 0) questions_.erase(question.id);
}

}  // namespace gantry::core
