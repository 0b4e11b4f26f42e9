// SPDX-License-Identifier: Apache-2.0
//
// How a command fails: an exit status (docs/cli.md) and what to tell the user.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "kernel/base/result.hpp"

namespace gantry::cli {

namespace exit_status {
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;       // the request was refused or failed
inline constexpr int kUsage = 2;        // the command line is wrong
inline constexpr int kNotFound = 3;     // no such thing
inline constexpr int kNotReady = 4;     // timed out, or ended before it was ready
inline constexpr int kUnreachable = 5;  // no gantryd at the socket
inline constexpr int kBadData = 65;     // a manifest or an image is wrong (EX_DATAERR)
inline constexpr int kInterrupted = 130;
}  // namespace exit_status

// The status that a code of the API stands for.
int status_of(Code code);

struct Trouble {
    // Implicit, so that a Result's error can be handed on.
    Trouble(Error what) : status(status_of(what.code)), error(std::move(what)) {}
    Trouble(int exit, Error what) : status(exit), error(std::move(what)) {}

    int status;
    Error error;
};

template <class T>
using Outcome = std::expected<T, Trouble>;

std::unexpected<Trouble> trouble(int status, Code code, std::string message, std::string where = {});
std::unexpected<Trouble> interrupted_trouble();

}  // namespace gantry::cli
