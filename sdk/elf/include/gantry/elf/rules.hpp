// SPDX-License-Identifier: Apache-2.0
//
// The rules that a file must keep before a host loads it, judged from what the reader found: the kernel refuses a file
// with the first objection, gantry-plugin shows them all. Nothing of the file is run.
#pragma once

#include <gantry/elf/reader.hpp>

namespace gantry::elf {

enum class Rule : std::uint8_t {
    kFile,             // a sound 64-bit shared object, for this machine
    kNote,             // a note that can be read
    kBorder,           // built for a border that this host offers
    kRunPath,          // none
    kTextRelocations,  // none
    kStack,            // not executable
    kExports,          // gantry_plugin_entry alone
    kVersions,         // no symbol version of glibc or libstdc++ that this machine has not
};

struct Objection {
    Rule rule;
    std::string text;  // what it is, what was expected, what to do
};

// In the order in which a host looks; empty: the file may be loaded on this machine. What the reader could not reach
// is not judged.
std::vector<Objection> objections(const Reading& reading);

}  // namespace gantry::elf
