// SPDX-License-Identifier: Apache-2.0
//
// gantry-note MANIFEST [OUTPUT.c [ID VERSION ROLE]]: checks plugin.toml and writes the C source of its ELF note.
// Without OUTPUT only checks. ID, VERSION and ROLE are what the build read from the file by simpler means; a
// difference is an error.
//
// Exit status: 0 written, 1 the manifest is wrong, 2 usage or output error.
#include <gantry/abi/entry.h>

#include <cstdio>
#include <fstream>

#include "sdk/elf/tool/manifest.hpp"

namespace {

// One string literal per line of the text.
std::string literals(const std::string& text) {
    std::string out = "    \"";
    for (unsigned char c : text) {
        if (c == '\n') {
            out += "\\n\"\n    \"";
        } else if (c == '"' || c == '\\' || c == '?' || c < 0x20 || c >= 0x7f) {
            char escaped[8];
            std::snprintf(escaped, sizeof(escaped), "\\%03o", c);
            out += escaped;
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + "\"";
}

std::string source(const std::string& text) {
    const std::string size = std::to_string(text.size());
    const std::string padded = std::to_string((text.size() + 4) / 4 * 4);
    return "/* Written by gantry-note from plugin.toml. */\n"
           "__attribute__((section(\"" GANTRY_NOTE_SECTION
           "\"), used, aligned(4)))\n"
           "static const struct {\n"
           "    unsigned name_size, text_size, type;\n"
           "    char name[8];\n"
           "    char text[" +
           padded +
           "];\n"
           "} gantry_note = {sizeof(\"" GANTRY_NOTE_NAME "\"), " +
           size + ", " + std::to_string(GANTRY_NOTE_TYPE) + ", \"" GANTRY_NOTE_NAME "\",\n" + literals(text) + "};\n";
}

bool same(const char* what, const std::string& manifest, const std::string& build) {
    if (manifest == build) return true;
    std::fprintf(stderr,
                 "gantry-note: %s is \"%s\" in plugin.toml, but the build read \"%s\": write it as %s = \"...\" "
                 "on a line of its own\n",
                 what, manifest.c_str(), build.c_str(), what);
    return false;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 3 && argc != 6) {
        std::fprintf(stderr, "usage: gantry-note MANIFEST [OUTPUT.c [ID VERSION ROLE]]\n");
        return 2;
    }
    std::vector<std::string> errors;
    const gantry::elf::Note note = gantry::elf::read_manifest(argv[1], errors);
    for (const std::string& error : errors) std::fprintf(stderr, "%s\n", error.c_str());
    if (!errors.empty()) return 1;
    if (argc == 2) return 0;
    if (argc == 6) {
        const bool agree =
            same("id", note.id, argv[3]) & same("version", note.version, argv[4]) & same("role", note.role, argv[5]);
        if (!agree) return 1;
    }
    const std::string text = gantry::elf::write_note(note);
    if (text.size() > gantry::elf::kNoteMax) {
        std::fprintf(stderr, "%s: its note would have %zu bytes, at most %zu are allowed: shorten the texts\n", argv[1],
                     text.size(), gantry::elf::kNoteMax);
        return 1;
    }
    std::ofstream file(argv[2], std::ios::binary | std::ios::trunc);
    file << source(text);
    if (!file.flush()) {
        std::fprintf(stderr, "gantry-note: cannot write %s\n", argv[2]);
        return 2;
    }
    return 0;
}
