// SPDX-License-Identifier: Apache-2.0
//
// Durations and sizes as people write them in plugin.toml and configuration files.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gantry::elf {

// "200ms", "1.5s", "2m", "1h", "500us", "10ns" -> nanoseconds, up to ten years.
std::optional<std::int64_t> parse_duration_ns(std::string_view text);
// "512", "64MiB", "1.5GiB", "10MB" -> bytes, up to 2^53.
std::optional<std::int64_t> parse_size_bytes(std::string_view text);

}  // namespace gantry::elf
