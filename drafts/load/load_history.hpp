// SPDX-License-Identifier: Apache-2.0
//
// LoadHistory: what nodes and copies used in the last hour, for charts. In memory alone, bounded; a controller that
// starts begins anew.
//
// Threads: the loop.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <string>

#include "kernel/core/messages.hpp"

namespace gantry::control {

class LoadHistory {
  public:
    static constexpr Duration kStep = seconds(10);
    static constexpr std::size_t kNodeSamples = 360, kCopySamples = 90;  // an hour, a quarter of one

    // Takes a report over, if the last of its node that was taken is kStep old. wall_ms: since 1970.
    void take(const core::Report& report, Instant now, std::int64_t wall_ms);
    // Samples of a node, the oldest first: {"every_ms", "items": [{"time_ms", "cpu_used_milli", ...}]}.
    json::object of_node(const std::string& node_id) const;
    // The same of a copy: {"time_ms", "cpu_used_milli", "memory_used_bytes", "pids"}.
    json::object of_copy(const core::CopyId& copy) const;

  private:
    struct NodeSample {
        std::int64_t time_ms = 0;
        core::Load load;
        core::Usage usage;  // without copies
    };
    struct CopySample {
        std::int64_t time_ms = 0;
        core::CopyUsage usage;
    };
    struct Node {
        Instant taken{};
        std::deque<NodeSample> samples;
        std::map<core::CopyId, std::deque<CopySample>> copies;
    };
    std::map<std::string, Node> nodes_;  // by id
};

}  // namespace gantry::control
