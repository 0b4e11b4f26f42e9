// SPDX-License-Identifier: Apache-2.0
#include "plugins/directory/vsoa/table.hpp"

#include <algorithm>

namespace vsoa_directory {
namespace {

std::string lower(std::string_view name) {
    std::string out(name);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

}  // namespace

std::vector<std::string> Table::replace(const std::vector<gantry::NameRecord>& records) {
    std::map<std::string, Name, std::less<>> names;
    std::vector<std::string> useless;
    for (const gantry::NameRecord& record : records) {
        const auto address = gantry::SocketAddress::of(record.address, record.port);
        if (!address || record.port == 0) {
            useless.push_back(record.name + " at '" + record.address + "' port " + std::to_string(record.port));
            continue;
        }
        names[lower(record.name)].places.push_back({*address, record.secure, record.local});
    }
    // Tables change often; whose turn it is must not begin anew each time.
    for (auto& [name, entry] : names) {
        const auto before = names_.find(name);
        if (before != names_.end()) entry.turn = before->second.turn;
    }
    names_ = std::move(names);
    return useless;
}

const Place* Table::find(std::string_view name, int family) {
    const auto found = names_.find(lower(name));
    if (found == names_.end()) return nullptr;
    auto& [places, turn] = found->second;
    const auto rank = [family](const Place& place) {
        return (place.local ? 0 : 1) + (family == -1 || place.address.family() == family ? 0 : 2);
    };
    int best = 4;
    for (const Place& place : places) best = std::min(best, rank(place));
    for (std::size_t i = 0; i < places.size(); ++i) {
        const std::size_t at = (turn + i) % places.size();
        if (rank(places[at]) != best) continue;
        turn = at + 1;
        return &places[at];
    }
    return nullptr;
}

}  // namespace vsoa_directory
