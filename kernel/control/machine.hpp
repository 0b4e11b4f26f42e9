// SPDX-License-Identifier: Apache-2.0
//
// What this machine is and how loaded it is, as Linux tells in /proc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kernel/base/result.hpp"

namespace gantry::control {

struct Memory {
    std::int64_t total_bytes = 0, available_bytes = 0;
};
Memory memory_now();

// Ticks of all cores since boot.
struct CpuTicks {
    std::uint64_t busy = 0, total = 0;
};
CpuTicks cpu_now();
std::int64_t cpu_count();

// Whether a program can listen on it now, TCP and UDP, on every address.
bool port_is_free(std::uint16_t port);

// Of the file system that `path` is on, as df(1) counts: what only root may use is not free. 0 if it cannot be told.
double disk_used_percent(const std::filesystem::path& path);

// The identity of this boot: the file's first line.
Result<std::string> read_boot_id(const std::filesystem::path& file);
// The node's own id, minted at the first start, kept in DIR/node_id.
Result<std::string> node_id(const std::filesystem::path& dir);
// A number that grows with every call on this machine, kept in DIR/session; after a lost file it still grows as long
// as the wall clock does.
Result<std::uint64_t> next_session(const std::filesystem::path& dir);

}  // namespace gantry::control
