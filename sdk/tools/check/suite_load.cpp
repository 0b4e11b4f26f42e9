// SPDX-License-Identifier: Apache-2.0
//
// load: the file in a process, before any instance.
#include <filesystem>

#include "sdk/tools/check/remains.hpp"
#include "sdk/tools/check/rig.hpp"

namespace gantry::check {
namespace {

std::string text_of(const char* s) { return s == nullptr ? std::string() : s; }

void open(Trial& trial) { load_entry(trial.subject); }

void agree(Trial& trial) {
    const gantry_entry& entry = load_entry(trial.subject);
    const elf::Note& note = trial.subject.reading.note;
    expect(entry.magic == GANTRY_ENTRY_MAGIC, "the magic number of gantry_plugin_entry", std::to_string(entry.magic));
    expect(entry.struct_size >= 48, "an entry of at least 48 bytes", std::to_string(entry.struct_size) + " bytes");
    const auto version = [](std::uint32_t major, std::uint32_t minor) {
        return std::to_string(major) + "." + std::to_string(minor);
    };
    const std::string in_note = version(note.abi_major, note.abi_minor);
    const std::string in_entry = version(entry.abi_major, entry.abi_minor);
    expect(in_note == in_entry, "the SDK of the note, " + in_note, in_entry);
    expect(text_of(entry.id) == note.id, "the id of the note, " + note.id, text_of(entry.id));
    expect(text_of(entry.version) == note.version, "the version of the note, " + note.version, text_of(entry.version));
    expect(text_of(entry.role) == note.role, "the role of the note, " + note.role, text_of(entry.role));
    expect(entry.create != nullptr, "a function create", "NULL");
}

void do_nothing(Trial& trial) {
    const std::size_t threads = thread_count();
    const std::set<std::string> descriptors = open_descriptors();
    const auto written = [&] { return std::filesystem::file_size(trial.folder() + "/output"); };
    const auto before = written();
    load_entry(trial.subject);
    expect(thread_count() == threads, "no thread started by loading the file", std::to_string(thread_count()));
    expect(open_descriptors() == descriptors, "no descriptor opened by loading the file",
           new_descriptors(descriptors, open_descriptors()));
    expect(written() == before, "nothing written to standard output or error by loading the file", "some text");
}

}  // namespace

void add_load(std::vector<Check>& out) {
    out.push_back({"load.opens",
                   "The loader takes the file with every symbol bound at once.",
                   "Link with -z defs: it names what is missing. Constructors of globals run here: keep none that may "
                   "fail.",
                   {"static.file", "static.note", "static.abi", "static.role", "static.exports", "static.versions",
                    "static.run-path", "static.stack", "static.text-relocations"},
                   &open});
    out.push_back({"load.entry",
                   "The entry says what the note says.",
                   "Let GANTRY_PLUGIN make the entry; in C take id, version and role from the macros GANTRY_PLUGIN_...",
                   {"load.opens"},
                   &agree});
    out.push_back({"load.quiet",
                   "Loading the file starts, opens and prints nothing.",
                   "Move what constructors of globals do into start().",
                   {"load.opens"},
                   &do_nothing});
}

}  // namespace gantry::check
