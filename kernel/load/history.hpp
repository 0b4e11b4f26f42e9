// SPDX-License-Identifier: Apache-2.0
//
// History: what nodes and instances used in the last hour, a point every ten seconds, for charts. In memory alone
// and bounded (docs/limits.md): where there are many, old points go earlier. A controller that starts begins anew.
//
// Threads: the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "kernel/base/json.hpp"
#include "kernel/base/limits.hpp"
#include "kernel/core/controller.hpp"

namespace gantry::load {

class History {
  public:
    static constexpr Duration kStep = seconds(10);

    explicit History(std::size_t points_of_all = limits::kLoadPointsOfAll) : points_of_all_(points_of_all) {}

    // A point of everything that is there; once in a step. time_ms: since 1970.
    void take(const core::Controller& core, std::int64_t time_ms);
    // Points with what of them was known, the oldest first. Empty: there is no history.
    json::array of_node(const std::string& name) const;
    json::array of_instance(const std::string& name) const;

  private:
    template <class What>
    struct Point {
        std::uint64_t step = 0;
        std::int64_t time_ms = 0;
        What what;
    };
    struct NodeUse {
        core::Load load;
        core::Usage usage;  // without copies
    };
    template <class What>
    using All = std::map<std::string, std::deque<Point<What>>>;
    template <class What>
    void trim(All<What>& all, std::size_t points) const;

    std::size_t points_of_all_;
    std::uint64_t step_ = 0;
    All<NodeUse> nodes_;
    All<core::CopyUsage> instances_;
};

}  // namespace gantry::load
