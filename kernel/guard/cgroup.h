/* SPDX-License-Identifier: Apache-2.0
 *
 * One cgroup that can be frozen and killed, by its folder: in a cgroup2 tree (also that of a hybrid host), or in the
 * freezer's tree of v1. Nothing here allocates or waits; where it takes more than one go, the caller comes again.
 */
#ifndef KERNEL_GUARD_CGROUP_H
#define KERNEL_GUARD_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct cgroup {
    int fd; /* of the folder */
    bool v2;
} cgroup;

/* Opens it. Answers 0 or an errno: ENOENT, ENOTSUP (neither cgroup.kill nor freezer.state is there), ... */
int cgroup_open(cgroup* group, const char* folder);
void cgroup_close(cgroup* group);
/* Whether this process is in it or below. */
bool cgroup_has(const cgroup* group, pid_t pid);
/* Freezes it and sends SIGKILL to all that is in it and below. True once nothing is; it is then left frozen. A folder
 * that is gone has nothing in it. */
bool cgroup_kill(const cgroup* group);
void cgroup_thaw(const cgroup* group);

#endif
