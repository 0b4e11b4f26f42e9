// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/history.hpp"

#include <algorithm>
#include <iterator>

#include "kernel/core/message_fields.hpp"

namespace gantry::load {

template <class What>
void History::trim(All<What>& all, std::size_t points) const {
    for (auto at = all.begin(); at != all.end();) {
        auto& list = at->second;
        while (list.size() > points || (!list.empty() && list.front().step + limits::kLoadPoints <= step_))
            list.pop_front();
        at = list.empty() ? all.erase(at) : std::next(at);
    }
}

void History::take(const core::Controller& core, std::int64_t time_ms) {
    ++step_;
    const auto room_for = [&](const auto& all, const std::string& name) {
        return all.contains(name) || nodes_.size() + instances_.size() < points_of_all_;
    };
    core.each_load(
        [&](const std::string& name, const core::Load& load, const core::Usage& usage) {
            if (!room_for(nodes_, name)) return;
            auto& point = nodes_[name].emplace_back(Point<NodeUse>{step_, time_ms, {load, usage}});
            point.what.usage.copies = {};
        },
        [&](const std::string& name, const core::CopyUsage& usage) {
            if (room_for(instances_, name)) instances_[name].push_back({step_, time_ms, usage});
        });
    const auto series = std::max<std::size_t>(1, nodes_.size() + instances_.size());
    const auto points = std::clamp<std::size_t>(points_of_all_ / series, 1, limits::kLoadPoints);
    trim(nodes_, points);
    trim(instances_, points);
}

json::array History::of_node(const std::string& name) const {
    json::array out;
    const auto at = nodes_.find(name);
    if (at == nodes_.end()) return out;
    for (const auto& point : at->second) {
        json::object item{{"time_ms", point.time_ms},
                          {"cpu_used_milli", point.what.load.cpu_used_milli},
                          {"memory_free_bytes", point.what.load.memory_free_bytes}};
        core::show(item, point.what.usage);
        out.push_back(std::move(item));
    }
    return out;
}

json::array History::of_instance(const std::string& name) const {
    json::array out;
    const auto at = instances_.find(name);
    if (at == instances_.end()) return out;
    for (const auto& point : at->second) {
        json::object item{{"time_ms", point.time_ms}};
        core::show(item, point.what);
        out.push_back(std::move(item));
    }
    return out;
}

}  // namespace gantry::load
