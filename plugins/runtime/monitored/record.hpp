// SPDX-License-Identifier: Apache-2.0
//
// Record: what is kept on disk about one container, in <state_dir>/containers/<name>/record.json. It is written when
// the container is whole; a folder without one was being made when the daemon died.
#pragma once

#include <filesystem>
#include <gantry/runtime.hpp>
#include <optional>

#include "plugins/runtime/monitored/process.hpp"

namespace monitored {

struct Record {
    std::string name, image;
    gantry::Labels labels;
    int stop_signal = 0;        // the one to send: never 0 in a whole record
    ProcessRef process;         // the container's first; none before start where a runtime makes it then
    ProcessRef monitor;         // outlives the daemon and writes the exit file
    gantry::Instant started{};  // zero: not yet
};

void save(const Record& record, const std::filesystem::path& dir);
// Nothing if it is absent or unreadable.
std::optional<Record> load(const std::filesystem::path& dir);

// [a-z0-9][a-z0-9.-]{0,62}: also what makes a name safe as the name of a file.
bool valid_name(std::string_view name);

}  // namespace monitored
