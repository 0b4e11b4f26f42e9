// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/schema.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernel/base/units.hpp"
#include "kernel/host/border.hpp"

namespace gantry::host {
namespace {

using elf::ConfigKey;
using elf::ValueType;

std::string in_ticks(std::string_view s) { return "`" + std::string(s) + "`"; }

std::string_view expected(ValueType type) {
    switch (type) {
        case ValueType::kString:
            return "a string (\"...\")";
        case ValueType::kInteger:
            return "an integer";
        case ValueType::kNumber:
            return "a number";
        case ValueType::kBoolean:
            return "true or false";
        case ValueType::kDuration:
            return "a duration (\"200ms\")";
        case ValueType::kSize:
            return "a size (\"64MiB\")";
        case ValueType::kList:
            return "a list of strings ([\"...\"])";
    }
    return "a value";
}

std::string got(const json::value& value, const ConfigKey& key) {
    if (key.secret) return "something else";
    std::string text = to_text(value);
    if (text.size() > 80) text = text.substr(0, 77) + "...";
    return text;
}

// A value of the note, for people: durations and sizes with units.
std::string shown(const std::string& text, ValueType type) {
    std::int64_t n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    if (type == ValueType::kDuration) return format_duration(Duration(n));
    if (type == ValueType::kSize) return format_size(n);
    return text;
}

class TableCheck {
  public:
    TableCheck(const PluginTable& table, const std::vector<ConfigKey>& schema) : table_(table), schema_(schema) {}

    Result<std::vector<ConfigValue>> run() {
        GANTRY_CHECK(known_keys());
        std::vector<ConfigValue> out;
        // In the order of the file, so that the first mistake there is the one that is told.
        for (const auto& [name, value] : table_.values) {
            GANTRY_TRY(one, given(*find(name), value));
            out.push_back(std::move(one));
        }
        for (const ConfigKey& key : schema_) {
            if (table_.values.contains(key.name)) continue;
            if (key.required) {
                return fail(Code::kInvalid,
                            in_ticks(key.name) + " is required in " + title() + ": " + std::string(expected(key.type)) +
                                " (" + key.doc + ")",
                            table_.place.text());
            }
            if (auto value = by_default(key)) out.push_back(std::move(*value));
        }
        return out;
    }

  private:
    std::string title() const { return "[" + table_.role + "." + table_.name + "]"; }

    std::string where(std::string_view key) const {
        const auto it =
            std::ranges::find(table_.places, key, [](const auto& p) -> std::string_view { return p.first; });
        return it == table_.places.end() ? table_.place.text() : it->second.text();
    }

    const ConfigKey* find(std::string_view name) const {
        const auto it = std::ranges::find(schema_, name, &ConfigKey::name);
        return it == schema_.end() ? nullptr : &*it;
    }

    Status known_keys() const {
        for (const auto& [name, value] : table_.values) {
            if (find(name) != nullptr) continue;
            std::vector<std::string_view> names{"plugin", "isolation", "memory_max", "required"};
            for (const ConfigKey& key : schema_) names.push_back(key.name);
            std::string text = "unknown key " + in_ticks(name) + " in " + title();
            if (const auto near = nearest(name, names)) {
                text += ", did you mean " + in_ticks(*near) + "?";
            } else {
                text += schema_.empty() ? "; this plugin has no configuration" : "";
            }
            return fail(Code::kInvalid, std::move(text), where(name));
        }
        return {};
    }

    std::unexpected<Error> wrong(const ConfigKey& key, const json::value& value, std::string must) const {
        return fail(Code::kInvalid,
                    in_ticks(key.name) + " in " + title() + " must be " + std::move(must) + ", got " + got(value, key),
                    where(key.name));
    }

    Result<ConfigValue> given(const ConfigKey& key, const json::value& value) const {
        ConfigValue out{key.name, key.type, true, 0, 0, {}, {}};
        bool fits = true;
        switch (key.type) {
            case ValueType::kString:
                fits = value.is_string();
                if (fits) out.string = std::string(value.get_string());
                break;
            case ValueType::kBoolean:
                fits = value.is_bool();
                if (fits) out.integer = value.get_bool() ? 1 : 0;
                break;
            case ValueType::kInteger:
                fits = integer(value, out.integer);
                break;
            case ValueType::kNumber:
                fits = value.is_number();
                if (fits) out.number = value.to_number<double>();
                fits = fits && std::isfinite(out.number);
                break;
            case ValueType::kList:
                fits = list(value, out.list);
                break;
            case ValueType::kDuration:
            case ValueType::kSize:
                GANTRY_CHECK(quantity(key, value, out.integer));
                break;
        }
        if (!fits) return wrong(key, value, std::string(expected(key.type)));
        GANTRY_CHECK(in_range(key, value, out));
        return out;
    }

    static bool integer(const json::value& value, std::int64_t& out) {
        if (const auto* n = value.if_int64()) {
            out = *n;
            return true;
        }
        const auto* n = value.if_uint64();
        if (n == nullptr || *n > INT64_MAX) return false;
        out = static_cast<std::int64_t>(*n);
        return true;
    }

    static bool list(const json::value& value, std::vector<std::string>& out) {
        if (!value.is_array()) return false;
        for (const json::value& item : value.get_array()) {
            if (!item.is_string()) return false;
            out.emplace_back(item.get_string());
        }
        return true;
    }

    Status quantity(const ConfigKey& key, const json::value& value, std::int64_t& out) const {
        // A size may be a plain number of bytes; a duration without a unit says too little.
        if (key.type == ValueType::kSize && integer(value, out) && out >= 0) return {};
        if (!value.is_string()) return wrong(key, value, std::string(expected(key.type)));
        const std::string text(value.get_string());
        if (key.type == ValueType::kSize) {
            const Result<std::int64_t> size = parse_size(text);
            if (!size) return fail(Code::kInvalid, named(key) + ": " + size.error().message, where(key.name));
            out = *size;
        } else {
            const Result<Duration> duration = parse_duration(text);
            if (!duration) return fail(Code::kInvalid, named(key) + ": " + duration.error().message, where(key.name));
            out = duration->count();
        }
        return {};
    }

    std::string named(const ConfigKey& key) const { return in_ticks(key.name) + " in " + title(); }

    Status in_range(const ConfigKey& key, const json::value& value, const ConfigValue& out) const {
        const auto below = [&](const std::string& a) {
            return key.type == ValueType::kNumber ? out.number < number(a) : out.integer < whole(a);
        };
        const auto above = [&](const std::string& a) {
            return key.type == ValueType::kNumber ? out.number > number(a) : out.integer > whole(a);
        };
        if (key.min && below(*key.min)) return wrong(key, value, "at least " + shown(*key.min, key.type));
        if (key.max && above(*key.max)) return wrong(key, value, "at most " + shown(*key.max, key.type));
        if (key.choices.empty()) return {};
        const std::vector<std::string> items = key.type == ValueType::kList ? out.list : std::vector{out.string};
        for (const std::string& item : items) {
            if (std::ranges::find(key.choices, item) != key.choices.end()) continue;
            std::string all;
            for (const std::string& choice : key.choices) all += (all.empty() ? "" : ", ") + ("\"" + choice + "\"");
            return wrong(key, value, "one of " + all);
        }
        return {};
    }

    static std::int64_t whole(const std::string& text) {
        std::int64_t n = 0;
        std::from_chars(text.data(), text.data() + text.size(), n);
        return n;
    }
    static double number(const std::string& text) {
        double n = 0;
        std::from_chars(text.data(), text.data() + text.size(), n);
        return n;
    }

    static std::optional<ConfigValue> by_default(const ConfigKey& key) {
        if (!key.default_value && !key.default_list) return std::nullopt;
        ConfigValue out{key.name, key.type, false, 0, 0, {}, {}};
        if (key.type == ValueType::kList) {
            out.list = *key.default_list;
        } else if (key.type == ValueType::kString) {
            out.string = *key.default_value;
        } else if (key.type == ValueType::kNumber) {
            out.number = number(*key.default_value);
        } else if (key.type == ValueType::kBoolean) {
            out.integer = *key.default_value == "true" ? 1 : 0;
        } else {
            out.integer = whole(*key.default_value);
        }
        return out;
    }

    const PluginTable& table_;
    const std::vector<ConfigKey>& schema_;
};

}  // namespace

std::string SourcePlace::text() const { return file + ":" + std::to_string(line) + ":" + std::to_string(column); }

Result<std::vector<ConfigValue>> check_table(const PluginTable& table, const std::vector<elf::ConfigKey>& schema) {
    return TableCheck(table, schema).run();
}

LoweredConfig::LoweredConfig(const std::string& name, const std::string& state_dir,
                             const std::vector<ConfigValue>& values) {
    for (const ConfigValue& v : values) lists_.push_back(lower(v.list));
    for (std::size_t i = 0; i < values.size(); ++i) {
        const ConfigValue& v = values[i];
        values_.push_back({str(v.key), static_cast<std::uint32_t>(v.type), v.given ? 1u : 0u, v.integer, v.number,
                           str(v.string), lists_[i].data(), lists_[i].size()});
    }
    raw_ = {sizeof(raw_), sizeof(gantry_config_value), str(name), str(state_dir), values_.data(), values_.size()};
}

}  // namespace gantry::host
