/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "kernel/guard/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kDepth = 16 };  // of groups below a container's own

static bool put(int folder, const char* file, const char* text) {
    const int fd = openat(folder, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t size = (ssize_t)strlen(text);
    const bool good = write(fd, text, (size_t)size) == size;
    close(fd);
    return good;
}

int cgroup_open(cgroup* group, const char* folder) {
    group->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group->fd < 0) return errno;
    group->v2 = faccessat(group->fd, "cgroup.kill", W_OK, 0) == 0;
    if (group->v2 || faccessat(group->fd, "freezer.state", W_OK, 0) == 0) return 0;
    cgroup_close(group);
    return ENOTSUP;
}

void cgroup_close(cgroup* group) {
    if (group->fd >= 0) close(group->fd);
    group->fd = -1;
}

typedef struct walk {
    pid_t wanted;  // 0: all get SIGKILL
    bool found;    // the wanted one, or any
} walk;

static void look_at(walk* w, pid_t pid) {
    if (pid <= 0 || (w->wanted != 0 && w->wanted != pid)) return;
    w->found = true;
    if (w->wanted == 0) kill(pid, SIGKILL);
}

static void walk_pids(int folder, walk* w) {
    const int fd = openat(folder, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    char text[4096];
    pid_t pid = 0;
    for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;) {
        for (ssize_t i = 0; i < n; ++i) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else {
                look_at(w, pid);
                pid = 0;
            }
        }
    }
    look_at(w, pid);
    close(fd);
}

struct entry64 {  // of getdents64(2): readdir would allocate
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static void walk_groups(int folder, walk* w, int depth) {
    walk_pids(folder, w);
    if (depth == kDepth) return;
    const int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    _Alignas(struct entry64) char block[2048];
    for (long n; (n = syscall(SYS_getdents64, fd, block, sizeof block)) > 0;) {
        for (long at = 0; at < n;) {
            const struct entry64* entry = (const struct entry64*)(block + at);
            at += entry->size;
            if (entry->type != 4 /* DT_DIR */ || entry->name[0] == '.') continue;
            const int below = openat(fd, entry->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (below < 0) continue;
            walk_groups(below, w, depth + 1);
            close(below);
        }
    }
    close(fd);
}

bool cgroup_has(const cgroup* group, pid_t pid) {
    walk w = {pid, false};
    walk_groups(group->fd, &w, 0);
    return w.found;
}

static bool populated(const cgroup* group) {
    const int fd = openat(group->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    char text[256];
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0) return errno != ENODEV;
    text[n] = 0;
    return strstr(text, "populated 1") != NULL;
}

bool cgroup_kill(const cgroup* group) {
    if (group->v2) {
        // Frozen first: what is moved here later stays still until the next kill.
        put(group->fd, "cgroup.freeze", "1");
        if (!populated(group)) return true;
        put(group->fd, "cgroup.kill", "1");
        return !populated(group);
    }
    put(group->fd, "freezer.state", "FROZEN");  // they cannot multiply
    walk w = {0, false};
    walk_groups(group->fd, &w, 0);
    if (!w.found) return true;
    put(group->fd, "freezer.state", "THAWED");  // they cannot die frozen
    return false;
}

void cgroup_thaw(const cgroup* group) {
    put(group->fd, group->v2 ? "cgroup.freeze" : "freezer.state", group->v2 ? "0" : "THAWED");
}
