// SPDX-License-Identifier: Apache-2.0
//
// How gantry-plugin ends: an exit status, and when it failed a sentence for the user.
#pragma once

#include <stdexcept>
#include <string>

namespace gantry::tools {

namespace exit_status {
inline constexpr int kGood = 0;
inline constexpr int kFindings = 1;   // looked at, and something is wrong with it: a check failed, a signature is bad
inline constexpr int kUsage = 64;     // the command line is wrong (EX_USAGE)
inline constexpr int kBadData = 65;   // the input is not what it should be: no plugin, no key (EX_DATAERR)
inline constexpr int kNoInput = 66;   // the input is not there or cannot be read (EX_NOINPUT)
inline constexpr int kInternal = 70;  // this program is wrong (EX_SOFTWARE)
inline constexpr int kCannotCreate = 73;  // the output is there already or cannot be written (EX_CANTCREAT)
}  // namespace exit_status

// Ends a command: main() prints "gantry-plugin: text" on standard error and exits with the status.
class Failure : public std::runtime_error {
  public:
    Failure(int exit, const std::string& text) : std::runtime_error(text), status(exit) {}
    int status;
};

}  // namespace gantry::tools
