// SPDX-License-Identifier: Apache-2.0
//
// Two pieces of work that are compared: medians of batches in turns, a ratio, its limit.
#pragma once

#include <functional>
#include <utility>

namespace bench {

// Seconds of one call of each.
std::pair<double, double> in_turns(const std::function<void()>& one, const std::function<void()>& other);

// Prints the ratio of two times, in seconds; false if it is above the limit.
bool show(const char* what, double here, const char* beside, double base, double limit);

bool slot();      // of a plugin in this process, beside virtual calls
bool process();   // of a plugin in a process of its own, beside an echo
bool exchange();  // one turn of the loop at most, while a plugin gets a new process

}  // namespace bench
