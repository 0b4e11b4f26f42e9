/* SPDX-License-Identifier: Apache-2.0
 *
 * gantry-guard FOLDER: kills containers whose lease is over, whatever has become of gantryd.
 *
 * One per node; it is started by gantryd with the state folder, goes on without it, and ends when no deadline is held
 * and nobody is connected. It is one thread and one loop, allocates nothing, is locked in memory, and asks to be the
 * last that the kernel kills for want of memory; where it may not be, it says so (GUARD_HELLO).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "kernel/guard/cgroup.h"
#include "kernel/guard/protocol.h"

#define LOCK "guard.lock"
#define MS INT64_C(1000000)

enum { kAgainMs = 2, kWatchMs = 50, kSoonMs = 1000, kTries = 25 };

typedef struct held {
    bool used, expired;
    int64_t deadline, killed, look_at;
    cgroup group;
    char name[sizeof((guard_message*)0)->name];
    char folder[sizeof((guard_message*)0)->folder];
} held;

static held g_held[GUARD_ENTRIES];
static int g_client = -1, g_listener = -1, g_timer = -1;
static pid_t g_client_pid;
static int g_listed = -1;  // entries that the list under way has passed
static guard_message g_list;
static uint32_t g_flags;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 * MS + t.tv_nsec;
}

// --- deadlines ------------------------------------------------------------------------------------------------------

static void say(guard_message message) {
    message.version = GUARD_VERSION;
    // A client that does not read loses it; what happened is in the list.
    if (g_client >= 0) (void)!send(g_client, &message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static guard_message about(const held* h, uint32_t kind) {
    guard_message out = {.kind = kind, .deadline_ns = h->deadline, .killed_ns = h->killed};
    if (h->expired) out.flags = GUARD_EXPIRED;
    memcpy(out.name, h->name, sizeof out.name);
    memcpy(out.folder, h->folder, sizeof out.folder);
    return out;
}

static void look(held* h, int64_t now) {
    h->expired = true;
    if (!cgroup_kill(&h->group)) {
        // Quickly while it can be a matter of milliseconds; what hangs in the kernel is not hurried.
        h->look_at = now + (now < h->deadline + kSoonMs * MS ? kAgainMs : kWatchMs) * MS;
        h->killed = 0;
        return;
    }
    h->look_at = now + kWatchMs * MS;  // somebody may thaw it, or move a process there
    if (h->killed != 0) return;
    h->killed = now_ns();
    say(about(h, GUARD_KILLED));
}

static void keep_deadlines(void) {
    int64_t next = INT64_MAX;
    for (held* h = g_held; h != g_held + GUARD_ENTRIES; ++h) {
        if (!h->used) continue;
        const int64_t now = now_ns();
        if (now >= h->look_at) look(h, now);
        if (h->look_at < next) next = h->look_at;
    }
    struct itimerspec at = {0};
    if (next != INT64_MAX) {
        if (next < 1) next = 1;
        at.it_value.tv_sec = next / (1000 * MS);
        at.it_value.tv_nsec = next % (1000 * MS);
    }
    timerfd_settime(g_timer, TFD_TIMER_ABSTIME, &at, NULL);
}

// --- requests -------------------------------------------------------------------------------------------------------

static held* find(const char* name) {
    for (held* h = g_held; h != g_held + GUARD_ENTRIES; ++h)
        if (h->used && strcmp(h->name, name) == 0) return h;
    return NULL;
}

static held* room(void) {
    for (held* h = g_held; h != g_held + GUARD_ENTRIES; ++h)
        if (!h->used) return h;
    return NULL;
}

static int begin(const guard_message* m) {
    held* h = room();
    if (!h) return ENOSPC;
    const int error = cgroup_open(&h->group, m->folder);
    if (error) return error;
    if (cgroup_has(&h->group, getpid()) || cgroup_has(&h->group, g_client_pid)) {
        cgroup_close(&h->group);
        return EPERM;
    }
    memcpy(h->name, m->name, sizeof h->name);
    memcpy(h->folder, m->folder, sizeof h->folder);
    h->deadline = h->look_at = m->deadline_ns;
    h->killed = 0;
    h->expired = false;
    h->used = true;
    return 0;
}

static int arm(const guard_message* m) {
    const bool texts = memchr(m->name, 0, sizeof m->name) && memchr(m->folder, 0, sizeof m->folder);
    if (!texts || !m->name[0] || m->folder[0] != '/') return EINVAL;
    held* h = find(m->name);
    // Its deadline may have passed while this was on its way.
    if (h && (h->expired || now_ns() >= h->deadline)) return ESTALE;
    if (now_ns() >= m->deadline_ns) return ETIME;
    if (!h) return begin(m);
    if (strcmp(h->folder, m->folder) != 0) return EINVAL;
    if (m->deadline_ns > h->deadline) h->deadline = h->look_at = m->deadline_ns;
    return 0;
}

static int disarm(const guard_message* m) {
    if (!memchr(m->name, 0, sizeof m->name)) return EINVAL;
    held* h = find(m->name);
    if (!h) return 0;
    if (h->expired) cgroup_thaw(&h->group);
    cgroup_close(&h->group);
    h->used = false;
    return 0;
}

static void hang_up(void) {
    if (g_client >= 0) close(g_client);
    g_client = g_listed = -1;
}

// As far as the client reads: deadlines do not wait for it.
static void go_on_listing(void) {
    for (; g_listed < GUARD_ENTRIES; ++g_listed) {
        const held* h = &g_held[g_listed];
        if (!h->used) continue;
        guard_message entry = about(h, GUARD_ENTRY);
        entry.version = GUARD_VERSION;
        entry.id = g_list.id;
        if (send(g_client, &entry, sizeof entry, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) continue;
        if (errno != EAGAIN) hang_up();
        return;
    }
    g_listed = -1;
    say(g_list);
}

static void answer(guard_message m) {
    m.status = EPROTO;
    if (m.version == GUARD_VERSION) {
        if (m.kind == GUARD_HELLO) m.status = 0;
        if (m.kind == GUARD_ARM) m.status = arm(&m);
        if (m.kind == GUARD_DISARM) m.status = disarm(&m);
        if (m.kind == GUARD_LIST) m.status = 0;
    }
    m.flags = g_flags;
    if (m.kind != GUARD_LIST || m.status != 0) return say(m);
    g_list = m;
    g_listed = 0;
    go_on_listing();
}

static void hear(void) {
    guard_message m;
    const ssize_t n = recv(g_client, &m, sizeof m, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n == sizeof m) return answer(m);
    hang_up();  // gone, or not of ours
}

static void welcome(void) {
    const int fd = accept4(g_listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    const bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 &&
                       (peer.uid == 0 || peer.uid == geteuid());
    if (!known) {
        close(fd);
        return;
    }
    hang_up();
    g_client = fd;
    g_client_pid = peer.pid;
}

// --- start ----------------------------------------------------------------------------------------------------------

static void fail(const char* what) {
    fprintf(stderr, "gantry-guard: %s: %s\n", what, strerror(errno));
    exit(1);
}

// Of two the second one ends: the first holds the deadlines.
static void be_the_only_one(void) {
    const int lock = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) fail(LOCK);
    // One that is just being killed has it for a moment.
    const struct timespec pause = {0, kAgainMs * MS};
    for (int tries = 0; flock(lock, LOCK_EX | LOCK_NB) != 0; ++tries) {
        if (errno != EWOULDBLOCK) fail(LOCK);
        if (tries == kTries) exit(0);
        nanosleep(&pause, NULL);
    }
}

static void open_door(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = GUARD_SOCKET};
    g_listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g_listener < 0) fail("socket");
    unlink(GUARD_SOCKET);
    umask(0077);
    if (bind(g_listener, (struct sockaddr*)&address, sizeof address) != 0) fail(GUARD_SOCKET);
    g_timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (g_timer < 0) fail("timerfd");
}

static void outlive_others(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)setpriority(PRIO_PROCESS, 0, -20);
    const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        if (write(score, "-1000", 5) == 5) g_flags |= GUARD_LAST_KILLED;
        close(score);
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0) g_flags |= GUARD_LOCKED;
}

// Away from whoever started it: its session, its terminal, its files. The process that was started ends when the one
// that stays listens: by who listens the socket tells clients whose it is.
static void part(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child > 0) {
        close(ends[1]);
        char listens = 0;
        _exit(read(ends[0], &listens, 1) == 1 ? 0 : 1);
    }
    if (listen(g_listener, 4) != 0) fail("listen");
    setsid();
    const int ignored[] = {SIGHUP, SIGINT, SIGPIPE, SIGTERM};  // a unit that is stopped signals all of it
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; ++i) signal(ignored[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; ++i) dup2(null, i);
    if (null > 2) close(null);
    close(ends[0]);
    (void)!write(ends[1], "1", 1);
    close(ends[1]);
}

static bool idle(void) {
    if (g_client >= 0) return false;
    for (const held* h = g_held; h != g_held + GUARD_ENTRIES; ++h)
        if (h->used) return false;
    return true;
}

int main(int argc, char** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: gantry-guard STATE_FOLDER\nHolds the leases of gantryd, which starts it.\n");
        return 2;
    }
    if (chdir(argv[1]) != 0) fail(argv[1]);
    close_range(3, ~0U, 0);
    be_the_only_one();
    open_door();
    part();
    outlive_others();
    // Who started it is about to connect.
    for (int64_t alone_since = now_ns(); !idle() || now_ns() < alone_since + kSoonMs * MS;) {
        if (!idle()) alone_since = INT64_MIN / 2;
        keep_deadlines();
        const short wanted = g_listed >= 0 ? POLLOUT : POLLIN;
        struct pollfd fds[] = {{g_timer, POLLIN, 0}, {g_listener, POLLIN, 0}, {g_client, wanted, 0}};
        if (poll(fds, 3, idle() ? kSoonMs : -1) < 0 && errno != EINTR) return 1;
        uint64_t fired;
        (void)!read(g_timer, &fired, sizeof fired);
        // First what the client has said, even if it is gone and the next one waits.
        if (fds[2].revents && g_listed >= 0)
            go_on_listing();
        else if (fds[2].revents)
            hear();
        else if (fds[1].revents)
            welcome();
    }
    unlink(GUARD_SOCKET);
    return 0;
}
