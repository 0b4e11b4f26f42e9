// SPDX-License-Identifier: Apache-2.0
//
// Where a plugin's code may run, decided from everything that is known of its file and its past.
#pragma once

#include <cstdint>
#include <string>

#include "kernel/crash/record.hpp"
#include "kernel/trust/verifier.hpp"

namespace gantry::host {

struct Case {
    trust::Origin origin;
    bool require_signature = false;
    bool asked = false;     // isolation = "process" in its table
    bool isolable = true;   // its role can run in a process of its own
    bool required = false;  // gantryd does not run without it
    crash::Standing crashes;
};

enum class Where : std::uint8_t { kInProcess, kIsolated, kRefused };

struct Ruling {
    Where where = Where::kInProcess;
    std::string why;  // empty if it is as the table says
};

Ruling decide(const Case& c);

}  // namespace gantry::host
