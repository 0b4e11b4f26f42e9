// SPDX-License-Identifier: Apache-2.0
//
// What a process keeps mapped of its program and libraries.
#pragma once

#include <cstddef>

namespace gantry::load {

// Unmaps the pages of files that this process reads and never wrote to: code and constants. What is needed again comes
// back from the page cache, without a disk unless memory is short; what only the start needed stays away, and the
// kernel is free to use its memory. A mapping of which the process has a page of its own (relocations, a debugger's
// breakpoint) is left as it is. Returns the bytes of the mappings that it went through; 0 where /proc cannot be read.
//
// Threads: any; others may run on meanwhile.
std::size_t drop_unused_pages();

}  // namespace gantry::load
