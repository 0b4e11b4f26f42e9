// SPDX-License-Identifier: Apache-2.0
//
// Before main: this program needs root, runc and conmon, else it is skipped; and it moves into a mount, a PID
// and a network namespace of its own, so that even a SIGKILL leaves neither mounts nor processes. (The namespaces of a
// test host are also where the plugin has to work.)
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace {

void skip(const char* why) {
    printf("skipped: %s\n", why);
    fflush(stdout);
    _exit(77);
}

bool installed(const char* program) {
    for (const char* folder : {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder, program);
        if (access(path, X_OK) == 0) return true;
    }
    return false;
}

__attribute__((constructor)) void enter_sandbox() {
    if (geteuid() != 0) skip("needs root");
    for (const char* program : {"runc", "conmon", "busybox"}) {
        if (!installed(program)) skip("needs runc, conmon and busybox-static");
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0) skip("cannot make namespaces");
    const pid_t child = fork();
    if (child < 0) skip("cannot fork");
    if (child > 0) {
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
        skip("cannot mount in a namespace");
    }
    ifreq loopback{};
    strcpy(loopback.ifr_name, "lo");
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    loopback.ifr_flags = IFF_UP;
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) != 0) skip("cannot switch on a loopback in a namespace");
    close(fd);
    // As on a machine, somebody takes what lost its parent: a container ends when all that was in it was waited for.
    const pid_t tests = fork();
    if (tests < 0) skip("cannot fork");
    if (tests == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return;
    }
    for (int status = 0;;)
        if (wait(&status) == tests) _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

}  // namespace
