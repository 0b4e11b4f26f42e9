// SPDX-License-Identifier: Apache-2.0
//
// Names: the controller's table, corrected by what the node sees of its own copies.
#include <algorithm>
#include <tuple>

#include "kernel/core/agent_state.hpp"

namespace gantry::core {

void Agent::State::take_names(const Names& names) {
    const auto no = [](const Names& n) { return std::pair(n.term, n.names_no); };
    if (no(names) <= no(names_)) return;
    if (names.part == 0) {
        coming_ = names;
    } else if (no(names) == no(coming_) && names.part == coming_.part + 1) {
        coming_.part = names.part;
        coming_.entries.insert(coming_.entries.end(), names.entries.begin(), names.entries.end());
    } else {
        return;  // a part was lost: the next heartbeat's answer makes the agent pull the table
    }
    if (coming_.part + 1 != coming_.parts) return;
    names_ = std::exchange(coming_, {});
    names_.part = 0;
    names_.parts = 1;
    names_changed_ = dirty_ = true;
}

bool Agent::State::replaced_elsewhere(const CopyId& id) const {
    return std::any_of(names_.entries.begin(), names_.entries.end(), [&](const NameEntry& entry) {
        return entry.copy.instance == id.instance && entry.copy.epoch > id.epoch;
    });
}

void Agent::State::serve_names() {
    if (!names_changed_) return;
    names_changed_ = false;
    std::vector<NameEntry> entries;
    std::map<InstanceId, std::uint64_t> newest;
    std::set<CopyId> named;  // here, by the controller
    for (const auto& entry : names_.entries) {
        auto& epoch = newest[entry.copy.instance];
        epoch = std::max(epoch, entry.copy.epoch);
        // Own copies come below: not ready here, not named here.
        if (entry.node != facts_.node)
            entries.push_back(entry);
        else
            named.insert(entry.copy);
    }
    for (const auto& [id, copy] : copies_) {
        const auto* spec = spec_of(copy);
        if (!copy.ready || !spec) continue;
        // The controller knows a newer copy elsewhere: this one is about to be stopped.
        if (const auto at = newest.find(id.instance); at != newest.end() && at->second > id.epoch) continue;
        if (copy.entry.is_next && !named.contains(id)) continue;
        const auto& endpoints = spec->spec.endpoints;
        for (std::size_t i = 0; i < endpoints.size(); ++i)
            if (!endpoints[i].name.empty())
                entries.push_back(
                    {endpoints[i].name, own_address(), facts_.node, spec->spec.port(i, ports_of(copy)), id});
    }
    const auto key = [](const NameEntry& e) { return std::tie(e.name, e.copy, e.port); };
    std::sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
    if (table_no_ != 0 && entries == served_) return;
    served_ = std::move(entries);
    out_.emplace_back(ServeNames{++table_no_, served_});
}

}  // namespace gantry::core
