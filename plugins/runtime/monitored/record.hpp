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
    std::int64_t cpu_quota_us = 0;  // of a tenth of a second, from the start on; 0: as it was made
    int stop_signal = 0;            // the one to send: never 0 in a whole record
    ProcessRef process;             // the container's first; none before start where a runtime makes it then
    ProcessRef monitor;             // outlives the daemon and writes the exit file
    gantry::Instant started{};      // zero: not yet
    // What lies on disk instead of in memory, with the processes that had it; 0: it runs, or has ended.
    std::int64_t checkpoint_bytes = 0;
};

// Throws Failure: kFull, kFailed; kInvalid if it is larger than load() reads.
void save(const Record& record, const std::filesystem::path& dir);
// Nothing if there is none, or one cut short (no JSON): then the container was not whole or the node lost its power.
// Members that are missing, as another version may write it, have their defaults. Throws Failure(kFailed) for what
// cannot be read or understood: the container may be alive and well, so nobody may conclude that it is not.
std::optional<Record> load(const std::filesystem::path& dir);

// [a-z0-9][a-z0-9.-]{0,62}: also what makes a name safe as the name of a file.
bool valid_name(std::string_view name);

}  // namespace monitored
