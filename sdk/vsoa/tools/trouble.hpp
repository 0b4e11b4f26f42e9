// How the vsoa command fails: an exit status (docs/vsoa-tools.md lists them) and a sentence for the user.
#pragma once

#include <stdexcept>
#include <string>

namespace vsoa::tools {

namespace exit_status {
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;         // refused or failed
inline constexpr int kUsage = 2;          // the command line is wrong
inline constexpr int kNotFound = 3;       // no such name, url or file
inline constexpr int kTimedOut = 4;       // connected, but no answer in time
inline constexpr int kUnreachable = 5;    // no VSOA server there
inline constexpr int kBadData = 65;       // an input is not what it should be (EX_DATAERR)
inline constexpr int kNoPermission = 77;  // wrong password, or the system does not allow it (EX_NOPERM)
inline constexpr int kInterrupted = 130;
}  // namespace exit_status

/// Ends a command. Thrown only between the loop's steps, never through a callback of the library.
class Failure : public std::runtime_error {
  public:
    Failure(int exit, const std::string& message) : std::runtime_error(message), status(exit) {}
    int status;
};

/// The word for an exit status in JSON errors.
const char* word_of(int status);

}  // namespace vsoa::tools
