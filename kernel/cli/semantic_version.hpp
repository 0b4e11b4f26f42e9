// SPDX-License-Identifier: Apache-2.0
//
// Versions as tags write them, in the order of https://semver.org 2.0.0: "1.2.3", "v1.2", "1.3.0-rc.1+build7".
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::cli {

struct SemanticVersion {
    std::array<std::uint64_t, 3> numbers{};
    std::vector<std::string> pre{};  // "rc", "1": empty for a release

    // Build metadata does not count.
    std::strong_ordering operator<=>(const SemanticVersion& other) const;
    bool operator==(const SemanticVersion& other) const { return (*this <=> other) == 0; }
};

// Forgives a leading "v" and missing numbers ("1.2" is 1.2.0). Nothing for what is no version: "latest".
std::optional<SemanticVersion> parse_version(std::string_view tag);

// The tag of the largest version above that of `current`. Versions before a release ("-rc.1") only count where the
// current one is such. Nothing if there is none, or `current` is no version.
std::optional<std::string> larger_version(std::string_view current, const std::vector<std::string>& tags);

}  // namespace gantry::cli
