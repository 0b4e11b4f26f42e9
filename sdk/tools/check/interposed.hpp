// SPDX-License-Identifier: Apache-2.0
//
// Functions of libc that this program puts in front of libc's own, for all the libraries it loads: so that a check can
// count what is allocated, and whether a thread reads a clock.
#pragma once

#include <cstddef>

namespace gantry::check {

// False in builds with sanitizers, which have allocators of their own.
bool can_count_allocations();

// Bytes that are allocated and not freed, in the whole process: exact, while what the allocator says includes what it
// keeps for later.
std::size_t bytes_allocated();

// While it lives, calls of this thread are counted.
class Watched {
  public:
    Watched();
    ~Watched();
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
    static std::size_t allocations();
    // The first clock function that was called, nullptr if none was.
    static const char* clock();
};

}  // namespace gantry::check
