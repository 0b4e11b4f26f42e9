// SPDX-License-Identifier: Apache-2.0
//
// gantry-note MANIFEST [OUTPUT [ID VERSION ROLE]]: checks plugin.toml and writes its ELF note as a source: Rust if
// OUTPUT ends in .rs, else C (which is C++ as well), to compile or to include once. Without OUTPUT only checks. The
// source also names what the entry must repeat: GANTRY_PLUGIN_ID, _VERSION and _ROLE. ID, VERSION and ROLE are what the
// build read from the file by simpler means; a difference is an error.
//
// Exit status: 0 written, 1 the manifest is wrong, 2 usage or output error.
#include <gantry/abi/entry.h>

#include <cstdio>
#include <fstream>

#include "sdk/elf/tool/manifest.hpp"

namespace {

// The text as a literal; `format` writes a byte that is not plain, `line_end` a line break.
std::string literal(const std::string& text, const char* format, const char* line_end) {
    std::string out = "\"";
    for (unsigned char c : text) {
        if (c == '\n') {
            out += line_end;
        } else if (c == '"' || c == '\\' || c == '?' || c < 0x20 || c >= 0x7f) {
            char escaped[8];
            std::snprintf(escaped, sizeof(escaped), format, c);
            out += escaped;
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + "\"";
}

std::string c_source(const gantry::elf::Note& note, const std::string& text) {
    std::string out = "/* Written by gantry-note from plugin.toml. */\n";
    for (const auto& [name, value] : {std::pair{"ID", &note.id}, {"VERSION", &note.version}, {"ROLE", &note.role}}) {
        const std::string macro = std::string("GANTRY_PLUGIN_") + name;
        out += "#ifndef " + macro + "\n#define " + macro + " " + literal(*value, "\\%03o", "") + "\n#endif\n";
    }
    // The text is never cut to a multiple of four: at least one zero follows it.
    const std::string padded = std::to_string((text.size() + 4) / 4 * 4);
    return out +
           "__attribute__((section(\"" GANTRY_NOTE_SECTION
           "\"), used, aligned(4)))\n"
           "static const struct {\n"
           "    unsigned name_size, text_size, type;\n"
           "    char name[8];\n"
           "    char text[" +
           padded +
           "];\n"
           "} gantry_note = {sizeof(\"" GANTRY_NOTE_NAME "\"), " +
           std::to_string(text.size()) + ", " + std::to_string(GANTRY_NOTE_TYPE) + ", \"" GANTRY_NOTE_NAME "\",\n    " +
           literal(text, "\\%03o", "\\n\"\n    \"") + "};\n";
}

std::string rust_source(const gantry::elf::Note& note, const std::string& text) {
    std::string out = "// Written by gantry-note from plugin.toml.\n";
    for (const auto& [name, value] : {std::pair{"ID", &note.id}, {"VERSION", &note.version}, {"ROLE", &note.role}}) {
        out += std::string("pub const GANTRY_PLUGIN_") + name + ": &[u8] = b" + literal(*value + '\0', "\\x%02x", "") +
               ";\n";
    }
    std::string padded = text;
    padded.resize((text.size() + 4) / 4 * 4);
    return out +
           "#[repr(C, align(4))]\n"
           "pub struct GantryNote(u32, u32, u32, [u8; 8], [u8; " +
           std::to_string(padded.size()) +
           "]);\n"
           "#[used]\n"
           "#[link_section = \"" GANTRY_NOTE_SECTION
           "\"]\n"
           "pub static GANTRY_NOTE: GantryNote = GantryNote(" +
           std::to_string(sizeof(GANTRY_NOTE_NAME)) + ", " + std::to_string(text.size()) + ", " +
           std::to_string(GANTRY_NOTE_TYPE) + ", *b\"" GANTRY_NOTE_NAME "\\0\\0\",\n    *b" +
           literal(padded, "\\x%02x", "\\n\\\n    ") + ");\n";
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
        std::fprintf(stderr, "usage: gantry-note MANIFEST [OUTPUT [ID VERSION ROLE]]\n");
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
    file << (std::string_view(argv[2]).ends_with(".rs") ? rust_source(note, text) : c_source(note, text));
    if (!file.flush()) {
        std::fprintf(stderr, "gantry-note: cannot write %s\n", argv[2]);
        return 2;
    }
    return 0;
}
