// SPDX-License-Identifier: Apache-2.0
//
// Runs checks in child processes and says what came out.
#pragma once

#include <functional>

#include "sdk/tools/check/check.hpp"

namespace gantry::check {

struct Result {
    const Check* check = nullptr;
    Outcome outcome = Outcome::kSkip;
    std::string expected, got;  // of fail, crash, warn
    std::string reason;         // of skip; "lifecycle.run failed" if it rests on one that did not pass
    std::string remarks;        // figures
    std::string output;         // the last lines that the plugin wrote to standard output and error
    double seconds = 0;
    bool blocks = true;  // what needs this check is skipped
};

// Runs those of `checks` that `wanted` takes, and what they need, in order; `told` hears of each as it ends. Children
// of children that a check leaves behind are killed. The calling process must have one thread.
std::vector<Result> run_checks(const Subject& subject, const std::vector<Check>& checks,
                               const std::function<bool(const Check&)>& wanted, std::uint64_t seed,
                               const std::function<void(const Result&)>& told);

}  // namespace gantry::check
