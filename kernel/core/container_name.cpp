// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "kernel/core/agent.hpp"

namespace gantry::core {

namespace {

constexpr std::string_view kPrefix = "gantry-";
constexpr std::size_t kClusterPart = 8;

// Runtimes take [a-z0-9.-] only.
std::string cluster_part(std::string_view cluster_id) {
    std::string out;
    for (const char c : cluster_id) {
        if (out.size() == kClusterPart) break;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
        if (c >= 'A' && c <= 'Z') out += static_cast<char>(c - 'A' + 'a');
    }
    return out.empty() ? "0" : out;
}

}  // namespace

std::string container_name(std::string_view cluster_id, const CopyId& copy, std::uint64_t attempt) {
    return std::string(kPrefix) + cluster_part(cluster_id) + "-" + copy.instance.text() + "-" +
           std::to_string(copy.epoch) + "-" + std::to_string(attempt);
}

std::optional<ParsedName> parse_container_name(std::string_view name) {
    if (!name.starts_with(kPrefix)) return std::nullopt;
    std::string_view rest = name.substr(kPrefix.size());
    const auto until = [&rest](char c) {
        const auto at = std::min(rest.find(c), rest.size());
        const auto part = rest.substr(0, at);
        rest.remove_prefix(std::min(at + 1, rest.size()));
        return part;
    };
    ParsedName out;
    out.cluster8 = until('-');
    const auto instance = parse_instance_id(until('-'));
    const auto epoch = until('-');
    if (!instance) return std::nullopt;
    out.copy.instance = *instance;
    std::from_chars(epoch.data(), epoch.data() + epoch.size(), out.copy.epoch);
    std::from_chars(rest.data(), rest.data() + rest.size(), out.attempt);
    // Only what we would have written: every other spelling is somebody else's container.
    if (container_name(out.cluster8, out.copy, out.attempt) != name) return std::nullopt;
    return out;
}

}  // namespace gantry::core
