// A plugin's file as the reader finds it before anything of it is loaded: whatever it is, there is one verdict with one
// sentence, nothing in it is longer than promised, and the note of a sound one can be written and read again.
#include <gantry/elf/rules.hpp>

#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;
using namespace gantry::elf;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    const Reading reading = read_plugin({copy.data(), copy.size()});
    demand((reading.fault == Fault::kNone) == reading.text.empty(), "a fault has its sentence, what is sound has none");
    demand(reading.text.size() < 2 * kSymbolNameMax, "a sentence is short");
    const Facts& facts = reading.facts;
    demand(facts.exported.size() == std::min(facts.exported_count, kExportsKept) || reading.fault == Fault::kBroken,
           "the first exports are kept");
    for (const auto* names : {&facts.exported, &facts.needed, &facts.versions}) {
        for (const std::string& name : *names) demand(name.size() <= kSymbolNameMax, "a name is short");
    }
    const std::vector<Objection> against = objections(reading);
    demand(reading.fault == Fault::kNone || !against.empty(), "what cannot be read is not loaded");
    for (const Objection& one : against) demand(!one.text.empty(), "an objection has its sentence");
    if (reading.fault != Fault::kNone) return 0;
    const std::string written = write_note(reading.note);
    if (written.size() > kNoteMax) return 0;
    Note again;
    std::string error;
    demand(parse_note(written, again, error), "a note that was read can be written");
    demand(write_note(again) == written, "a note that was written says the same");
    return 0;
}
