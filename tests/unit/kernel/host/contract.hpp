// SPDX-License-Identifier: Apache-2.0
//
// What the plugin "contract" sees in every host, the real one and the fake one.
#pragma once

inline constexpr const char* kContractSeen =
    "file=2 folder=2 nothing=2 another's operation=10 no operation=10 its end=1 cancelled=0 a timer backwards=1 "
    "both at once=0 non-blocking=1 after close=1 ";
// The line that it logs, but for its end: what would break a log is gone.
inline constexpr const char* kContractLine = "two lines  [31mxxx";
