// SPDX-License-Identifier: Apache-2.0
//
// Reads what a host must know of a shared object before it loads it. Bounded: whatever the file holds, it costs a few
// megabytes and never more than the file has; a broken file gives a Fault with one sentence, never a crash.
#pragma once

#include <gantry/elf/note.hpp>
#include <map>
#include <span>

namespace gantry::elf {

enum class Fault : std::uint8_t {
    kNone,
    kUnreadable,  // the descriptor cannot be read
    kNotElf,      // no ELF file at all
    kForeign,     // an ELF file, but no 64-bit little-endian shared object
    kBroken,      // its tables point outside the file or contradict each other
    kNoNote,      // a sound shared object without a note
    kBadNote,     // the note is too long or not in the text's form
};

inline constexpr std::size_t kExportsKept = 8;
inline constexpr std::size_t kSymbolNameMax = 4'096;  // bytes of a name; longer ones are kBroken

struct Facts {
    std::uint16_t machine = 0;          // EM_X86_64, EM_AARCH64 ...
    std::vector<std::string> exported;  // symbols that other objects can bind to: the first kExportsKept
    std::size_t exported_count = 0;     // all of them
    std::vector<std::string> needed;    // libraries
    std::vector<std::string> versions;  // needed symbol versions: "GLIBC_2.34", "GLIBCXX_3.4.30"
    std::map<std::string, std::vector<std::string>> versions_of;  // the same by library
    std::string run_path;                                         // RPATH or RUNPATH, empty if none
    bool text_relocations = false;
    bool executable_stack = false;
};

struct Reading {
    Fault fault = Fault::kNone;
    std::string text;  // what is wrong
    Facts facts;       // complete unless fault is one of the first five
    Note note;         // complete if fault is kNone
};

// `fd` stays the caller's; its position is not used.
Reading read_plugin(int fd);
Reading read_plugin(std::span<const std::uint8_t> bytes);

// The symbol versions that a library of this process ("libstdc++.so.6") offers; none if it is not loaded.
std::vector<std::string> loaded_versions(std::string_view library);

// "x86-64", "aarch64", or "machine 243".
std::string machine_name(std::uint16_t machine);
// The machine this code was built for.
std::uint16_t own_machine();

}  // namespace gantry::elf
