// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/interposed.hpp"

#include <malloc.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GANTRY_OWN_ALLOCATOR 0
#else
#define GANTRY_OWN_ALLOCATOR 1
#endif

namespace {

thread_local constinit bool t_watched = false;
thread_local constinit std::size_t t_allocations = 0;
thread_local constinit const char* t_clock = nullptr;

constinit std::atomic<std::size_t> g_bytes{0};

[[maybe_unused]] void* counted(void* made) {
    if (t_watched) ++t_allocations;
    if (made != nullptr) g_bytes.fetch_add(::malloc_usable_size(made), std::memory_order_relaxed);
    return made;
}

[[maybe_unused]] void forget(std::size_t bytes) { g_bytes.fetch_sub(bytes, std::memory_order_relaxed); }

void count_clock(const char* name) {
    if (t_watched && t_clock == nullptr) t_clock = name;
}

}  // namespace

namespace gantry::check {

bool can_count_allocations() { return GANTRY_OWN_ALLOCATOR != 0; }

std::size_t bytes_allocated() {
    if (can_count_allocations()) return g_bytes;
    const auto info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
}

Watched::Watched() {
    t_allocations = 0;
    t_clock = nullptr;
    t_watched = true;
}
Watched::~Watched() { t_watched = false; }
std::size_t Watched::allocations() { return t_allocations; }
const char* Watched::clock() { return t_clock; }

}  // namespace gantry::check

// The loader gives a plugin the program's functions before libc's, whatever version it was linked with.
extern "C" {

#if GANTRY_OWN_ALLOCATOR
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* block);

void* malloc(size_t size) { return counted(__libc_malloc(size)); }
void* calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void* realloc(void* old, size_t size) {
    const size_t before = old == nullptr ? 0 : malloc_usable_size(old);
    void* const made = __libc_realloc(old, size);
    if (made != nullptr || size == 0) forget(before);
    return counted(made);
}
void* aligned_alloc(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void* memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
int posix_memalign(void** out, size_t alignment, size_t size) {
    *out = counted(__libc_memalign(alignment, size));
    return *out == nullptr ? ENOMEM : 0;
}
void free(void* block) {
    if (block != nullptr) forget(malloc_usable_size(block));
    __libc_free(block);
}
#endif

int clock_gettime(clockid_t clock, timespec* out) noexcept {
    count_clock("clock_gettime");
    return static_cast<int>(::syscall(SYS_clock_gettime, clock, out));
}
int gettimeofday(timeval* out, void*) noexcept {
    count_clock("gettimeofday");
    timespec t{};
    if (::syscall(SYS_clock_gettime, CLOCK_REALTIME, &t) != 0) return -1;
    *out = {t.tv_sec, t.tv_nsec / 1000};
    return 0;
}
time_t time(time_t* out) noexcept {
    count_clock("time");
    timespec t{};
    if (::syscall(SYS_clock_gettime, CLOCK_REALTIME, &t) != 0) return -1;
    if (out != nullptr) *out = t.tv_sec;
    return t.tv_sec;
}
clock_t clock() noexcept {
    count_clock("clock");
    timespec t{};
    if (::syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return -1;
    return t.tv_sec * CLOCKS_PER_SEC + t.tv_nsec / (1'000'000'000 / CLOCKS_PER_SEC);
}

}  // extern "C"
