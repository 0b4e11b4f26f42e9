// The text of a plugin's note: it is whole or refused with a reason, and a whole one survives being written and read.
#include <gantry/elf/note.hpp>

#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;
using namespace gantry::elf;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    Note note;
    std::string error;
    const bool whole = parse_note({reinterpret_cast<const char*>(copy.data()), copy.size()}, note, error);
    demand(whole == error.empty(), "what is not whole has a reason");
    demand(note.config.size() <= kConfigKeysMax, "a schema has an end");
    if (!whole) return 0;
    demand(!note.id.empty() && !note.version.empty() && !note.role.empty(), "what a host must know is there");
    const std::string written = write_note(note);
    if (written.size() > kNoteMax) return 0;
    Note again;
    demand(parse_note(written, again, error), "a note that was read can be written");
    demand(write_note(again) == written, "a note that was written says the same");
    return 0;
}
