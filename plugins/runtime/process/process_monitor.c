/* SPDX-License-Identifier: Apache-2.0
 *
 * gantry-process-monitor: stands between runtime/process and one plain process, and outlives the daemon.
 *
 *     gantry-process-monitor DIR EXIT_FILE LOG_MAX UID GID GROUPS CWD PROGRAM ARG0 [ARG...]
 *
 * Runs PROGRAM in a session of its own, copies what it prints to DIR/log in the format that conmon calls k8s-file, and,
 * when it ends, ends what it left behind and writes its exit status (128 + signal when killed) to EXIT_FILE. A log that
 * has LOG_MAX ("BYTES/FILES") bytes becomes DIR/log.1, that one DIR/log.2, and so on; FILES are kept beside DIR/log, so
 * that the last BYTES * FILES bytes are. Both processes are described in DIR/process ("PID START MONITOR_PID
 * MONITOR_START", START as field 22 of /proc/PID/stat) before PROGRAM begins. UID -1: no change of user; GROUPS:
 * "1,2,3" or "-".
 *
 * Descriptor 3 is a pipe to the plugin: empty and closed when PROGRAM runs, else one line that says why not. Descriptor
 * 4 is a file with PROGRAM's environment, "NAME=value" and a NUL each; the monitor has none itself. The program called
 * returns at once: the monitor is its grandchild, so that nobody but init has to reap it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kReport = 3, kEnvironment = 4, kLine = 8192, kMaxEnvironment = 16 << 20, kMaxGroups = 256 };

struct stream {
    int fd;
    const char* name;
    char line[kLine];
    size_t len;
};

static int log_fd = -1;
static long long log_max, log_size; /* log_size counts what waits in log_buffer too */
static char log_buffer[65536];
static size_t log_waiting;
static char log_path[4096], log_next[4096];
static int log_files = 2;

static void refuse(const char* what) {
    dprintf(kReport, "%s: %s\n", what, strerror(errno));
    _exit(1);
}

static unsigned long long start_of(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    char* at = strrchr(text, ')'); /* the name before it may hold anything */
    if (at == NULL) return 0;
    at += 2;
    for (int field = 3; field < 22; ++field) {
        at = strchr(at, ' ');
        if (at == NULL) return 0;
        ++at;
    }
    return strtoull(at, NULL, 10);
}

/* In one step, so that nobody reads half of it. */
static int put_file(const char* path, const char* text) {
    char next[4200];
    snprintf(next, sizeof(next), "%s.new", path);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    size_t len = strlen(text);
    int good = write(fd, text, len) == (ssize_t)len;
    close(fd);
    return good && rename(next, path) == 0 ? 0 : -1;
}

static void flush_log(void) {
    for (size_t at = 0; at < log_waiting;) {
        ssize_t n = write(log_fd, log_buffer + at, log_waiting - at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break; /* a full disk loses lines, not the process */
        at += (size_t)n;
    }
    log_waiting = 0;
}

static void keep_logs(void) {
    char from[4200], to[4200];
    for (int age = log_files; age > 0; --age) {
        snprintf(to, sizeof(to), "%s.%d", log_path, age);
        snprintf(from, sizeof(from), age > 1 ? "%s.%d" : "%s", log_path, age - 1);
        (void)!rename(from, to);
    }
}

static void open_log(void) {
    if (log_fd >= 0) flush_log();
    int fd = open(log_next, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0 && log_fd >= 0) keep_logs();
    if (fd < 0 || rename(log_next, log_path) != 0) {
        if (fd >= 0) close(fd);
        return; /* go on with the old one */
    }
    if (log_fd >= 0) close(log_fd);
    log_fd = fd;
    log_size = 0;
}

static void log_line(struct stream* s, char tag) {
    char head[96];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t n = strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &parts);
    n += (size_t)snprintf(head + n, sizeof(head) - n, ".%09ld+00:00 %s %c ", now.tv_nsec, s->name, tag);
    size_t len = n + s->len + 1;
    if (log_size >= log_max) open_log();
    if (log_waiting + len > sizeof(log_buffer)) flush_log();
    memcpy(log_buffer + log_waiting, head, n);
    memcpy(log_buffer + log_waiting + n, s->line, s->len);
    log_buffer[log_waiting + len - 1] = '\n';
    log_waiting += len;
    log_size += (long long)len;
    s->len = 0;
}

/* 0 when the stream has ended. */
static int drain(struct stream* s) {
    char chunk[16384];
    ssize_t n = read(s->fd, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (n <= 0) {
        if (s->len > 0) log_line(s, 'P');
        flush_log();
        close(s->fd);
        s->fd = -1;
        return 0;
    }
    for (ssize_t i = 0; i < n; ++i) {
        if (chunk[i] == '\n') {
            log_line(s, 'F');
            continue;
        }
        s->line[s->len++] = chunk[i];
        if (s->len == sizeof(s->line)) log_line(s, 'P');
    }
    flush_log();
    return 1;
}

/* The monitor adopts what its process leaves behind (PR_SET_CHILD_SUBREAPER) and ends it, as the end of a container's
 * first process ends the container. */
static void end_children(void) {
    for (;;) {
        char path[64], text[65536];
        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0) close(fd);
        if (n > 0) {
            text[n] = 0;
            for (char* at = text; *at != 0;) {
                char* end = at;
                long pid = strtol(at, &end, 10);
                if (end == at) break;
                if (pid > 1) kill((pid_t)pid, SIGKILL);
                at = end;
            }
        }
        pid_t gone = waitpid(-1, NULL, n > 0 ? 0 : WNOHANG);
        if (gone < 0 && errno == ECHILD) return;
        if (gone <= 0 && n <= 0) return;
    }
}

/* Read before the daemon's child is left alone with it; ends the process if that is not possible. */
static char** read_environment(void) {
    struct stat st;
    if (fstat(kEnvironment, &st) != 0) refuse("environment");
    if (st.st_size > kMaxEnvironment) {
        errno = E2BIG;
        refuse("environment");
    }
    size_t size = (size_t)st.st_size, have = 0, lines = 0;
    char* text = malloc(size + 1);
    if (text == NULL) refuse("environment");
    while (have < size) {
        ssize_t n = read(kEnvironment, text + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) refuse("environment");
        have += (size_t)n;
    }
    text[size] = 0;
    close(kEnvironment);
    for (size_t i = 0; i < size; ++i) lines += text[i] == 0;
    char** out = calloc(lines + 1, sizeof(*out));
    if (out == NULL) refuse("environment");
    for (size_t at = 0, line = 0; line < lines; at += strlen(text + at) + 1) out[line++] = text + at;
    return out;
}

static void change_user(const char* user, const char* group, const char* groups) {
    gid_t list[kMaxGroups];
    size_t count = 0;
    long uid = strtol(user, NULL, 10), gid = strtol(group, NULL, 10);
    if (uid < 0) return;
    for (const char* at = groups; *at >= '0' && *at <= '9' && count < kMaxGroups;) {
        char* end = NULL;
        list[count++] = (gid_t)strtoul(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    if (setgroups(count, list) != 0 || setgid((gid_t)gid) != 0 || setuid((uid_t)uid) != 0) {
        refuse("change to the container's user");
    }
}

static void become_program(char** argv, char** environment, int out, int err) {
    if (setsid() < 0) refuse("setsid");
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    umask(022); /* the daemon's is its own */
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) refuse("descriptors");
    if (null > 2) close(null);
    change_user(argv[4], argv[5], argv[6]);
    if (chdir(argv[7]) != 0) refuse(argv[7]);
    fcntl(kReport, F_SETFD, FD_CLOEXEC);
    execve(argv[8], argv + 9, environment);
    refuse(argv[8]);
}

static int run(char** argv) {
    const char* dir = argv[1];
    struct stream streams[2] = {{-1, "stdout", {0}, 0}, {-1, "stderr", {0}, 0}};
    int out[2], err[2], go[2];
    snprintf(log_path, sizeof(log_path), "%s/log", dir);
    snprintf(log_next, sizeof(log_next), "%s/log.new", dir);
    char** environment = read_environment();
    char* files = NULL;
    log_max = strtoll(argv[3], &files, 10);
    if (*files == '/') log_files = atoi(files + 1);
    open_log();
    if (log_fd < 0) refuse(log_path);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) refuse("subreaper");
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0) refuse("pipe");

    pid_t child = fork();
    if (child < 0) refuse("fork");
    if (child == 0) {
        char word;
        close(go[1]);
        if (read(go[0], &word, 1) != 1) _exit(127); /* the monitor failed */
        become_program(argv, environment, out[1], err[1]);
    }
    char text[128], path[4200];
    snprintf(text, sizeof(text), "%d %llu %d %llu\n", (int)child, start_of(child), (int)getpid(), start_of(getpid()));
    snprintf(path, sizeof(path), "%s/process", dir);
    if (put_file(path, text) != 0) {
        kill(child, SIGKILL);
        refuse(path);
    }
    close(kReport); /* the child has its own, until it is the program */
    close(go[0]);
    if (write(go[1], "g", 1) != 1) return 1;
    close(go[1]);
    close(out[1]);
    close(err[1]);
    streams[0].fd = out[0];
    streams[1].fd = err[0];
    for (int i = 0; i < 2; ++i) fcntl(streams[i].fd, F_SETFL, O_NONBLOCK);

    /* SIGCHLD interrupts the wait; it is blocked outside of it, so none is missed. */
    sigset_t blocked, open_mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &open_mask);
    sigdelset(&open_mask, SIGCHLD);
    int status = 0, ended = 0;
    while (!ended) {
        for (pid_t gone; (gone = waitpid(-1, &status, WNOHANG)) > 0;) {
            if (gone == child) {
                ended = 1;
                break;
            }
        }
        if (ended) break;
        struct pollfd items[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
        if (ppoll(items, 2, NULL, &open_mask) <= 0) continue;
        for (int i = 0; i < 2; ++i) {
            if (items[i].fd >= 0 && items[i].revents != 0) drain(&streams[i]);
        }
    }
    int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    end_children();
    for (int i = 0; i < 2; ++i) {
        /* Nobody writes any more (who left our reach is not waited for): take what is there. */
        struct pollfd item = {streams[i].fd, POLLIN, 0};
        while (streams[i].fd >= 0 && poll(&item, 1, 0) > 0 && drain(&streams[i])) {
        }
        if (streams[i].fd >= 0 && streams[i].len > 0) log_line(&streams[i], 'P');
    }
    flush_log();
    snprintf(text, sizeof(text), "%d", code);
    return put_file(argv[2], text) == 0 ? 0 : 1;
}

static void on_child(int signal_number) { (void)signal_number; }

int main(int argc, char** argv) {
    if (argc < 10) {
        fprintf(stderr, "gantry-process-monitor belongs to the plugin runtime/process and is not to be run by hand\n");
        return 64;
    }
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = on_child;
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    pid_t first = fork();
    if (first < 0) refuse("fork");
    if (first > 0) _exit(0);
    if (setsid() < 0 || chdir("/") != 0) refuse("session");
    prctl(PR_SET_NAME, "gantry-procmon");
    return run(argv);
}
