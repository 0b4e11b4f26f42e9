// SPDX-License-Identifier: Apache-2.0
#include "sdk/elf/tool/manifest.hpp"

#include <gantry/abi/base.h>

#include <toml++/toml.h>
#include <algorithm>
#include <charconv>
#include <gantry/elf/quantity.hpp>
#include <initializer_list>

namespace gantry::elf {
namespace {

const std::string kAbi = std::to_string(GANTRY_ABI_MAJOR) + "." + std::to_string(GANTRY_ABI_MINOR);

bool spelled(std::string_view s, std::string_view also) {
    return !s.empty() && s.size() <= 128 && std::ranges::all_of(s, [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || also.find(c) != std::string_view::npos;
    });
}

bool version_like(std::string_view s) {
    int dots = 0;
    char before = '.';
    for (char c : s) {
        if (c == '.' && before == '.') return false;
        if (c == '-' && dots == 2 && before != '.') return true;  // 1.0.0-rc1
        if (c != '.' && (c < '0' || c > '9')) return false;
        if (c == '.') ++dots;
        before = c;
    }
    return dots == 2 && before != '.';
}

class Manifest {
  public:
    Manifest(std::string file, std::vector<std::string>& errors) : file_(std::move(file)), errors_(errors) {}

    Note read() {
        toml::table root;
        try {
            root = toml::parse_file(file_);
        } catch (const toml::parse_error& e) {
            wrong(e.source(), std::string(e.description()));
            return note_;
        }
        only(root,
             {"id", "name", "version", "license", "abi", "role", "description", "permissions", "isolation", "config"});
        note_.id = text(root, "id", true);
        note_.name = text(root, "name", true);
        note_.version = text(root, "version", true);
        note_.license = text(root, "license", true);
        note_.role = text(root, "role", true);
        note_.description = text(root, "description", true);
        note_.permissions = texts(root, "permissions");
        const std::string isolation = text(root, "isolation", false);
        if (!isolation.empty() && isolation != "none" && isolation != "process") {
            wrong(root, "isolation", "expected \"none\" or \"process\", got \"" + isolation + "\"");
        }
        note_.isolated = isolation == "process";
        check_words(root);
        schema(root);
        return std::move(note_);
    }

  private:
    void wrong(const toml::source_region& at, const std::string& what) {
        errors_.push_back(file_ + ":" + std::to_string(at.begin.line) + ":" + std::to_string(at.begin.column) + ": " +
                          what);
    }
    void wrong(const toml::table& table, std::string_view key, const std::string& what) {
        const toml::node* node = table.get(key);
        wrong(node != nullptr ? node->source() : table.source(), what);
    }

    void only(const toml::table& table, std::initializer_list<std::string_view> known) {
        for (const auto& [key, value] : table) {
            if (std::ranges::find(known, key.str()) != known.end()) continue;
            std::string list;
            for (std::string_view k : known) list += (list.empty() ? "" : ", ") + std::string(k);
            wrong(key.source(), "unknown key '" + std::string(key.str()) + "'; known here: " + list);
        }
    }

    std::string text(const toml::table& table, std::string_view key, bool required) {
        const toml::node* node = table.get(key);
        if (node == nullptr) {
            if (required) wrong(table.source(), "'" + std::string(key) + "' is missing");
            return {};
        }
        const auto value = node->value_exact<std::string>();
        if (!value || value->empty())
            wrong(node->source(), "'" + std::string(key) + "' must be a text that is not empty");
        return value.value_or("");
    }

    bool boolean(const toml::table& table, std::string_view key) {
        const toml::node* node = table.get(key);
        if (node == nullptr) return false;
        const auto value = node->value_exact<bool>();
        if (!value) wrong(node->source(), "'" + std::string(key) + "' must be true or false");
        return value.value_or(false);
    }

    std::vector<std::string> texts(const toml::table& table, std::string_view key) {
        std::vector<std::string> out;
        const toml::node* node = table.get(key);
        if (node == nullptr) return out;
        const toml::array* array = node->as_array();
        if (array == nullptr) {
            wrong(node->source(), "'" + std::string(key) + "' must be a list of texts");
            return out;
        }
        for (const toml::node& item : *array) {
            const auto value = item.value_exact<std::string>();
            if (!value) wrong(item.source(), "'" + std::string(key) + "' must be a list of texts");
            out.push_back(value.value_or(""));
        }
        return out;
    }

    void check_words(const toml::table& root) {
        if (!note_.id.empty() && (!spelled(note_.id, ".-") || note_.id.find('.') == std::string::npos)) {
            wrong(root, "id",
                  "'id' is a name with dots, from the general to the particular, of a-z, 0-9, '-' and '.': "
                  "\"org.example.fast\"");
        }
        if (!note_.version.empty() && !version_like(note_.version)) {
            wrong(root, "version", "'version' must be three numbers with dots: \"1.0.0\"");
        }
        if (!note_.role.empty() && !valid_role(note_.role)) {
            wrong(root, "role", "'role' must be NAME/NUMBER (\"placement/1\") or draft.NAME (\"draft.store\")");
        }
        const std::string abi = text(root, "abi", true);
        if (!abi.empty() && abi != kAbi) {
            wrong(root, "abi", "'abi' is " + abi + ", but this SDK builds for " + kAbi);
        }
        note_.abi_major = GANTRY_ABI_MAJOR;
        note_.abi_minor = GANTRY_ABI_MINOR;
        if (note_.role.starts_with("draft.")) note_.kernel = kernel_version();
    }

    void schema(const toml::table& root) {
        const toml::node* node = root.get("config");
        if (node == nullptr) return;
        const toml::table* config = node->as_table();
        if (config == nullptr) return wrong(node->source(), "'config' must be a table of tables: [config.KEY]");
        std::vector<std::pair<const toml::key*, const toml::node*>> ordered;
        for (const auto& [key, value] : *config) ordered.emplace_back(&key, &value);
        std::ranges::sort(ordered, {}, [](const auto& item) {
            return std::pair(item.first->source().begin.line, item.first->source().begin.column);
        });
        if (ordered.size() > kConfigKeysMax) wrong(config->source(), "more than 256 configuration keys");
        for (const auto& [key, value] : ordered) {
            const toml::table* table = value->as_table();
            if (!spelled(key->str(), "_")) wrong(key->source(), "a configuration key is made of a-z, 0-9 and '_'");
            if (key->str() == "plugin" || key->str() == "isolation" || key->str() == "required" ||
                key->str() == "memory_max") {
                wrong(key->source(), "'" + std::string(key->str()) + "' is the kernel's own key in every table");
            }
            if (table == nullptr) {
                wrong(key->source(), "must be a table: [config." + std::string(key->str()) + "]");
            } else {
                config_key(std::string(key->str()), *table);
            }
        }
    }

    void config_key(std::string name, const toml::table& table) {
        only(table, {"type", "default", "min", "max", "required", "secret", "choices", "doc"});
        ConfigKey key;
        key.name = std::move(name);
        const std::string type_text = text(table, "type", true);
        const std::optional<ValueType> type = value_type(type_text);
        if (!type) {
            if (!type_text.empty()) {
                wrong(
                    table, "type",
                    "unknown type '" + type_text + "'; known: string, integer, number, boolean, duration, size, list");
            }
            return;
        }
        key.type = *type;
        key.doc = text(table, "doc", true);
        key.required = boolean(table, "required");
        key.secret = boolean(table, "secret");
        key.choices = texts(table, "choices");
        bounds(table, key);
        if (key.type == ValueType::kList) {
            if (table.contains("default")) key.default_list = texts(table, "default");
        } else {
            key.default_value = value(table, "default", key.type);
        }
        consistent(table, key);
        note_.config.push_back(std::move(key));
    }

    void bounds(const toml::table& table, ConfigKey& key) {
        const bool ordered = key.type == ValueType::kInteger || key.type == ValueType::kNumber ||
                             key.type == ValueType::kDuration || key.type == ValueType::kSize;
        for (const char* bound : {"min", "max"}) {
            if (!table.contains(bound)) continue;
            if (!ordered) {
                wrong(table, bound, "a " + std::string(value_type_name(key.type)) + " has no range");
                continue;
            }
            (bound[1] == 'i' ? key.min : key.max) = value(table, bound, key.type);
        }
    }

    // The value in the note's form.
    std::optional<std::string> value(const toml::table& table, std::string_view name, ValueType type) {
        const toml::node* node = table.get(name);
        if (node == nullptr) return std::nullopt;
        if (type == ValueType::kString) {
            if (auto v = node->value_exact<std::string>()) return *v;
        } else if (type == ValueType::kBoolean) {
            if (auto v = node->value_exact<bool>()) return *v ? "true" : "false";
        } else if (type == ValueType::kInteger) {
            if (auto v = node->value_exact<std::int64_t>()) return std::to_string(*v);
        } else if (type == ValueType::kNumber) {
            if (auto v = node->value<double>()) {
                char buffer[64];
                const auto end = std::to_chars(buffer, buffer + sizeof(buffer), *v).ptr;
                return std::string(buffer, end);
            }
        } else if (auto written = node->value_exact<std::string>()) {
            const auto v = type == ValueType::kSize ? parse_size_bytes(*written) : parse_duration_ns(*written);
            if (v) return std::to_string(*v);
        } else if (auto v = node->value_exact<std::int64_t>(); v && type == ValueType::kSize && *v >= 0) {
            return std::to_string(*v);
        }
        const char* example = type == ValueType::kDuration ? ", for example \"200ms\""
                              : type == ValueType::kSize   ? ", for example \"64MiB\""
                                                           : "";
        wrong(node->source(), "'" + std::string(name) + "' must be a " + std::string(value_type_name(type)) + example);
        return std::nullopt;
    }

    void consistent(const toml::table& table, const ConfigKey& key) {
        if (key.required && table.contains("default")) wrong(table, "default", "a required key has no default");
        if (key.secret && key.type != ValueType::kString) wrong(table, "secret", "only a string can be secret");
        if (!key.choices.empty() && key.type != ValueType::kString && key.type != ValueType::kList) {
            wrong(table, "choices", "choices are for a string or a list");
        }
        const auto number = [](const std::optional<std::string>& s) { return std::stod(*s); };
        if (key.min && key.max && number(key.min) > number(key.max)) wrong(table, "max", "'max' is below 'min'");
        if (key.default_value && ((key.min && number(key.default_value) < number(key.min)) ||
                                  (key.max && number(key.default_value) > number(key.max)))) {
            wrong(table, "default", "the default lies outside min and max");
        }
        std::vector<std::string> defaults = key.default_list.value_or(std::vector<std::string>());
        if (key.default_value) defaults.push_back(*key.default_value);
        for (const std::string& item : defaults) {
            if (!key.choices.empty() && std::ranges::find(key.choices, item) == key.choices.end()) {
                wrong(table, "default", "the default '" + item + "' is not among the choices");
            }
        }
    }

    std::string file_;
    std::vector<std::string>& errors_;
    Note note_;
};

}  // namespace

Note read_manifest(const std::string& file, std::vector<std::string>& errors) { return Manifest(file, errors).read(); }

}  // namespace gantry::elf
