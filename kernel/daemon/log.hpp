// SPDX-License-Identifier: Apache-2.0
//
// The daemon's own log: lines on standard error; where that is systemd's journal, entries with PRIORITY and GANTRY_PART
// (the plugin or the part of gantryd that speaks). The only file that knows the logging library.
#pragma once

#include <string_view>

#include "kernel/host/host.hpp"

namespace gantry::daemon {

// plain: the text alone, for a program that reads it.
void open_log(host::LogLevel level, bool plain = false);
void log(host::LogLevel level, std::string_view who, std::string_view text);

}  // namespace gantry::daemon
