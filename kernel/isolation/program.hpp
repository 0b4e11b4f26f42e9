// SPDX-License-Identifier: Apache-2.0
//
// What gantryd and gantry-plugin-host agree on before they can talk.
#pragma once

namespace gantry::isolation {

inline constexpr int kSocketFd = 3;  // the pair's other end
inline constexpr int kPluginFd = 4;  // the plugin's file: checked, and what gets loaded

// gantry-plugin-host PARENT_PID. Statuses with which it ends by itself:
inline constexpr int kOrphaned = 3;    // its parent is gone
inline constexpr int kNotStarted = 4;  // kReady said why

}  // namespace gantry::isolation
