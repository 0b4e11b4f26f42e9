// SPDX-License-Identifier: Apache-2.0
//
// Quantities as people write them: "64MiB", "1.5", "200ms".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/base/result.hpp"
#include "kernel/base/time.hpp"

namespace gantry {

// "512", "64MiB", "1GiB", "10MB" (powers of ten), "8KiB" -> bytes, 0 .. 2^53.
Result<std::int64_t> parse_size(std::string_view text);
// "200ms", "1s", "1.5s", "2m", "1h", "500us" -> a duration, 0 .. 10 years.
Result<Duration> parse_duration(std::string_view text);
// "0.5", "2", "250m" -> thousandths of a core, 0 .. 10^6 cores.
Result<std::int64_t> parse_cpu(std::string_view text);

std::string format_size(std::int64_t bytes);     // "64 MiB", "1.5 GiB"
std::string format_duration(Duration duration);  // "1.2 s", "350 ms", "3 min 5 s"

// FNV-1a: what is drawn from a text is drawn alike everywhere.
std::uint64_t fnv1a(std::string_view text);

// What names of nodes and services may be: 1..limits::kName bytes of valid UTF-8, no control characters, no blanks,
// none of / \ " ' ? # % and not "." or "..". 陀螺仪 is a name.
Status check_name(std::string_view name, std::string_view what);
bool valid_utf8(std::string_view text);
// Text of others as it may stand in a log, an event or an error: one line of valid UTF-8 without control characters
// (blanks and U+FFFD take their places), cut between characters, with "..." behind, where it is longer than `most`
// bytes.
std::string one_line(std::string_view text, std::size_t most);

// Columns that `text` takes on a terminal: wide (Chinese, Japanese, Korean, emoji) characters take two, combining none.
std::size_t display_width(std::string_view text);

}  // namespace gantry
