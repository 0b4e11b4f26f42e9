// SPDX-License-Identifier: Apache-2.0
//
// Runs a piece of code on a thread that may only compute and allocate.
#pragma once

#include <functional>
#include <string>

namespace gantry::check {

struct Sealed {
    bool possible = true;   // false: this kernel or emulator takes no seccomp filter; `body` ran all the same
    std::string forbidden;  // the first system call that it tried, "nanosleep"; it was answered with EPERM. Empty: none
    const char* clock = nullptr;  // the first clock function that it called
};

// What `body` throws is thrown here.
Sealed run_sealed(const std::function<void()>& body);

}  // namespace gantry::check
