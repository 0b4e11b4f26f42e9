// SPDX-License-Identifier: Apache-2.0
//
// What this process has at the moment: to see what a plugin leaves behind.
#pragma once

#include <functional>
#include <set>
#include <string>

namespace gantry::check {

std::size_t thread_count();
// "5 -> socket:[123]", without the one that reads the list.
std::set<std::string> open_descriptors();
std::string new_descriptors(const std::set<std::string>& before, const std::set<std::string>& now);
// Looks again for two seconds: a thread that has been joined is gone a moment later.
bool soon(const std::function<bool()>& condition);

}  // namespace gantry::check
