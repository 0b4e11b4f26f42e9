// SPDX-License-Identifier: Apache-2.0
//
// Programs of Gantry's own that a runtime starts (gantry-unpack, gantry-process-monitor).
#pragma once

#include <gantry/config.hpp>
#include <string>

namespace monitored {

// The absolute path of `program`: what the configuration's `key` says, else the one beside the plugin's file. Throws
// Failure(kInvalid) with what to do if there is none.
std::string find_own_program(const gantry::Config& config, const std::string& key, const std::string& program);

}  // namespace monitored
