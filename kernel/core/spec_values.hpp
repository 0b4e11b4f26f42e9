// SPDX-License-Identifier: Apache-2.0
//
// Inside of parse_service: reads the values that several tables of a manifest have. Every failure names its field.
#pragma once

#include <initializer_list>
#include <string>

#include "kernel/core/spec.hpp"

namespace gantry::core {

using Texts = std::initializer_list<std::string_view>;

std::string quoted(std::string_view text);  // a long one only by its size
std::string indexed(std::string_view path, std::size_t index);
std::unexpected<Error> wrong(std::string where, std::string message);
std::unexpected<Error> too_many(std::string where, std::size_t got, std::size_t most);
bool has_control(std::string_view text);

// One of `words`; the first if absent.
Result<std::string> choice(Fields& f, std::string_view key, Texts words);
Result<std::string> name_or_empty(Fields& f, std::string_view key, std::string_view what);
Result<Duration> duration(Fields& f, std::string_view key, Duration fallback, Duration min, Duration max);
Result<std::int64_t> cpu(Fields& f, std::string_view key);   // thousandths of a core; 0 if absent
Result<std::int64_t> size(Fields& f, std::string_view key);  // bytes; 0 if absent
Result<Labels> labels(Fields& f, std::string_view key, std::size_t most);
// Adds the variables of "env" to `out`.
Status environment(Fields& f, Labels& out);
Result<int> signal(Fields& f, std::string_view key);  // 0 if absent
// What only runtimes act on, added to ServiceSpec::settings.
Status container_settings(Fields& f, json::object& settings);
Status resource_settings(Fields& f, bool memory_limited, json::object& settings);
Status list_settings(Fields& top, ServiceSpec& spec);  // after the mounts
Result<std::string> absolute_path(Fields& f, std::string_view key, bool required);

}  // namespace gantry::core
