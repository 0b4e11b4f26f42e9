// SPDX-License-Identifier: Apache-2.0
//
// The note of a plugin: what plugin.toml says, as flat text inside the ELF file, so that a host knows id, version,
// role and configuration schema before it runs a line of the plugin.
//
// The text, UTF-8, at most kNoteMax bytes:
//
//     gantry-note 1
//     abi: 1.0
//     kernel: 0.9.0
//     id: org.example.fast
//     name: Fast placement
//     version: 1.2.0
//     license: Apache-2.0
//     role: placement/1
//     description: Prefers ...
//     permission: network
//     isolation: process
//     config: timeout
//     config.type: duration
//     config.default: 200000000
//     config.min: 0
//     config.doc: How long ...
//
// One "key: value" per line; a line break in a value is written \n, a backslash \\. `permission` may repeat.
// `isolation` stands in the note of a plugin that runs in a process of its own where its table does not say otherwise.
// `kernel` stands in the note of a draft role alone: the one version of the kernel that it was built for. `config`
// opens a configuration key, the config.* lines after it belong to it: type (string, integer, number, boolean,
// duration, size, list), default, min, max, required (true), secret (true), choice (may repeat), doc. Durations are
// nanoseconds, sizes bytes, booleans true or false. The default of a list is one config.default line per item, or
// config.default-empty. A reader skips lines it does not know: a later border may add some.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gantry::elf {

inline constexpr std::size_t kNoteMax = 64 << 10;   // bytes of the text
inline constexpr std::size_t kConfigKeysMax = 256;  // keys of one schema

// Types of a configuration value; the numbers are those of GANTRY_CONFIG_... in <gantry/abi/entry.h>.
enum class ValueType : std::uint8_t { kString = 1, kInteger, kNumber, kBoolean, kDuration, kSize, kList };

std::string_view value_type_name(ValueType type);
std::optional<ValueType> value_type(std::string_view name);

// One key of the schema. Values are in the text's form (nanoseconds, bytes, true or false).
struct ConfigKey {
    std::string name;
    ValueType type = ValueType::kString;
    std::optional<std::string> default_value;              // not of a list
    std::optional<std::vector<std::string>> default_list;  // of a list
    std::optional<std::string> min, max;                   // integer, number, duration, size
    bool required = false, secret = false;
    std::vector<std::string> choices;  // of a string, or of a list's items; empty: any
    std::string doc;
};

struct Note {
    std::uint32_t abi_major = 0, abi_minor = 0;
    std::string id, name, version, license, role, description;
    std::string kernel;  // of a draft role: the one kernel version it was built for
    std::vector<std::string> permissions;
    bool isolated = false;  // in a process of its own, unless its table says otherwise
    std::vector<ConfigKey> config;
};

std::string write_note(const Note& note);

// False, with the reason in `error`, if the text is not a complete note; `out` then holds what stands before the
// fault (the border's version, which is the second line, even of a note from the future).
bool parse_note(std::string_view text, Note& out, std::string& error);

// The version of the kernel that this reader belongs to: drafts are bound to it.
std::string_view kernel_version();

// The interface that a role in the note's spelling names: "placement/1" -> "gantry.role.placement/1", "draft.store"
// -> "gantry.draft.store"; and the folder of its plugins: "placement", "store".
std::string role_interface(std::string_view role);
std::string role_folder(std::string_view role);
// "NAME/NUMBER" or "draft.NAME".
bool valid_role(std::string_view role);

}  // namespace gantry::elf
