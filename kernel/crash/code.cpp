// SPDX-License-Identifier: Apache-2.0
#include "kernel/crash/code.hpp"

#include <link.h>
#include <unwind.h>

#include <atomic>

namespace gantry::crash {
namespace {

constexpr int kCallsMax = 256;  // of a stack that is looked at

struct Range {
    std::uintptr_t begin = 0, end = 0;
};
struct Object {
    Range code;
    Subject plugin;
};

// Filled in before it is counted, and never changed: a handler reads it while the loop adds to it.
std::array<Object, kObjectsMax> objects;
std::atomic<std::size_t> object_count{0};

struct Search {
    std::uintptr_t within;
    Range code;
};

// The executable part of the object that the search is for.
int look_at(dl_phdr_info* info, std::size_t, void* arg) {
    Search& search = *static_cast<Search*>(arg);
    bool holds = false;
    Range code{UINTPTR_MAX, 0};
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& part = info->dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr, end = begin + part.p_memsz;
        holds = holds || (search.within >= begin && search.within < end);
        if ((part.p_flags & PF_X) == 0) continue;
        code = {std::min(code.begin, begin), std::max(code.end, end)};
    }
    if (!holds || code.end == 0) return 0;
    search.code = code;
    return 1;
}

struct Walk {
    const Subject* found = nullptr;
    int calls = 0;
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* arg) {
    Walk& walk = *static_cast<Walk*>(arg);
    walk.found = owner_of(_Unwind_GetIP(context));
    return walk.found != nullptr || ++walk.calls >= kCallsMax ? _URC_END_OF_STACK : _URC_NO_REASON;
}

}  // namespace

void claim(const void* within, const Subject& plugin) {
    Search search{reinterpret_cast<std::uintptr_t>(within), {}};
    const std::size_t count = object_count.load(std::memory_order_relaxed);
    if (::dl_iterate_phdr(&look_at, &search) == 0 || owner_of(search.code.begin) != nullptr || count == kObjectsMax)
        return;
    objects[count] = {search.code, plugin};
    object_count.store(count + 1, std::memory_order_release);
}

const Subject* owner_of(std::uintptr_t address) {
    const std::size_t count = object_count.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i)
        if (address >= objects[i].code.begin && address < objects[i].code.end) return &objects[i].plugin;
    return nullptr;
}

// glibc finds the tables for this without a lock (_dl_find_object); a stack that misleads it costs no more than the
// name.
const Subject* owner_of_calls() {
    Walk walk;
    _Unwind_Backtrace(&step, &walk);
    return walk.found;
}

}  // namespace gantry::crash
