// SPDX-License-Identifier: Apache-2.0
//
// Witness: says after a crash of this process who it was. The file is mapped shared and written at one moment only, by
// the handler of the signal that ends the process, so what it tells survives the process (not the machine) and costs
// nothing before.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "kernel/base/result.hpp"
#include "kernel/base/time.hpp"

namespace gantry::crash {

struct Report {
    // All empty: no call into a plugin was under way on the thread that failed, and no plugin's code was on its stack
    // (code.hpp). slot is "a thread" for one that the plugin made itself.
    std::string plugin, digest, slot;
    std::string how;   // "SIGSEGV", "exit"
    std::string boot;  // of the machine
    Instant at;        // in that boot
};

// Takes what the last process with that file left, if it crashed, and watches over this one from now on: SIGSEGV,
// SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, and exit() inside a call. The signals then do what they do otherwise (a core
// file too). Once a process. Children of fork() leave no report. Errors: the file cannot be opened, or is not ours.
Result<std::optional<Report>> watch(const std::filesystem::path& file, const std::string& boot);

// A stack of its own for the handler on this thread, so that one that overflows its stack still says so. Each thread
// that calls plugins has one.
class SignalStack {
  public:
    SignalStack();
    ~SignalStack();
    SignalStack(const SignalStack&) = delete;
    SignalStack& operator=(const SignalStack&) = delete;

  private:
    std::unique_ptr<char[]> memory_;
};

}  // namespace gantry::crash
