// SPDX-License-Identifier: Apache-2.0
//
// Reads and checks plugin.toml.
#pragma once

#include <gantry/elf/note.hpp>
#include <string>
#include <vector>

namespace gantry::elf {

// The note that plugin.toml describes. Every fault is one line "file:line:column: what is wrong" in `errors`; the
// note is usable only if there is none.
Note read_manifest(const std::string& file, std::vector<std::string>& errors);

}  // namespace gantry::elf
