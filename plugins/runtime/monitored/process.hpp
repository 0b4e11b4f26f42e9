// SPDX-License-Identifier: Apache-2.0
//
// Processes of this node: who one is beyond its number, and running a program to its end.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <gantry/view.hpp>
#include <string>
#include <utility>
#include <vector>

namespace monitored {

// A process for ever: its number may be used again, its number with its start time and boot cannot.
struct ProcessRef {
    pid_t pid = 0;            // 0: none
    std::uint64_t start = 0;  // field 22 of /proc/PID/stat, clock ticks since boot
    std::string boot;         // boot id

    explicit operator bool() const { return pid > 0; }
};

// The boot id of the running kernel.
std::string current_boot();

// The living process with this number now; none if there is none or it is a zombie.
ProcessRef identify(pid_t pid);

// A pidfd of exactly this process; invalid if it is gone or a zombie. Throws Failure(kFailed) if the kernel cannot.
gantry::Fd open_process(const ProcessRef& process);

// True once the process behind the pidfd has ended; never blocks. An invalid one has ended.
bool has_ended(const gantry::Fd& process);

// Waits; true if it ended before `deadline`.
bool wait_end(const gantry::Fd& process, gantry::Instant deadline);

gantry::Instant now();  // CLOCK_BOOTTIME

struct Command {
    std::vector<std::string> argv;  // argv[0] is an absolute path
    std::vector<std::string> env;   // "NAME=value"
    std::string cwd = "/";
    // Given to the child under these numbers; 0, 1, 2 that are not named are /dev/null (2: see run).
    std::vector<std::pair<int, int>> fds;  // (number in the child, descriptor here)
    bool terminal = false;                 // its descriptor 0 is the terminal of a session of its own
};

// A program that runs.
struct Child {
    pid_t pid = 0;
    gantry::Fd process;  // its pidfd: readable when it has ended
    gantry::Fd errors;   // the file that is its stderr, unless the command gives it another
};

// Begins to run a program; the caller reaps it. Throws Failure(kFailed): it cannot be run. Waits until the program has
// taken the place of the fork, no longer. Signals are reset to their defaults in the child.
Child spawn(const Command& command);

// Whether a process carries the mark of an exec: GANTRY_EXEC=mark among the variables that it was begun with.
bool has_mark(pid_t pid, const std::string& mark);

// How it ended, once `process` is readable. Does not wait then.
int reap(const Child& child);

struct Outcome {
    int code = 0;        // exit status, 128 + signal when killed
    int signal = 0;      // that killed it
    std::string errors;  // what it wrote to its stderr, at most 4 KiB
};

// Runs a program until it ends and answers how. Its stderr is a file of its own, so that what it leaves behind in the
// background holds nothing of ours. Throws Failure: kFailed if it cannot be run, kDeadline, kCancelled (then it was
// killed). Blocks; `cancelled`, if given, is asked meanwhile.
Outcome run(const Command& command, gantry::Instant deadline, const std::function<bool()>& cancelled = {});

}  // namespace monitored
