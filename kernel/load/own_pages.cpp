// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/own_pages.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace gantry::load {

// The form of smaps: proc_pid_smaps(5). "Anonymous:" comes after the line that names the mapping.
std::size_t drop_unused_pages() {
    std::ifstream smaps("/proc/self/smaps");
    std::size_t dropped = 0;
    std::uintptr_t from = 0, to = 0;
    for (std::string line; std::getline(smaps, line);) {
        std::uintptr_t begin = 0, end = 0;
        char access[5] = "", path[2] = "";
        const int fields = std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %*s %1s", &begin, &end, access, path);
        if (fields >= 3) {
            const bool read_only = access[0] == 'r' && access[1] == '-';
            from = begin;
            to = read_only && fields == 4 && path[0] == '/' ? end : begin;
        } else if (line.starts_with("Anonymous:") && to > from) {
            unsigned long own_kib = 1;
            std::sscanf(line.c_str(), "Anonymous: %lu", &own_kib);
            if (own_kib == 0 && ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED) == 0)
                dropped += to - from;
            to = from;
        }
    }
    return dropped;
}

}  // namespace gantry::load
