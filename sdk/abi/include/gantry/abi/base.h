/* SPDX-License-Identifier: Apache-2.0
 *
 * Words every table of the border is made of.
 *
 * Conventions of all headers in this folder:
 *  - Text is UTF-8 with a length, not NUL-terminated. Durations and instants are int64_t nanoseconds; instants are
 *    CLOCK_BOOTTIME unless a name says wall.
 *  - Arguments live until the slot returns. Results live until ops/1 complete() returns: the host copies. Nobody
 *    frees memory of the other side.
 *  - Tables begin with struct_size (bytes, set by the side that fills the table) and only grow at the end. A slot
 *    that lies beyond struct_size, or that is NULL, answers GANTRY_UNSUPPORTED.
 *  - A slot is a notification (returns whether it was accepted, nothing more comes) or an operation (takes a
 *    gantry_op; if it returns GANTRY_OK exactly one ops/1 complete() follows, otherwise none).
 *  - Thread tags: [loop] the loop thread of the process that hosts the plugin, return within 5 ms; [worker] a thread
 *    of the host's pool, may block until the deadline; [any] every thread.
 *  - No slot lets an exception out.
 */
#ifndef GANTRY_ABI_BASE_H
#define GANTRY_ABI_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define GANTRY_NOEXCEPT noexcept
#define GANTRY_EXTERN_C_BEGIN extern "C" {
#define GANTRY_EXTERN_C_END }
#define GANTRY_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define GANTRY_NOEXCEPT
#define GANTRY_EXTERN_C_BEGIN
#define GANTRY_EXTERN_C_END
#define GANTRY_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

GANTRY_EXTERN_C_BEGIN

/* Version of the border. A kernel loads a plugin whose major is its own and whose minor is not greater than its own; of
 * a role that is a draft only what was built for exactly its own version. */
#define GANTRY_ABI_MAJOR 1
#define GANTRY_ABI_MINOR 1

typedef struct gantry_str {
    const char* ptr; /* may be NULL when len is 0 */
    size_t len;      /* bytes */
} gantry_str;

typedef struct gantry_bytes {
    const uint8_t* ptr; /* may be NULL when len is 0 */
    size_t len;
} gantry_bytes;

typedef struct gantry_kv {
    gantry_str key;
    gantry_str value;
} gantry_kv;

/* What a slot answers and how an operation ends. */
typedef int32_t gantry_status;
#define GANTRY_OK 0
#define GANTRY_UNSUPPORTED 1 /* the slot or this use of it is not offered */
#define GANTRY_INVALID 2     /* an argument breaks the contract; a retry cannot help */
#define GANTRY_NOT_FOUND 3
#define GANTRY_EXISTS 4
#define GANTRY_CONFLICT 5    /* something changed since the caller looked */
#define GANTRY_FULL 6        /* no room: queue, disk, quota; a retry may help */
#define GANTRY_UNAVAILABLE 7 /* the thing asked for is not reachable now; a retry may help */
#define GANTRY_DEADLINE 8    /* the time given ran out */
#define GANTRY_CANCELLED 9
#define GANTRY_STALE 10           /* a finished operation, a stopped plugin, an old handle: nothing was done */
#define GANTRY_DENIED 11          /* not permitted to this caller */
#define GANTRY_FAILED 12          /* everything else */
#define GANTRY_OUTCOME_UNKNOWN 13 /* it may have happened or not: look before you act */

/* True if `table` is there, is long enough to hold `slot`, and has it filled. */
#define GANTRY_HAS(table, slot)                                                                                       \
    ((table) != NULL && (size_t)((const char*)(&(table)->slot + 1) - (const char*)(table)) <= (table)->struct_size && \
     (table)->slot != NULL)

/* Text of a failure, in a buffer of the caller. The callee writes at most text_cap bytes and sets text_len. */
typedef struct gantry_error {
    uint32_t struct_size;
    uint32_t text_cap; /* bytes at text */
    char* text;
    uint32_t text_len; /* bytes written */
    uint32_t reserved; /* 0 */
} gantry_error;

/* One asynchronous operation, owned by the host. */
typedef struct gantry_op {
    uint64_t id;         /* never 0; never used twice by one host */
    int64_t deadline_ns; /* CLOCK_BOOTTIME; afterwards the host ends it as GANTRY_OUTCOME_UNKNOWN */
} gantry_op;

GANTRY_STATIC_ASSERT(sizeof(void*) == 8, "the border is defined for 64-bit machines");
GANTRY_STATIC_ASSERT(sizeof(gantry_str) == 16, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_kv) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_error) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_op) == 16, "layout");

GANTRY_EXTERN_C_END

#endif
