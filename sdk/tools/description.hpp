// SPDX-License-Identifier: Apache-2.0
//
// A plugin in words: what was read of its file, for people and for programs. The file may be anybody's: control
// characters and what is no UTF-8 never reach a terminal.
#pragma once

#include <gantry/elf/reader.hpp>
#include <string>

namespace gantry::tools {

std::string as_text(const std::string& file, const elf::Reading& reading);
// One document, and a line break behind it.
std::string as_json(const std::string& file, const elf::Reading& reading);
// Name, description and the table of the configuration's keys.
std::string as_markdown(const elf::Reading& reading);

// Control characters as blanks, what is no UTF-8 as U+FFFD.
std::string plain(std::string_view text);

// A value of the note's form as people write it: nanoseconds as "200ms", bytes as "64MiB", a text in quotes.
std::string written(const std::string& value, elf::ValueType type);

}  // namespace gantry::tools
