// SPDX-License-Identifier: Apache-2.0
//
// Documents are JSON (Boost.JSON) wherever they are stored, sent or served. Parsing is bounded; reading a document
// names the field that is wrong, with a guess at what was meant.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"

namespace gantry {

namespace json = boost::json;

// Parses one document: at most limits::kDocument bytes (or `max`), limits::kJsonDepth deep, valid UTF-8.
Result<json::value> parse_json(std::string_view text, std::size_t max = 1 << 20);

std::string to_text(const json::value& value);

// The candidate nearest to `word`, if one is near enough to be a misspelling.
std::optional<std::string> nearest(std::string_view word, std::span<const std::string_view> candidates);

// Reads the members of one object and remembers which were asked for. Every failure is Code::kInvalid with `where`
// set to the field's path ("placement.nodes[1]"). finish() refuses members that nobody asked for.
//
//     Fields f(value, "service");
//     GANTRY_TRY(name, f.text("name"));            // required
//     GANTRY_TRY(count, f.integer("instances", 1, 1, 1000));  // optional, bounded
//     GANTRY_CHECK(f.finish());
class Fields {
  public:
    // An absent or null value reads like an empty object.
    Fields(const json::value* value, std::string path);

    bool has(std::string_view key) const;
    Result<std::string> text(std::string_view key);
    Result<std::string> text(std::string_view key, std::string fallback);
    Result<std::int64_t> integer(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max);
    Result<std::int64_t> integer(std::string_view key);  // required, any value
    Result<bool> boolean(std::string_view key, bool fallback);
    Result<std::vector<std::string>> texts(std::string_view key);                             // [] if absent
    Result<std::vector<std::pair<std::string, std::string>>> text_map(std::string_view key);  // sorted by key
    // The member itself, or nullptr; it counts as asked for.
    const json::value* member(std::string_view key);
    // A list of objects; empty if absent.
    Result<std::vector<const json::value*>> list(std::string_view key);
    std::string path(std::string_view key) const;
    Status finish();

  private:
    std::unexpected<Error> wrong(std::string_view key, std::string_view expected, const json::value* got) const;

    const json::object* object_ = nullptr;
    bool not_an_object_ = false;
    std::string path_;
    std::vector<std::string_view> asked_;
};

}  // namespace gantry
