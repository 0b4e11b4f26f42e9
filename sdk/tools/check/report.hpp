// SPDX-License-Identifier: Apache-2.0
//
// How results are shown.
#pragma once

#include "sdk/tools/check/runner.hpp"

namespace gantry::check {

// For people: one line for a result, with an indented explanation where there is something to do.
std::string line_of(const Result& result);
// "62 checks: 58 passed, 1 warned, 1 failed, 0 crashed, 2 skipped in 3.2 s".
std::string summary(const std::vector<Result>& results);
std::string json_of(const Subject& subject, std::uint64_t seed, const std::vector<Result>& results);
std::string junit_of(const Subject& subject, std::uint64_t seed, const std::vector<Result>& results);
// A failure or a crash among them.
bool any_bad(const std::vector<Result>& results);

}  // namespace gantry::check
