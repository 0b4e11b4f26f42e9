// SPDX-License-Identifier: Apache-2.0
//
// Runs the real `gantry`.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace gantry::cli {

struct Ran {
    int status = -1;  // 128 + signal if it was killed
    std::string out, err;
};

struct RunOptions {
    std::string input{};                     // standard input
    bool terminal = false;                   // standard output and error are one terminal, 100 columns; all is in `out`
    std::vector<std::string> environment{};  // "NAME=value"
    // Called with what standard output gave so far; true: send SIGINT (once).
    std::function<bool(const std::string&)> interrupt_when{};
};

// Ends it after 30 s: status 137 then.
Ran run_gantry(std::vector<std::string> arguments, const RunOptions& options = {});

}  // namespace gantry::cli
