// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <gantry/elf/note.hpp>

namespace gantry::elf {
namespace {

constexpr std::string_view kFirstLine = "gantry-note 1";
constexpr std::array<std::string_view, 7> kTypeNames{"string",   "integer", "number", "boolean",
                                                     "duration", "size",    "list"};

void put(std::string& out, std::string_view key, std::string_view value) {
    out.append(key).append(": ");
    for (char c : value) {
        if (c == '\n') {
            out += "\\n";
        } else if (c == '\\') {
            out += "\\\\";
        } else {
            out += c;
        }
    }
    out += '\n';
}

void put_key(std::string& out, const ConfigKey& key) {
    put(out, "config", key.name);
    put(out, "config.type", value_type_name(key.type));
    if (key.default_value) put(out, "config.default", *key.default_value);
    if (key.default_list) {
        for (const std::string& item : *key.default_list) put(out, "config.default", item);
        if (key.default_list->empty()) put(out, "config.default-empty", "");
    }
    if (key.min) put(out, "config.min", *key.min);
    if (key.max) put(out, "config.max", *key.max);
    if (key.required) put(out, "config.required", "true");
    if (key.secret) put(out, "config.secret", "true");
    for (const std::string& choice : key.choices) put(out, "config.choice", choice);
    if (!key.doc.empty()) put(out, "config.doc", key.doc);
}

std::string unescape(std::string_view value) {
    std::string out;
    out.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] == '\\' && i + 1 < value.size()) {
            ++i;
            out += value[i] == 'n' ? '\n' : value[i];
        } else {
            out += value[i];
        }
    }
    return out;
}

bool parse_abi(std::string_view text, std::uint32_t& major, std::uint32_t& minor) {
    const char* end = text.data() + text.size();
    auto [dot, first] = std::from_chars(text.data(), end, major);
    if (first != std::errc() || dot == end || *dot != '.') return false;
    auto [last, second] = std::from_chars(dot + 1, end, minor);
    return second == std::errc() && last == end;
}

template <class Number>
bool is_number(std::string_view text) {
    Number n{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    return error == std::errc() && end == text.data() + text.size() && n - n == Number{};  // neither inf nor NaN
}

// A reader may convert it without looking again.
bool of_type(std::string_view text, ValueType type) {
    switch (type) {
        case ValueType::kString:
            return true;
        case ValueType::kBoolean:
            return text == "true" || text == "false";
        case ValueType::kNumber:
            return is_number<double>(text);
        default:
            return is_number<std::int64_t>(text);
    }
}

// Reads the lines one by one into a Note.
class Parser {
  public:
    Parser(Note& note, std::string& error) : note_(note), error_(error) {}

    bool line(std::string_view line) {
        const std::size_t colon = line.find(':');
        if (colon == std::string_view::npos) return wrong("a line without ':'");
        const std::string_view key = line.substr(0, colon);
        std::string_view raw = line.substr(colon + 1);
        if (raw.starts_with(' ')) raw.remove_prefix(1);
        std::string value = unescape(raw);
        if (key.starts_with("config.")) return config(key.substr(7), std::move(value));
        return field(key, std::move(value));
    }

    bool finish() {
        if (!have_abi_) return wrong("no line 'abi'");
        for (auto [name, value] : {std::pair{"id", &note_.id}, {"version", &note_.version}, {"role", &note_.role}}) {
            if (value->empty()) return wrong("no line '" + std::string(name) + "'");
        }
        for (const ConfigKey& key : note_.config) {
            if (key.type == ValueType::kList ? key.default_value.has_value() : key.default_list.has_value()) {
                return wrong("the default of '" + key.name + "' is not of its type");
            }
            for (const auto* value : {&key.default_value, &key.min, &key.max}) {
                if (!*value) continue;
                const bool has_range = key.type != ValueType::kString && key.type != ValueType::kBoolean;
                if (value != &key.default_value && !has_range) return wrong("'" + key.name + "' has no range");
                if (!of_type(**value, key.type)) {
                    return wrong("'" + key.name + "' has the value '" + **value + "', which is no " +
                                 std::string(value_type_name(key.type)));
                }
            }
        }
        return true;
    }

  private:
    bool wrong(std::string text) {
        error_ = std::move(text);
        return false;
    }

    bool field(std::string_view key, std::string value) {
        if (key == "abi") {
            have_abi_ = parse_abi(value, note_.abi_major, note_.abi_minor);
            return have_abi_ || wrong("'abi' is not MAJOR.MINOR");
        }
        if (key == "permission") {
            note_.permissions.push_back(std::move(value));
            return true;
        }
        if (key == "isolation") {
            note_.isolated = value == "process";
            return true;
        }
        if (key == "config") {
            if (note_.config.size() == kConfigKeysMax) return wrong("more than 256 configuration keys");
            const auto same = [&](const ConfigKey& k) { return k.name == value; };
            if (value.empty() || std::ranges::any_of(note_.config, same)) {
                return wrong("configuration key '" + value + "' is empty or repeated");
            }
            note_.config.emplace_back().name = std::move(value);
            return true;
        }
        for (auto [name, target] : {std::pair{"id", &note_.id},
                                    {"name", &note_.name},
                                    {"version", &note_.version},
                                    {"license", &note_.license},
                                    {"role", &note_.role},
                                    {"kernel", &note_.kernel},
                                    {"description", &note_.description}}) {
            if (key == name) *target = std::move(value);
        }
        return true;
    }

    bool config(std::string_view part, std::string value) {
        if (note_.config.empty()) return wrong("a config line before any 'config'");
        ConfigKey& key = note_.config.back();
        if (part == "type") {
            const std::optional<ValueType> type = value_type(value);
            if (!type) return wrong("'" + key.name + "' is of the unknown type '" + value + "'");
            key.type = *type;
        } else if (part == "default-empty") {
            key.default_list.emplace();
        } else if (part == "default" && key.type == ValueType::kList) {
            if (!key.default_list) key.default_list.emplace();
            key.default_list->push_back(std::move(value));
        } else if (part == "default") {
            key.default_value = std::move(value);
        } else if (part == "min") {
            key.min = std::move(value);
        } else if (part == "max") {
            key.max = std::move(value);
        } else if (part == "required") {
            key.required = value == "true";
        } else if (part == "secret") {
            key.secret = value == "true";
        } else if (part == "choice") {
            key.choices.push_back(std::move(value));
        } else if (part == "doc") {
            key.doc = std::move(value);
        }
        return true;
    }

    Note& note_;
    std::string& error_;
    bool have_abi_ = false;
};

}  // namespace

std::string_view value_type_name(ValueType type) {
    const std::size_t i = static_cast<std::size_t>(type) - 1;
    return i < kTypeNames.size() ? kTypeNames[i] : "unknown";
}

std::optional<ValueType> value_type(std::string_view name) {
    const auto* it = std::ranges::find(kTypeNames, name);
    if (it == kTypeNames.end()) return std::nullopt;
    return static_cast<ValueType>(it - kTypeNames.begin() + 1);
}

std::string write_note(const Note& note) {
    std::string out(kFirstLine);
    out += '\n';
    put(out, "abi", std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor));
    if (!note.kernel.empty()) put(out, "kernel", note.kernel);
    put(out, "id", note.id);
    put(out, "name", note.name);
    put(out, "version", note.version);
    put(out, "license", note.license);
    put(out, "role", note.role);
    put(out, "description", note.description);
    for (const std::string& permission : note.permissions) put(out, "permission", permission);
    if (note.isolated) put(out, "isolation", "process");
    for (const ConfigKey& key : note.config) put_key(out, key);
    return out;
}

bool parse_note(std::string_view text, Note& out, std::string& error) {
    out = Note();
    if (text.size() > kNoteMax) {
        error = "longer than 64 KiB";
        return false;
    }
    Parser parser(out, error);
    bool first = true;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (first && line != kFirstLine) break;
        if (!first && !line.empty() && !parser.line(line)) return false;
        first = false;
    }
    if (first) {
        error = "the first line is not 'gantry-note 1'";
        return false;
    }
    return parser.finish();
}

std::string_view kernel_version() { return GANTRY_KERNEL_VERSION; }

bool valid_role(std::string_view role) {
    const auto name = [](std::string_view s) {
        return !s.empty() && std::ranges::all_of(s, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
    };
    if (role.starts_with("draft.")) return name(role.substr(6));
    const std::size_t slash = role.find('/');
    if (slash == std::string_view::npos) return false;
    const std::string_view number = role.substr(slash + 1);
    return name(role.substr(0, slash)) && !number.empty() && number.size() <= 4 && number.front() != '0' &&
           std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
}

std::string role_interface(std::string_view role) {
    return (role.starts_with("draft.") ? "gantry." : "gantry.role.") + std::string(role);
}

std::string role_folder(std::string_view role) {
    if (role.starts_with("draft.")) return std::string(role.substr(6));
    return std::string(role.substr(0, role.find('/')));
}

}  // namespace gantry::elf
