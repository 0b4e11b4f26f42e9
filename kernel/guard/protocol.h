/* SPDX-License-Identifier: Apache-2.0
 *
 * What gantryd and gantry-guard say to each other over the socket GUARD_SOCKET in the state folder: one guard_message
 * per packet (SOCK_SEQPACKET), all of one size, in the machine's byte order. gantryd asks; each request is answered by
 * a message of its kind and id. Both check by the socket that the other one is root or their own user. A guard talks to
 * one client, the newest.
 *
 * Deadlines are instants of CLOCK_BOOTTIME in nanoseconds.
 */
#ifndef KERNEL_GUARD_PROTOCOL_H
#define KERNEL_GUARD_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

#define GUARD_VERSION 1u
#define GUARD_SOCKET "guard.sock"
#define GUARD_ENTRIES 1000 /* containers at once: what a node may have */

/* Who the guard is: flags GUARD_LOCKED, GUARD_LAST_KILLED. */
#define GUARD_HELLO 1u
/* Hold a deadline for name, whose cgroup is folder: one below a cgroup2 mount, or on v1 below the freezer's. For one
 * that is held, a later deadline takes the place of the earlier; an earlier one changes nothing. status: ETIME (the
 * deadline has passed), ESTALE (name has expired), ENOENT, ENOTSUP (no cgroup that can be killed), EPERM (the guard or
 * the client is in it), ENOSPC, EINVAL. */
#define GUARD_ARM 2u
/* The container is gone: thaw, forget. Not an error for a name that is not held. */
#define GUARD_DISARM 3u
/* Answered by a GUARD_ENTRY for each that is held, then by itself. */
#define GUARD_LIST 4u
#define GUARD_ENTRY 5u
/* Not asked for: the deadline of name has passed and nothing of it runs any more, since killed_ns. */
#define GUARD_KILLED 6u

#define GUARD_LOCKED 1u      /* its memory is locked */
#define GUARD_LAST_KILLED 2u /* its OOM score is the lowest */
#define GUARD_EXPIRED 4u     /* of an entry: its deadline has passed */

typedef struct guard_message {
    uint32_t version; /* GUARD_VERSION; another one is answered with status EPROTO and nothing else */
    uint32_t kind;
    uint64_t id;         /* of the request, any number but 0 */
    int64_t deadline_ns; /* of name */
    int64_t killed_ns;   /* 0: something may run */
    int32_t status;      /* of an answer: 0 or an errno */
    uint32_t flags;
    char name[72];    /* of the container, ends with 0 */
    char folder[256]; /* absolute, ends with 0 */
} guard_message;

static_assert(sizeof(guard_message) == 368, "layout");

#endif
