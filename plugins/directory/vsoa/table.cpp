// SPDX-License-Identifier: Apache-2.0
#include "plugins/directory/vsoa/table.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

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

std::optional<SocketAddress> SocketAddress::of(const std::string& ip, std::uint16_t port) {
    SocketAddress out;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.length = sizeof *v4;
    } else if (inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out.length = sizeof *v6;
    } else {
        return std::nullopt;
    }
    return out;
}

std::optional<SocketAddress> SocketAddress::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto out = of(std::string(host), port);
    if (out && (out->family() == AF_INET6) != bracketed) return std::nullopt;
    return out;
}

std::vector<std::string> Table::replace(const std::vector<gantry::NameRecord>& records) {
    std::map<std::string, Name, std::less<>> names;
    std::vector<std::string> useless;
    for (const gantry::NameRecord& record : records) {
        const auto address = SocketAddress::of(record.address, record.port);
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
