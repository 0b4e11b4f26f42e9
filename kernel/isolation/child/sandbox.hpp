// SPDX-License-Identifier: Apache-2.0
//
// What a plugin's process may do, from the permissions in its plugin.toml; docs/plugins/isolation.md has the table.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernel/base/result.hpp"

namespace gantry::isolation {

struct Permissions {
    bool files = false;    // writes files
    bool network = false;  // makes sockets
    bool root = false;     // does what gantryd may do, and starts programs; implies the others
    static Permissions of(std::span<const std::string_view> names);
};

// Confines this process for good, with all the threads it will have. memory_max_bytes 0: no limit. Called before a line
// of the plugin has run and before there is a second thread. Errors: what the system does not offer.
Status confine(const Permissions& permissions, std::int64_t memory_max_bytes);

}  // namespace gantry::isolation
