// SPDX-License-Identifier: Apache-2.0
//
// Reading what gantryd serves. A member that is absent or of another type reads as empty: a newer or older gantryd
// still gives a table.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/base/json.hpp"

namespace gantry::cli {

// Text as it is; numbers and booleans written out; lists joined with ", "; else the JSON.
std::string text_of(const json::value& document, std::string_view key);
std::string written(const json::value& value);
std::int64_t number_of(const json::value& document, std::string_view key, std::int64_t fallback = 0);
bool flag_of(const json::value& document, std::string_view key);
const json::value* member_of(const json::value& document, std::string_view key);
const json::array& items_of(const json::value& document, std::string_view key = "items");

// "10.0.0.1:3002", "[fd00::1]:3002".
std::string endpoint_text(const std::string& address, const std::string& port);

// "1.2 s", "3 min 5 s"; "-" for a negative one.
std::string age_text(std::int64_t ms);
// Of {"ms", "error_ms"}: "1.240 s ± 0.005 s", "at most 0.300 s", "0 s"; "" if there is none.
std::string figure_text(const json::value* figure);
// RFC 3339, or the same without a zone: local time. What is before or after "T", which may be a blank, must be whole.
std::optional<std::chrono::system_clock::time_point> time_of(std::string_view text);
// RFC 3339 to local time with milliseconds: "2026-11-22 12:03:04.123", or without the date. What is no time: as it is.
std::string local_time(std::string_view rfc3339, bool with_date);
std::string local_time(std::chrono::system_clock::time_point at, bool with_date);

}  // namespace gantry::cli
