// SPDX-License-Identifier: Apache-2.0
#include <gantry/abi/entry.h>
#include <gnu/libc-version.h>

#include <algorithm>
#include <charconv>
#include <gantry/elf/rules.hpp>

namespace gantry::elf {
namespace {

std::string border(std::uint32_t major, std::uint32_t minor) {
    return std::to_string(major) + "." + std::to_string(minor);
}

int whole(std::string_view digits) {
    int out = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return out;
}

// "GLIBC_2.34" is newer than this machine's.
bool newer_libc(std::string_view version) {
    constexpr std::string_view kPrefix = "GLIBC_2.";
    if (!version.starts_with(kPrefix)) return false;
    return whole(version.substr(kPrefix.size())) > whole(std::string_view(::gnu_get_libc_version()).substr(2));
}

// Why this host does not offer the border that the note asks for; empty if it does.
std::string other_border(const Note& note) {
    const bool draft = note.role.starts_with("draft.");
    const bool fits = note.abi_major == GANTRY_ABI_MAJOR &&
                      (draft ? note.abi_minor == GANTRY_ABI_MINOR : note.abi_minor <= GANTRY_ABI_MINOR);
    if (!fits) {
        return "built for SDK " + border(note.abi_major, note.abi_minor) + ", this kernel offers SDK " +
               border(GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR) + (draft ? " (a draft role needs exactly that)" : "");
    }
    if (!draft || note.kernel == kernel_version()) return {};
    return "built for kernel " + (note.kernel.empty() ? "unknown" : note.kernel) + ", this is kernel " +
           std::string(kernel_version()) + ": the role " + note.role + " is a draft, which needs exactly that";
}

class Judge {
  public:
    explicit Judge(const Reading& reading) : reading_(reading), facts_(reading.facts) {}

    std::vector<Objection> all() {
        file();
        if (no_facts()) return std::move(out_);
        note();
        run_path();
        if (facts_.text_relocations) object(Rule::kTextRelocations, "has text relocations; build it with -fPIC");
        if (facts_.executable_stack) {
            object(Rule::kStack, "asks for an executable stack; link it with -z noexecstack");
        }
        exports();
        versions();
        return std::move(out_);
    }

  private:
    void object(Rule rule, std::string text) { out_.push_back({rule, std::move(text)}); }

    bool no_facts() const { return reading_.fault >= Fault::kUnreadable && reading_.fault <= Fault::kBroken; }

    void file() {
        if (facts_.machine != 0 && facts_.machine != own_machine()) {
            object(Rule::kFile,
                   "built for " + machine_name(facts_.machine) + ", this machine is " + machine_name(own_machine()));
        } else if (no_facts()) {
            object(Rule::kFile, reading_.text);
        }
    }

    void note() {
        const Note& note = reading_.note;
        // A note from the future may hold what this reader does not know: its version says why.
        const bool from_future = reading_.fault == Fault::kBadNote && note.abi_minor + note.abi_major > 0;
        if (reading_.fault == Fault::kNone || from_future) {
            const std::string why = other_border(note);
            if (!why.empty()) return object(Rule::kBorder, why);
        }
        if (reading_.fault != Fault::kNone) object(Rule::kNote, reading_.text);
    }

    void run_path() {
        if (facts_.run_path.empty()) return;
        object(Rule::kRunPath, "has a run path (" + facts_.run_path + "), which would load libraries from there");
    }

    void exports() {
        if (facts_.exported == std::vector<std::string>{GANTRY_ENTRY_SYMBOL}) return;
        std::string some;
        for (const std::string& name : facts_.exported) some += (some.empty() ? " (" : ", ") + name;
        if (facts_.exported_count > facts_.exported.size()) some += " ...";
        object(Rule::kExports, "exports " + std::to_string(facts_.exported_count) + " symbols" + some +
                                   (some.empty() ? "" : ")") + ", expected " GANTRY_ENTRY_SYMBOL " alone");
    }

    void versions() {
        const std::vector<std::string> have = loaded_versions("libstdc++.so.6");
        for (const std::string& version : facts_.versions) {
            const bool of_cxx = version.starts_with("GLIBCXX_") || version.starts_with("CXXABI_");
            if (of_cxx && !have.empty() && std::ranges::find(have, version) == have.end()) {
                return object(Rule::kVersions, "needs " + version +
                                                   ", which the libstdc++ of this machine does not offer; build it "
                                                   "with an older compiler");
            }
        }
        const auto newer = std::ranges::find_if(facts_.versions, newer_libc);
        if (newer == facts_.versions.end()) return;
        object(Rule::kVersions, "needs " + *newer + ", this machine has GLIBC_" + ::gnu_get_libc_version() +
                                    "; build it on an older system");
    }

    const Reading& reading_;
    const Facts& facts_;
    std::vector<Objection> out_;
};

}  // namespace

std::vector<Objection> objections(const Reading& reading) { return Judge(reading).all(); }

}  // namespace gantry::elf
