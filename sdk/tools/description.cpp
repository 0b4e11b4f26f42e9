// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/description.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <span>

namespace gantry::tools {
namespace {

namespace json = boost::json;

struct Unit {
    const char* name;
    std::int64_t size;
};
constexpr Unit kDurations[] = {{"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000},
                               {"ms", 1'000'000},        {"us", 1'000},         {"ns", 1}};
constexpr Unit kSizes[] = {{"TiB", std::int64_t{1} << 40},
                           {"GiB", std::int64_t{1} << 30},
                           {"MiB", std::int64_t{1} << 20},
                           {"KiB", std::int64_t{1} << 10},
                           {"B", 1}};

// In the largest unit of which it is a whole number.
std::string in_units(const std::string& value, std::span<const Unit> units) {
    std::int64_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    const auto fits = std::ranges::find_if(units, [&](const Unit& u) { return number % u.size == 0; });
    if (number == 0) return std::string("0") + units.back().name;
    return std::to_string(number / fits->size) + fits->name;
}

// Bytes of the UTF-8 character that `text` begins with; 0 if it begins with none.
std::size_t character(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (length == 0 || first > 0xf4 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    const bool surrogate = first == 0xed && byte(1) > 0x9f;
    const bool beyond = first == 0xf4 && byte(1) > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

std::string joined(const std::vector<std::string>& list, std::string_view none) {
    std::string out;
    for (const std::string& item : list) out += (out.empty() ? "" : ", ") + plain(item);
    return out.empty() ? std::string(none) : out;
}

std::string default_of(const elf::ConfigKey& key) {
    if (key.required) return "required";
    if (key.default_value) return written(*key.default_value, key.type);
    if (!key.default_list) return "none";
    std::string out;
    for (const std::string& item : *key.default_list) {
        out += (out.empty() ? "" : ", ") + written(item, elf::ValueType::kString);
    }
    return "[" + out + "]";
}

std::string range_of(const elf::ConfigKey& key) {
    if (key.min && key.max) return written(*key.min, key.type) + " to " + written(*key.max, key.type);
    if (key.min) return "at least " + written(*key.min, key.type);
    if (key.max) return "at most " + written(*key.max, key.type);
    return key.choices.empty() ? "" : "one of " + joined(key.choices, "");
}

std::string doc_of(const elf::ConfigKey& key) {
    return plain(key.doc) + (key.secret ? std::string(key.doc.empty() ? "" : " ") + "Never shown." : "");
}

// Rows of cells as columns; nothing behind the last.
std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    const auto length = [](const std::string& s) {
        return static_cast<std::size_t>(std::ranges::count_if(s, [](char c) { return (c & 0xc0) != 0x80; }));
    };
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], length(row[i]));
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) line += row[i] + std::string(widths[i] - length(row[i]) + 2, ' ');
        out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
}

std::vector<std::string> needs(const elf::Facts& facts) {
    std::vector<std::string> out;
    for (const std::string& library : facts.needed) {
        const auto found = facts.versions_of.find(library);
        const bool plain_need = found == facts.versions_of.end();
        out.push_back(plain(library) + (plain_need ? "" : " (" + joined(found->second, "") + ")"));
    }
    return out;
}

std::string exports(const elf::Facts& facts) {
    const std::size_t more = facts.exported_count - facts.exported.size();
    return joined(facts.exported, "none") + (more > 0 ? " and " + std::to_string(more) + " more" : "");
}

json::array strings(const std::vector<std::string>& list) {
    json::array out;
    for (const std::string& item : list) out.emplace_back(plain(item));
    return out;
}

// A value of the note's form with its JSON type; durations are nanoseconds, sizes bytes.
json::value typed(const std::string& value, elf::ValueType type) {
    if (type == elf::ValueType::kString || type == elf::ValueType::kList) return json::string(plain(value));
    if (type == elf::ValueType::kBoolean) return value == "true";
    if (type == elf::ValueType::kNumber) {
        double number = 0;
        std::from_chars(value.data(), value.data() + value.size(), number);
        return number;
    }
    std::int64_t number = 0;
    std::from_chars(value.data(), value.data() + value.size(), number);
    return number;
}

json::object key_document(const elf::ConfigKey& key) {
    json::object out{{"key", plain(key.name)}, {"type", elf::value_type_name(key.type)}, {"required", key.required}};
    if (key.default_value) out["default"] = typed(*key.default_value, key.type);
    if (key.default_list) out["default"] = strings(*key.default_list);
    if (key.min) out["min"] = typed(*key.min, key.type);
    if (key.max) out["max"] = typed(*key.max, key.type);
    if (!key.choices.empty()) out["choices"] = strings(key.choices);
    out["secret"] = key.secret;
    out["doc"] = plain(key.doc);
    return out;
}

}  // namespace

std::string plain(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t n = character(text);
        const unsigned char first = static_cast<unsigned char>(text.front());
        // U+0080 to U+009F are control characters as well.
        const bool control = (n == 1 && (first < 0x20 || first == 0x7f)) ||
                             (n == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0);
        out += n == 0 ? "\xef\xbf\xbd" : control ? " " : std::string(text.substr(0, n));
        text.remove_prefix(std::max<std::size_t>(n, 1));
    }
    return out;
}

std::string written(const std::string& value, elf::ValueType type) {
    if (type == elf::ValueType::kDuration) return in_units(value, kDurations);
    if (type == elf::ValueType::kSize) return in_units(value, kSizes);
    if (type == elf::ValueType::kString) return '"' + plain(value) + '"';
    return plain(value);
}

std::string as_text(const std::string& file, const elf::Reading& reading) {
    const elf::Note& note = reading.note;
    const std::string abi = std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor);
    std::vector<std::vector<std::string>> rows{{"file", plain(file)},
                                               {"id", plain(note.id)},
                                               {"name", plain(note.name)},
                                               {"version", plain(note.version)},
                                               {"licence", plain(note.license)},
                                               {"role", plain(note.role)},
                                               {"SDK", abi},
                                               {"description", plain(note.description)},
                                               {"permissions", joined(note.permissions, "none")},
                                               {"isolation", note.isolated ? "process" : "none"},
                                               {"machine", elf::machine_name(reading.facts.machine)},
                                               {"exports", exports(reading.facts)}};
    const char* title = "needs";
    for (const std::string& need : needs(reading.facts)) rows.push_back({std::exchange(title, ""), need});
    if (!reading.facts.run_path.empty()) rows.push_back({"run path", plain(reading.facts.run_path)});
    if (reading.facts.text_relocations) rows.push_back({"relocations", "in its text: built without -fPIC"});
    if (reading.facts.executable_stack) rows.push_back({"stack", "executable"});
    std::string out = table(rows) + "\n";
    if (note.config.empty()) return out + "No configuration.\n";
    std::vector<std::vector<std::string>> keys{{"KEY", "TYPE", "DEFAULT", "RANGE", "MEANING"}};
    for (const elf::ConfigKey& key : note.config) {
        keys.push_back({plain(key.name), std::string(elf::value_type_name(key.type)), default_of(key), range_of(key),
                        doc_of(key)});
    }
    return out + table(keys);
}

std::string as_json(const std::string& file, const elf::Reading& reading) {
    const elf::Note& note = reading.note;
    json::array config, needed;
    for (const elf::ConfigKey& key : note.config) config.push_back(key_document(key));
    for (const std::string& library : reading.facts.needed) {
        const auto found = reading.facts.versions_of.find(library);
        needed.push_back(json::object{
            {"library", plain(library)},
            {"versions", found == reading.facts.versions_of.end() ? json::array() : strings(found->second)}});
    }
    const json::object out{{"file", plain(file)},
                           {"id", plain(note.id)},
                           {"name", plain(note.name)},
                           {"version", plain(note.version)},
                           {"license", plain(note.license)},
                           {"role", plain(note.role)},
                           {"abi", std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor)},
                           {"description", plain(note.description)},
                           {"permissions", strings(note.permissions)},
                           {"isolation", note.isolated ? "process" : "none"},
                           {"machine", elf::machine_name(reading.facts.machine)},
                           {"exports", strings(reading.facts.exported)},
                           {"exports_count", reading.facts.exported_count},
                           {"needs", std::move(needed)},
                           {"run_path", plain(reading.facts.run_path)},
                           {"text_relocations", reading.facts.text_relocations},
                           {"executable_stack", reading.facts.executable_stack},
                           {"config", std::move(config)}};
    return json::serialize(out) + "\n";
}

std::string as_markdown(const elf::Reading& reading) {
    const auto cell = [](const std::string& text) {
        std::string out;
        for (char c : text) out += c == '|' ? "\\|" : std::string(1, c);
        return out;
    };
    const elf::Note& note = reading.note;
    std::string out = "# " + plain(note.name) + "\n\n" + plain(note.description) + "\n\n";
    if (note.config.empty()) return out + "No configuration.\n";
    out += "| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
    for (const elf::ConfigKey& key : note.config) {
        out += "| `" + cell(plain(key.name)) + "` | " + std::string(elf::value_type_name(key.type)) + " | " +
               cell(default_of(key)) + " | " + cell(range_of(key)) + " | " + cell(doc_of(key)) + " |\n";
    }
    return out;
}

}  // namespace gantry::tools
