// SPDX-License-Identifier: Apache-2.0
//
// Handover: what one gantryd tells the next one in the same process (ADR 14). It travels as a memory file with
// descriptors beside it; GANTRY_HANDOVER has its number.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/control/files.hpp"
#include "kernel/host/host.hpp"

namespace gantry::daemon {

using Files = std::map<std::string, host::ChosenFile, std::less<>>;  // of plugins, by their titles

struct Handover {
    std::string path;                  // of the program that was started first
    std::string what;                  // "placement.least-loaded", "the configuration"; for people
    std::string plugin;                // what is exchanged; empty: the configuration
    std::vector<std::string> changed;  // keys of the configuration
    std::string config;                // the text to run with
    Files files;                       // that are not those of the plugin path
    std::vector<std::string> running;  // plugins that must run afterwards
    std::string failed;                // the one that came before did not start, and why: this one is the way back

    // The way back, if there is one.
    int program = -1;  // the gantryd that ran before
    std::string config_before;
    Files files_before;

    std::vector<control::FileDescriptor> owned;  // what was taken over
};

// Ready to be passed on: a text that names descriptors by the numbers they shall have.
struct Parcel {
    std::string text;
    std::vector<std::pair<int, int>> descriptors;  // number it shall have, number it has
};
// The numbers begin behind `first`, which is the text's own.
Parcel pack(const Handover& handover, int first);

// Takes what GANTRY_HANDOVER says, and unsets it. nullptr: there is none. Errors: it cannot be read.
Result<std::unique_ptr<Handover>> take_handover();
// A memory file with that text, at its beginning; empty if there is no memory.
control::FileDescriptor text_file(std::string_view text);

}  // namespace gantry::daemon
