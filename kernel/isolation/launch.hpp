// SPDX-License-Identifier: Apache-2.0
//
// How gantry-plugin-host is started, what it is told first, and what became of it.
#pragma once

#include <gantry/abi/entry.h>
#include <signal.h>

#include <filesystem>
#include <span>
#include <string>

#include "kernel/base/result.hpp"
#include "kernel/isolation/wire.hpp"

namespace gantry::isolation {

struct Launched {
    std::int64_t pid = 0;
    Fd socket, pidfd;  // the socket does not block
};

// program: absolute path of gantry-plugin-host. plugin_file stays the caller's; the program has it as its descriptor.
Result<Launched> launch(const std::filesystem::path& program, int plugin_file);

// Kind::kInit, sealed.
struct Beginning {
    std::string_view title, interface;
    std::int64_t memory_max_bytes = 0;  // 0: it is not limited there
    bool has_tree = false;
    std::int64_t file_size = 0, file_modified_ns = 0;  // of the file when it was checked
    std::span<const std::string> permissions;
};
std::string init_message(const Beginning& beginning, const gantry_config& config);

// Waits half a second for the end of a child that was killed, or whose socket ended; si_pid is 0 if it did not come.
siginfo_t collect(int pidfd);
// "it was killed by signal 11 (Segmentation fault)"
std::string describe_end(const siginfo_t& info);

}  // namespace gantry::isolation
