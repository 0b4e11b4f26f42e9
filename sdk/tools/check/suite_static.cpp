// SPDX-License-Identifier: Apache-2.0
//
// static: what the file says without being loaded, by the rules that the kernel applies (sdk/elf).
#include <gantry/abi/directory.h>
#include <gantry/abi/discovery.h>
#include <gantry/abi/frontend.h>
#include <gantry/abi/placement.h>
#include <gantry/abi/probe.h>
#include <gantry/abi/runtime.h>
#include <gantry/abi/store.h>
#include <gantry/abi/transport.h>

#include <algorithm>
#include <array>
#include <gantry/elf/rules.hpp>

#include "sdk/tools/check/check.hpp"

namespace gantry::check {
namespace {

constexpr std::array<std::string_view, 8> kInterfaces{
    GANTRY_ROLE_DISCOVERY, GANTRY_ROLE_PLACEMENT, GANTRY_ROLE_RUNTIME, GANTRY_ROLE_PROBE,
    GANTRY_ROLE_TRANSPORT, GANTRY_ROLE_DIRECTORY, GANTRY_ROLE_STORE,   GANTRY_ROLE_FRONTEND};

template <elf::Rule rule>
void keep_rule(Trial& trial) {
    for (const elf::Objection& objection : elf::objections(trial.subject.reading)) {
        if (objection.rule == rule) throw Failed{"a file that the kernel loads", objection.text};
    }
}

void know_role(Trial& trial) {
    const std::string& role = trial.subject.reading.note.role;
    if (std::ranges::find(kInterfaces, elf::role_interface(role)) != kInterfaces.end()) return;
    std::string known;
    for (std::string_view interface : kInterfaces) known += (known.empty() ? "" : ", ") + std::string(interface);
    throw Failed{"a role with one of the interfaces " + known, role};
}

void describe(Trial& trial) {
    const elf::Note& note = trial.subject.reading.note;
    for (const auto& [what, value] :
         {std::pair{"name", &note.name}, {"license", &note.license}, {"description", &note.description}}) {
        expect(!value->empty(), std::string("a line '") + what + "' in the metadata", "none");
    }
    for (const elf::ConfigKey& key : note.config) {
        expect(!key.doc.empty(), "a 'doc' for the configuration key '" + key.name + "'", "none");
    }
}

}  // namespace

void add_static(std::vector<Check>& out) {
    using elf::Rule;
    out.push_back({"static.file",
                   "The file is a sound shared object for this machine.",
                   "Build it as a shared library with the compiler of the machine that runs it.",
                   {},
                   &keep_rule<Rule::kFile>});
    out.push_back({"static.note",
                   "The file carries its metadata, at most 64 KiB, in an ELF note.",
                   "Build it with gantry_add_plugin(), which makes the note from plugin.toml; shorten the texts there.",
                   {"static.file"},
                   &keep_rule<Rule::kNote>});
    out.push_back({"static.abi",
                   "The plugin was built for a border that this SDK's kernel offers.",
                   "Build it with the headers of an SDK that is not newer than the kernels it is for.",
                   {"static.note"},
                   &keep_rule<Rule::kBorder>});
    out.push_back({"static.role",
                   "The role is one that the kernel knows.",
                   "Write the role in plugin.toml as the table in docs/plugins/README.md spells it.",
                   {"static.abi"},
                   &know_role});
    out.push_back({"static.description",
                   "The metadata says what the plugin and each of its keys is for.",
                   "Fill in name, license, description and the doc of every key in plugin.toml.",
                   {"static.note"},
                   &describe});
    out.push_back({"static.exports",
                   "The file exports gantry_plugin_entry and nothing else.",
                   "Link it with gantry_add_plugin(), or with a version script: { global: gantry_plugin_entry; "
                   "local: *; };",
                   {"static.file"},
                   &keep_rule<Rule::kExports>});
    out.push_back({"static.versions",
                   "glibc and libstdc++ of this machine have all the symbols that the file needs.",
                   "Build it on the oldest system that it is for.",
                   {"static.file"},
                   &keep_rule<Rule::kVersions>});
    out.push_back({"static.run-path",
                   "The file names no folder to load libraries from.",
                   "Link it without -rpath: set BUILD_WITH_INSTALL_RPATH ON and INSTALL_RPATH \"\" in CMake.",
                   {"static.file"},
                   &keep_rule<Rule::kRunPath>});
    out.push_back({"static.stack",
                   "The file asks for no executable stack.",
                   "Link it with -z noexecstack; an assembler file needs a section .note.GNU-stack.",
                   {"static.file"},
                   &keep_rule<Rule::kStack>});
    out.push_back({"static.text-relocations",
                   "The loader writes into no code of the file.",
                   "Compile every object of it with -fPIC.",
                   {"static.file"},
                   &keep_rule<Rule::kTextRelocations>});
}

}  // namespace gantry::check
