// SPDX-License-Identifier: Apache-2.0
//
// The stored form, read: refuses what is not ours and says which key and why.
#include <algorithm>
#include <array>
#include <charconv>

#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

// In the order in which they are read: what others refer to comes first.
constexpr std::array<std::string_view, 7> kKinds = {"meta",     "image/",    "secret/",  "node/",
                                                    "service/", "instance/", "rebalance"};

std::size_t kind_of(std::string_view key) {
    for (std::size_t i = 0; i < kKinds.size(); ++i)
        if (kKinds[i].ends_with('/') ? key.starts_with(kKinds[i]) : key == kKinds[i]) return i;
    return kKinds.size();
}

Result<std::uint64_t> number(Fields& fields, std::string_view key) {
    GANTRY_TRY(value, fields.integer(key));
    if (value < 0) return fail(Code::kInvalid, "expected 0 or more, got " + std::to_string(value), fields.path(key));
    return static_cast<std::uint64_t>(value);
}

bool take_number(std::string_view& text, std::uint64_t& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

Status take_reboots(Fields& fields, Node& node) {
    const auto* value = fields.member("reboots_ms");
    if (!value) return {};
    const auto wrong = fail(Code::kInvalid, "expected a list of milliseconds", fields.path("reboots_ms"));
    if (!value->is_array()) return wrong;
    for (const auto& took : value->get_array()) {
        if (!took.is_int64()) return wrong;
        node.reboots_took.push_back(milliseconds(took.get_int64()));
    }
    return {};
}

}  // namespace

Status Controller::State::load_meta(const json::value& value) {
    Fields fields(&value, "meta");
    GANTRY_TRY(version, fields.integer("version"));
    if (version < 1 || version > kStoredVersion)
        return fail(Code::kUnsupported,
                    "the stored form has version " + std::to_string(version) + ", expected at most " +
                        std::to_string(kStoredVersion) +
                        ": a newer gantryd wrote it; run that one, or restore a backup",
                    "meta.version");
    GANTRY_TRY(cluster, fields.text("cluster_id"));
    GANTRY_TRY(term, number(fields, "term"));
    GANTRY_TRY(next, number(fields, "next_service_no"));
    cluster_id_ = std::move(cluster);
    term_ = term;
    next_service_no_ = next;
    GANTRY_TRY(span, fields.integer("lease_span_ns", 0, 0, INT64_MAX / 4));
    lease_span_ = Duration(span);
    return fields.finish();
}

Status Controller::State::load_image(const std::string& name, const json::value& value) {
    Fields fields(&value, "image/" + name);
    Image image;
    GANTRY_TRY(digest, fields.text("digest"));
    GANTRY_TRY(os, fields.text("os"));
    GANTRY_TRY(architecture, fields.text("architecture"));
    GANTRY_TRY(size, fields.integer("size_bytes"));
    images_[name] = {std::move(digest), std::move(os), std::move(architecture), size};
    return fields.finish();
}

Status Controller::State::load_secret(const std::string& name, const json::value& value) {
    Fields fields(&value, "secret/" + name);
    GANTRY_TRY(text, fields.text("value"));
    secrets_[name] = std::move(text);
    return fields.finish();
}

Status Controller::State::load_node(const std::string& name, const json::value& value, Instant now) {
    Fields fields(&value, "node/" + name);
    Node& node = nodes_[name];
    node.name = name;
    GANTRY_TRY(node_id, fields.text("node_id"));
    GANTRY_TRY(boot_id, fields.text("boot_id"));
    GANTRY_TRY(session, number(fields, "session"));
    GANTRY_TRY(liveness, fields.text("liveness"));
    GANTRY_TRY(reason, fields.text("reason"));
    GANTRY_TRY(intent, fields.text("intent"));
    GANTRY_TRY(list_no, number(fields, "list_no"));
    GANTRY_TRY(address, fields.text("address"));
    GANTRY_TRY(advertise, fields.text("advertise"));
    GANTRY_TRY(labels, fields.text_map("labels"));
    GANTRY_TRY(runtimes, fields.list("runtimes"));
    GANTRY_TRY(probes, fields.texts("probes"));
    GANTRY_TRY(cpu, fields.integer("cpu_milli"));
    GANTRY_TRY(memory, fields.integer("memory_bytes"));
    GANTRY_TRY(version, fields.text("version"));
    GANTRY_CHECK(take_reboots(fields, node));
    GANTRY_TRY(ask_port, fields.integer("ask_port", 0, 0, UINT16_MAX));
    GANTRY_TRY(waits, fields.integer("reboot_waits_ms", 0, 0, seconds(86'400 * 365) / milliseconds(1)));
    for (std::size_t i = 0; i < runtimes.size(); ++i) {
        Fields entry(runtimes[i], fields.path("runtimes") + "[" + std::to_string(i) + "]");
        GANTRY_TRY(runtime, take_runtime(entry));
        GANTRY_CHECK(entry.finish());
        node.runtimes.push_back(std::move(runtime));
    }
    node.node_id = std::move(node_id);
    node.boot_id = std::move(boot_id);
    node.session = session;
    node.liveness = liveness == "lost" ? Liveness::kLost : liveness == "left" ? Liveness::kLeft : Liveness::kNew;
    node.reason = node.down() ? std::move(reason) : "not back since the controller's start";
    node.intent = intent == "cordoned" ? Intent::kCordoned : intent == "draining" ? Intent::kDraining : Intent::kActive;
    if (node.intent == Intent::kDraining) draining_.insert(node.name);
    node.list_no = list_no;
    node.address = std::move(address);
    node.advertise = std::move(advertise);
    node.labels = std::move(labels);
    node.probes = std::move(probes);
    node.cpu_milli = cpu;
    node.memory_bytes = memory;
    node.version = std::move(version);
    node.ask_port = static_cast<std::uint16_t>(ask_port);
    if (timing_.indirect) node.ask_at = now + timing_.start_grace / 2;
    node.quiet = Quiet::kLoaded;
    node.heard = node.dropped = now;
    node.waits = milliseconds(waits);
    load_reboot(node);
    return fields.finish();
}

Status Controller::State::load_service(const std::string& name, const json::value& value) {
    Fields fields(&value, "service/" + name);
    Service& service = services_[name];
    service.name = name;
    GANTRY_TRY(no, number(fields, "no"));
    GANTRY_TRY(floor, number(fields, "epoch_floor"));
    GANTRY_TRY(removing, fields.boolean("removing", false));
    GANTRY_TRY(paused, fields.boolean("paused", false));
    GANTRY_TRY(stopped, fields.boolean("stopped", false));
    GANTRY_TRY(revisions, fields.list("revisions"));
    service.no = no;
    service.epoch_floor = floor;
    service.removing = removing;
    service.paused = paused;
    service.stopped = stopped;
    for (std::size_t i = 0; i < revisions.size(); ++i) {
        Fields entry(revisions[i], fields.path("revisions") + "[" + std::to_string(i) + "]");
        Revision revision;
        GANTRY_TRY(at, number(entry, "revision"));
        GANTRY_TRY(generation, number(entry, "generation"));
        const json::value* document = entry.member("document");
        auto spec = parse_service(document ? *document : json::value());
        if (!spec) return fail_because(entry.path("document") + " is no manifest", spec.error());
        GANTRY_TRY(digest, entry.text("image_digest"));
        GANTRY_TRY(os, entry.text("os"));
        GANTRY_TRY(architecture, entry.text("architecture"));
        GANTRY_TRY(failed, entry.texts("failed"));
        GANTRY_TRY(failing, entry.boolean("failing", false));
        GANTRY_TRY(good, entry.boolean("good", false));
        if (entry.has("rollback_of")) {
            GANTRY_TRY(rollback_of, number(entry, "rollback_of"));
            revision.rollback_of = rollback_of;
        }
        GANTRY_CHECK(entry.finish());
        revision.good = good;
        revision.number = at;
        revision.service_no = no;
        revision.generation = generation;
        revision.spec = std::move(*spec);
        revision.image_digest = std::move(digest);
        revision.system = std::move(os);
        revision.architecture = std::move(architecture);
        revision.failed.insert(failed.begin(), failed.end());
        revision.failing = failing;
        derive(revision);
        service.revisions[at] = std::move(revision);
    }
    if (service.revisions.empty())
        return fail(Code::kInvalid, "a service has at least one revision", fields.path("revisions"));
    service.forbid = service.last().spec.forbid;
    if (!service_by_no_.try_emplace(no, &service).second)
        return fail(Code::kInvalid, "two services have the number " + std::to_string(no), fields.path("no"));
    return fields.finish();
}

Status Controller::State::load_instance(const std::string& id, const json::value& value) {
    Fields fields(&value, "instance/" + id);
    std::string_view text = id;
    std::uint64_t no = 0, index = 0;
    const bool good = take_number(text, no) && text.starts_with('.') &&
                      (text.remove_prefix(1), take_number(text, index)) && text.empty() && index <= UINT32_MAX;
    Service* service = good ? find_service(no) : nullptr;
    if (!service || service->removing)
        return fail(Code::kInvalid, "the instance belongs to no service", "instance/" + id);
    Instance& instance = add_instance(*service, static_cast<std::uint32_t>(index));
    GANTRY_TRY(seen, number(fields, "seen"));
    GANTRY_TRY(bound, fields.text("bound"));
    GANTRY_TRY(moving_from, fields.text("moving_from"));
    GANTRY_TRY(why, fields.text("why", ""));
    GANTRY_TRY(stopping, fields.boolean("stopping", false));
    GANTRY_TRY(lost_on, fields.texts("lost_on"));
    GANTRY_TRY(may_return, fields.boolean("may_return", !lost_on.empty()));
    GANTRY_TRY(leased_on, fields.text("leased_on", ""));
    GANTRY_TRY(displaced_by, fields.text("displaced_by", ""));
    instance.leased_on = std::move(leased_on);
    instance.displaced_by = std::move(displaced_by);
    instance.seen = seen;
    instance.bound = std::move(bound);
    instance.moving_from = std::move(moving_from);
    instance.why = std::move(why);
    instance.stopping = stopping;
    instance.may_return = may_return;
    // Since when is not stored: they are held for the whole time again.
    for (auto& name : lost_on) instance.lost_on.emplace_back(std::move(name), now_ + timing_.return_hold);
    GANTRY_CHECK(load_copies(fields, instance));
    GANTRY_CHECK(load_moves(fields, instance));
    if (!instance.moved.empty()) last_move_ = std::max(last_move_, instance.moved.back().no);
    return fields.finish();
}

Status Controller::State::load_copies(Fields& fields, Instance& instance) {
    const auto known = [&](std::uint64_t revision, const std::string& path) -> Status {
        if (instance.service->revisions.contains(revision)) return {};
        return fail(Code::kInvalid, "there is no revision " + std::to_string(revision) + " of the service", path);
    };
    GANTRY_TRY(epoch, number(fields, "epoch"));
    GANTRY_TRY(revision, number(fields, "revision"));
    if (epoch != 0 || instance.stopping) GANTRY_CHECK(known(revision, fields.path("revision")));
    instance.current.epoch = epoch;
    instance.current.revision = revision;
    instance.epoch = epoch;
    if (fields.has("assigned")) {
        GANTRY_TRY(assigned, number(fields, "assigned"));
        instance.epoch = assigned;
    }
    if (const auto* current = fields.member("current"); current && !current->is_null())
        GANTRY_CHECK(load_current(*current, fields.path("current"), instance));
    if (const auto* next = fields.member("next"); next && !next->is_null()) {
        GANTRY_CHECK(load_next(*next, fields.path("next"), instance));
        GANTRY_CHECK(known(instance.next.revision, fields.path("next.revision")));
        attach(instance, instance.next, *instance.next.node);
    }
    return {};
}

Result<Node*> Controller::State::node_of_copy(const std::string& name, const std::string& path) {
    const auto at = nodes_.find(name);
    if (at == nodes_.end() || at->second.down())
        return fail(Code::kInvalid, "no copy can be on node " + name, path + ".node");
    return &at->second;
}

Status Controller::State::load_current(const json::value& value, const std::string& path, Instance& instance) {
    Fields fields(&value, path);
    GANTRY_TRY(name, fields.text("node"));
    GANTRY_TRY(ready, fields.boolean("ready", false));
    GANTRY_TRY(ports, take_ports(fields));
    GANTRY_CHECK(fields.finish());
    GANTRY_TRY(node, node_of_copy(name, path));
    instance.current.ports = std::move(ports);
    if (instance.current.epoch == 0) return fail(Code::kInvalid, "no copy has epoch 0", path);
    // What was ready is taken to be so until its node says otherwise: names outlive a controller's restart.
    instance.current.state = ready ? CopyState::kReady : CopyState::kWaiting;
    attach(instance, instance.current, *node);
    instance.current.ready = ready;
    life_of(instance.current_id(), name);
    if (ready) instance.served = instance.current.epoch;
    instance.current.assigned = instance.current.ready_since = now_;
    // What kept crashing is taken to do so until its node says otherwise: only that one can have recovered.
    if (instance.service->last().failed.contains(name)) instance.current.crashes = timing_.crashes_to_move;
    instance.service->ready += ready;
    if (ready) announce_copy(instance, true);
    return {};
}

Status Controller::State::load_next(const json::value& value, const std::string& path, Instance& instance) {
    Fields fields(&value, path);
    GANTRY_TRY(name, fields.text("node"));
    GANTRY_TRY(epoch, number(fields, "epoch"));
    GANTRY_TRY(revision, number(fields, "revision"));
    GANTRY_CHECK(fields.finish());
    GANTRY_TRY(node, node_of_copy(name, path));
    if (epoch == 0 || epoch == instance.current.epoch || instance.stopping)
        return fail(Code::kInvalid, "no next copy can have epoch " + std::to_string(epoch) + " here", path + ".epoch");
    instance.next.node = node;
    instance.next.epoch = epoch;
    instance.next.revision = revision;
    instance.next.assigned = now_;
    if (instance.service->last().failed.contains(name)) instance.next.crashes = timing_.crashes_to_move;
    return {};
}

Status Controller::State::load_entry(const std::string& key, const json::value& value, Instant now) {
    const std::size_t kind = kind_of(key);
    const std::string name = key.substr(kKinds[kind].size());
    switch (kind) {
        case 0:
            return load_meta(value);
        case 1:
            return load_image(name, value);
        case 2:
            return load_secret(name, value);
        case 3:
            return load_node(name, value, now);
        case 4:
            return load_service(name, value);
        case 6:
            return load_rebalance(value);
        default:
            return load_instance(name, value);
    }
}

Result<Effects> Controller::State::load(std::span<const Entry> entries, const std::string& fresh_id, Instant now) {
    Effects effects;
    out_ = &effects;
    now_ = now;
    std::vector<const Entry*> order;
    for (const auto& entry : entries) {
        if (kind_of(entry.key) == kKinds.size())
            return fail(Code::kInvalid,
                        "the store has a key that is not Gantry's: expected one of meta, image/, secret/, "
                        "node/, service/, instance/, rebalance, got " +
                            entry.key,
                        entry.key);
        order.push_back(&entry);
    }
    std::sort(order.begin(), order.end(), [](const Entry* a, const Entry* b) {
        return std::pair(kind_of(a->key), std::string_view(a->key)) <
               std::pair(kind_of(b->key), std::string_view(b->key));
    });
    if (order.empty()) {
        cluster_id_ = fresh_id;
    } else if (order.front()->key != "meta") {
        return fail(Code::kInvalid, "the store has no key meta, though it has " + order.front()->key, "meta");
    }
    for (const Entry* entry : order) {
        auto value = parse_json(entry->value, limits::kStored);
        if (!value) return fail_because("the stored " + entry->key + " cannot be read", value.error());
        if (auto good = load_entry(entry->key, *value, now); !good) return std::unexpected(good.error());
    }
    const bool fresh = order.empty();
    loaded(now);
    event(fresh ? "cluster-created" : "controller-started",
          (fresh ? "new cluster " : "cluster ") + cluster_id_ + ", term " + std::to_string(term_) + ", " +
              std::to_string(nodes_.size()) + " nodes, " + std::to_string(services_.size()) + " services");
    // Also when it is empty: nodes may still hold a table of an earlier term.
    out_->acts.push_back(Announce{names_table()});
    out_ = nullptr;
    return effects;
}

// What follows from the documents, and the new term.
void Controller::State::loaded(Instant now) {
#ifndef GANTRY_BUG_TERM_KEPT
    ++term_;
#endif
    const bool leases =
        std::any_of(services_.begin(), services_.end(), [](const auto& entry) { return entry.second.forbid; });
    if (leases) lease_span_ = std::max(lease_span_, lease_span(timing_));
    unknown_until_ = now + lease_span_;
    write("meta", meta_document());
    for (auto& [name, service] : services_) {
        if (service.removing) {
            removing_.insert(service.no);
            continue;
        }
        set_prepull(service, 1);
        match_instances(service);
        for (auto& [index, instance] : service.instances) {
            if (service.forbid) load_leases(service, instance);
            if (!instance.pending()) service.unplaced.erase(index);
            if (instance.moving_from.empty()) continue;
            const auto at = nodes_.find(instance.moving_from);
            if (!service.stopped) moves_[instance.id()] = now + kMoveLimit;
            if (!instance.stopping) continue;
            // Its node has not confirmed the stop: the copy counts until a report says that it is gone.
            Stale stale;
            stale.instance = instance.text();
            stale.need = need_of(instance, instance.current);
            stale.gone_after = {term_, at == nodes_.end() ? 0 : at->second.list_no + 1};
            stale.since = now;
            stale.planned = true;
            if (at != nodes_.end() && !at->second.down()) {
                add_stale(at->second, instance.current_id(), std::move(stale));
            } else {
                instance.stopping = false;
                service.unplaced.insert(index);
                dirty(instance);
                if (service.stopped) end_move(instance);
            }
        }
        if (service.stopped)
            service.unplaced.clear();
        else if (service.forbid)
            hold_for_lease(service);
        if (!service.unplaced.empty()) waiting_.insert(service.no);
        rolling_.insert(service.no);
    }
    dirty_lists_.clear();
    touched_.clear();
    moves_dirty_ = true;
    names_dirty_ = false;
    flush_documents();
}

}  // namespace gantry::core
