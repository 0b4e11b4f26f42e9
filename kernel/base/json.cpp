// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/json.hpp"

#include <algorithm>

#include "kernel/base/limits.hpp"

namespace gantry {

namespace {

// Every member of an object has exactly one ':' outside of its strings, so a document whose colons outnumber the
// members that were kept has named a key twice. One pass, no second parser.
std::size_t colons(std::string_view text) {
    std::size_t count = 0;
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted) {
            if (c == '\\')
                ++i;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == ':') {
            ++count;
        }
    }
    return count;
}

std::size_t members(const json::value& value) {
    std::size_t count = 0;
    if (const auto* object = value.if_object()) {
        count = object->size();
        for (const auto& member : *object) count += members(member.value());
    } else if (const auto* array = value.if_array()) {
        for (const auto& element : *array) count += members(element);
    }
    return count;
}

std::string place(std::string_view text, std::size_t offset) {
    const auto before = text.substr(0, std::min(offset, text.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const auto newline = before.rfind('\n');
    const auto column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
    return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

// What a value is, for a message; long texts are cut.
std::string describe(const json::value& value) {
    constexpr std::size_t kShown = 40;
    switch (value.kind()) {
        case json::kind::null:
            return "null";
        case json::kind::object:
            return "an object";
        case json::kind::array:
            return "a list";
        case json::kind::string: {
            const auto& text = value.get_string();
            if (text.size() <= kShown) return "the text \"" + std::string(text) + "\"";
            return "a text of " + std::to_string(text.size()) + " bytes";
        }
        default:
            return json::serialize(value);
    }
}

// A whole number however it is held: a document that was built here, not parsed, has unsigned ones.
std::optional<std::int64_t> whole_number(const json::value* value) {
    if (!value) return std::nullopt;
    if (value->is_int64()) return value->get_int64();
    if (value->is_uint64() && value->get_uint64() <= INT64_MAX) return static_cast<std::int64_t>(value->get_uint64());
    return std::nullopt;
}

// Edits (insert, delete, replace, swap of neighbours) that turn a into b.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(last);
        last.swap(row);
    }
    return last[b.size()];
}

}  // namespace

Result<json::value> parse_json(std::string_view text, std::size_t max) {
    if (text.size() > max)
        return fail(Code::kInvalid, "the document has " + std::to_string(text.size()) + " bytes, expected at most " +
                                        std::to_string(max));
    json::parse_options options;
    options.max_depth = limits::kJsonDepth;
    unsigned char scratch[4096];
    json::parser parser(json::storage_ptr(), options, scratch);
    boost::system::error_code ec;
    const std::size_t used = parser.write_some(text.data(), text.size(), ec);
    if (ec) {
        std::string message = "the document is not JSON: " + ec.message();
        if (ec == json::error::too_deep)
            message = "the document is nested deeper than " + std::to_string(limits::kJsonDepth) + " levels";
        return fail(Code::kInvalid, std::move(message), place(text, used));
    }
    if (used < text.size())
        return fail(Code::kInvalid, "the document is not JSON: expected its end, got more text after it",
                    place(text, used));
    json::value value = parser.release();
    if (colons(text) != members(value))
        return fail(Code::kInvalid, "an object of the document has the same key twice; expected each key once");
    return value;
}

std::string to_text(const json::value& value) { return json::serialize(value); }

std::optional<std::string> nearest(std::string_view word, std::span<const std::string_view> candidates) {
    const std::size_t allowed = word.size() <= 3 ? 1 : word.size() <= 7 ? 2 : 3;
    std::size_t best = allowed + 1;
    std::optional<std::string> found;
    for (const auto candidate : candidates) {
        const std::size_t longer = std::max(word.size(), candidate.size());
        if (longer - std::min(word.size(), candidate.size()) > allowed || longer > 64) continue;
        const std::size_t edits = distance(word, candidate);
        // A word all of whose letters would have to change is another word.
        if (edits < best && edits < candidate.size()) {
            best = edits;
            found = std::string(candidate);
        }
    }
    return found;
}

Fields::Fields(const json::value* value, std::string path) : path_(std::move(path)) {
    if (!value || value->is_null()) return;
    object_ = value->if_object();
    not_an_object_ = !object_;
}

std::string Fields::path(std::string_view key) const {
    if (path_.empty()) return std::string(key);
    return path_ + "." + std::string(key);
}

std::unexpected<Error> Fields::wrong(std::string_view key, std::string_view expected, const json::value* got) const {
    if (not_an_object_) return fail(Code::kInvalid, "expected an object", path_.empty() ? "document" : path_);
    if (!got) return fail(Code::kInvalid, "is missing, expected " + std::string(expected), path(key));
    return fail(Code::kInvalid, "expected " + std::string(expected) + ", got " + describe(*got), path(key));
}

bool Fields::has(std::string_view key) const {
    if (!object_) return false;
    const auto* value = object_->if_contains(key);
    return value && !value->is_null();
}

const json::value* Fields::member(std::string_view key) {
    asked_.push_back(key);
    return has(key) ? object_->if_contains(key) : nullptr;
}

Result<std::string> Fields::text(std::string_view key) {
    const auto* value = member(key);
    if (!value || !value->is_string()) return wrong(key, "a text", value);
    return std::string(value->get_string());
}

Result<std::string> Fields::text(std::string_view key, std::string fallback) {
    const auto* value = member(key);
    if (!value && !not_an_object_) return fallback;
    if (!value || !value->is_string()) return wrong(key, "a text", value);
    return std::string(value->get_string());
}

Result<std::int64_t> Fields::integer(std::string_view key) {
    const auto* value = member(key);
    const auto number = whole_number(value);
    if (!number) return wrong(key, "a whole number", value);
    return *number;
}

Result<std::int64_t> Fields::integer(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max) {
    const auto* value = member(key);
    if (!value && !not_an_object_) return fallback;
    const auto number = whole_number(value);
    if (!number || *number < min || *number > max)
        return wrong(key, "a whole number from " + std::to_string(min) + " to " + std::to_string(max), value);
    return *number;
}

Result<bool> Fields::boolean(std::string_view key, bool fallback) {
    const auto* value = member(key);
    if (!value && !not_an_object_) return fallback;
    if (!value || !value->is_bool()) return wrong(key, "true or false", value);
    return value->get_bool();
}

Result<std::vector<std::string>> Fields::texts(std::string_view key) {
    std::vector<std::string> out;
    const auto* value = member(key);
    if (!value && !not_an_object_) return out;
    if (!value || !value->is_array()) return wrong(key, "a list of texts", value);
    for (const auto& element : value->get_array()) {
        if (!element.is_string())
            return wrong(std::string(key) + "[" + std::to_string(out.size()) + "]", "a text", &element);
        out.emplace_back(element.get_string());
    }
    return out;
}

Result<std::vector<std::pair<std::string, std::string>>> Fields::text_map(std::string_view key) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto* value = member(key);
    if (!value && !not_an_object_) return out;
    if (!value || !value->is_object()) return wrong(key, "an object of texts", value);
    for (const auto& entry : value->get_object()) {
        if (!entry.value().is_string())
            return wrong(std::string(key) + "." + std::string(entry.key()), "a text", &entry.value());
        out.emplace_back(std::string(entry.key()), std::string(entry.value().get_string()));
    }
    std::sort(out.begin(), out.end());
    return out;
}

Result<std::vector<const json::value*>> Fields::list(std::string_view key) {
    std::vector<const json::value*> out;
    const auto* value = member(key);
    if (!value && !not_an_object_) return out;
    if (!value || !value->is_array()) return wrong(key, "a list of objects", value);
    for (const auto& element : value->get_array()) {
        if (!element.is_object())
            return wrong(std::string(key) + "[" + std::to_string(out.size()) + "]", "an object", &element);
        out.push_back(&element);
    }
    return out;
}

Status Fields::finish() {
    if (not_an_object_) return wrong({}, {}, nullptr);
    if (!object_) return {};
    for (const auto& entry : *object_) {
        const std::string_view key = entry.key();
        if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
        std::string message = "unknown key `" + std::string(key) + "`";
        if (const auto guess = nearest(key, asked_)) message += ", did you mean `" + *guess + "`?";
        return fail(Code::kInvalid, std::move(message), path(key));
    }
    return {};
}

}  // namespace gantry
