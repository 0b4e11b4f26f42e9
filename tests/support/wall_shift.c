/* SPDX-License-Identifier: Apache-2.0
 *
 * Loaded into a program (LD_PRELOAD), lets its wall clock show more seconds than the machine's: as many as the file
 * GANTRY_TEST_AHEAD holds at that moment, eight bytes in the machine's order. Clocks that count from a boot are left as
 * they are: for those a host has a time namespace.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t* ahead;

__attribute__((constructor)) static void begin(void) {
    const char* path = getenv("GANTRY_TEST_AHEAD");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void* seen = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (seen == MAP_FAILED) {
        perror("wall_shift: GANTRY_TEST_AHEAD");
        abort();
    }
    ahead = seen;
}

int clock_gettime(clockid_t clock, struct timespec* at) {
    const int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval* restrict at, void* restrict zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t* at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
