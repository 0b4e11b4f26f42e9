// SPDX-License-Identifier: Apache-2.0
//
// Why each node may or may not have an instance of a service now, and in which order the policy would take them.
#include <algorithm>

#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::array<const char*, 5> kTerms = {"cpu", "memory", "copies", "image", "labels"};

// A policy is pure, so it can be asked about nodes that there are not: an idle one without labels that has the image,
// and the same with one fact of the real node each. The differences are the terms of a sum.
void add_imagined(RankCandidate real, std::vector<RankCandidate>& to) {
    static const Labels kNone;
    RankCandidate idle = real;
    idle.cpu_free_milli = real.cpu_total_milli;
    idle.memory_free_bytes = real.memory_total_bytes;
    idle.copies_running = idle.copies_pending = idle.copies_of_service = 0;
    idle.has_image = true;
    idle.labels = &kNone;
    std::array<RankCandidate, kTerms.size() + 1> made;
    made.fill(idle);
    made[1].cpu_free_milli = real.cpu_free_milli;
    made[2].memory_free_bytes = real.memory_free_bytes;
    made[3].copies_running = real.copies_running;
    made[3].copies_pending = real.copies_pending;
    made[3].copies_of_service = real.copies_of_service;
    made[4].has_image = real.has_image;
    made[5].labels = real.labels;
    to.insert(to.end(), made.begin(), made.end());
}

}  // namespace

Result<json::value> Controller::State::explain(
    const std::string& service_name, Instant now, const std::function<Result<std::vector<Keys>>(const Rank&)>& rank,
    const std::function<std::vector<std::string>(const std::string&)>& key_names) const {
    const auto at = services_.find(service_name);
    if (at == services_.end()) return fail(Code::kNotFound, "there is no service " + service_name);
    const Service& service = at->second;
    const Revision& revision = service.last();

    struct Row {
        const Node* node = nullptr;
        std::string excluded;
        bool has_image = false, held = false;
        Keys keys{};
        json::array terms{};
    };
    const auto is_held = [&](const Node& node) {
        return std::any_of(service.instances.begin(), service.instances.end(),
                           [&](const auto& entry) { return held(entry.second, node, now); });
    };
    std::vector<Row> passed, excluded;
    Rank question =
        question_for(service, static_cast<std::uint32_t>(std::max<std::size_t>(1, service.unplaced.size())));
    for (const auto& [name, node] : nodes_) {
        const PoolNode* entry = pool_entry(service, node);
        const Exclusion exclusion = entry ? rules(revision, *entry) : Exclusion::kPool;
        if (exclusion != Exclusion::kNone) {
            const auto* here = node.of_service.contains(service.no) ? "runs it already; another one: " : "";
            std::string why = here + reason(exclusion, revision, node);
            if (Imagined room; entry && revision.spec.preempt)
                if (const auto leave = in_the_way(service, *entry, room); leave && !leave->empty())
                    why += "; an instance without room " + displaces(*leave);
            excluded.push_back({&node, std::move(why), false, false, {}, {}});
            continue;
        }
        question.candidates.push_back(candidate(revision, service.no, node, nullptr));
        passed.push_back({&node, "", question.candidates.back().has_image, is_held(node), {}, {}});
    }
    const auto names = key_names(question.policy);
    const bool sum = names.size() == 1;
    for (std::size_t i = 0; sum && i < passed.size(); ++i) add_imagined(question.candidates[i], question.candidates);
    std::string failed;
    if (!passed.empty()) {
        const auto keys = rank(question);
        if (keys && keys->size() == question.candidates.size())
            for (std::size_t i = 0; i < passed.size(); ++i) {
                passed[i].keys = (*keys)[i];
                const auto idle = keys->begin() + static_cast<std::ptrdiff_t>(passed.size() + i * (kTerms.size() + 1));
                for (std::size_t t = 1; sum && t <= kTerms.size(); ++t)
                    passed[i].terms.emplace_back(idle[static_cast<std::ptrdiff_t>(t)][0] - idle[0][0]);
            }
        else
            failed = keys ? "policy " + question.policy + " answered for other candidates"
                          : "policy " + question.policy + " failed: " + keys.error().text();
    }
    std::stable_sort(passed.begin(), passed.end(), [first = revision.spec.image_first](const Row& a, const Row& b) {
        return std::tuple(a.held, first && !a.has_image, a.keys) < std::tuple(b.held, first && !b.has_image, b.keys);
    });

    json::array key_list, rows;
    const auto note = [&](json::object& row, const Node& node) {
        if (auto text = unenforced(revision.spec, node); !text.empty()) row["note"] = std::move(text);
    };
    for (const auto& name : names) key_list.emplace_back(name);
    const auto current = [&](const Node& node) { return node.of_service.contains(service.no); };
    std::size_t place = 0;
    for (auto& row : passed) {
        json::array keys;
        for (std::size_t i = 0; i < std::min(names.size(), row.keys.size()); ++i) keys.emplace_back(row.keys[i]);
        json::object out{{"node", row.node->name}};
        if (failed.empty()) {
            out["rank"] = ++place;
            out["keys"] = std::move(keys);
            if (sum) out["terms"] = std::move(row.terms);
        } else {
            out["excluded"] = failed;
        }
        out["has_image"] = row.has_image;
        if (row.held) out["held"] = "an instance " + reason(Exclusion::kHeld, revision, *row.node);
        out["current"] = current(*row.node);
        note(out, *row.node);
        rows.push_back(std::move(out));
    }
    for (const auto& row : excluded) {
        json::object out{{"node", row.node->name}, {"excluded", row.excluded}, {"current", current(*row.node)}};
        if (pool_entry(service, *row.node)) note(out, *row.node);
        rows.push_back(std::move(out));
    }
    for (const auto& name : revision.spec.nodes)
        if (!nodes_.contains(name))
            rows.push_back(json::object{{"node", name}, {"excluded", "never joined"}, {"current", false}});
    json::object out{{"service", service.name},
                     {"policy", question.policy},
                     {"stopped", service.stopped},
                     {"key_names", std::move(key_list)},
                     {"nodes", std::move(rows)}};
    if (sum) out["term_names"] = json::array(kTerms.begin(), kTerms.end());
    if (!service.forbid) return out;
    json::array leases;
    for (const auto& [index, instance] : service.instances)
        leases.push_back(json::object{{"instance", instance.text()}, {"lease", lease_document(instance)}});
    out["leases"] = std::move(leases);
    return out;
}

}  // namespace gantry::core
