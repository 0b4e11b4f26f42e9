// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/load_history.hpp"

#include "kernel/base/limits.hpp"
#include "kernel/core/controller.hpp"

namespace gantry::control {
namespace {

template <class Sample>
void add(std::deque<Sample>& to, Sample sample, std::size_t most) {
    to.push_back(std::move(sample));
    if (to.size() > most) to.pop_front();
}

json::object document(json::array items) {
    return {{"every_ms", LoadHistory::kStep / milliseconds(1)}, {"items", std::move(items)}};
}

}  // namespace

void LoadHistory::take(const core::Report& report, Instant now, std::int64_t wall_ms) {
    if (!nodes_.contains(report.id.node_id) && nodes_.size() >= limits::kNodes) return;
    Node& node = nodes_[report.id.node_id];
    if (!node.samples.empty() && now - node.taken < kStep) return;
    node.taken = now;
    NodeSample sample{wall_ms, report.load, report.usage};
    sample.usage.copies.clear();
    add(node.samples, std::move(sample), kNodeSamples);
    std::map<core::CopyId, std::deque<CopySample>> copies;
    for (const auto& usage : report.usage.copies) {
        if (auto known = node.copies.extract(usage.copy)) copies.insert(std::move(known));
        add(copies[usage.copy], {wall_ms, usage}, kCopySamples);
    }
    node.copies = std::move(copies);
}

json::object LoadHistory::of_node(const std::string& node_id) const {
    json::array items;
    if (const auto at = nodes_.find(node_id); at != nodes_.end())
        for (const auto& sample : at->second.samples) {
            json::object item{{"time_ms", sample.time_ms},
                              {"cpu_used_milli", sample.load.cpu_used_milli},
                              {"memory_free_bytes", sample.load.memory_free_bytes}};
            core::add_usage(item, sample.usage);
            items.push_back(std::move(item));
        }
    return document(std::move(items));
}

json::object LoadHistory::of_copy(const core::CopyId& copy) const {
    json::array items;
    for (const auto& [id, node] : nodes_)
        if (const auto at = node.copies.find(copy); at != node.copies.end())
            for (const auto& sample : at->second) {
                json::object item{{"time_ms", sample.time_ms}};
                core::add_usage(item, sample.usage);
                items.push_back(std::move(item));
            }
    return document(std::move(items));
}

}  // namespace gantry::control
