// SPDX-License-Identifier: Apache-2.0
//
// Namespaces of a test's process alone.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace gantry {

// Ends the test's program: CTest shows it as skipped, with `what` and errno's text.
[[noreturn]] inline void skip_test(const char* what) {
    std::printf("skipped: %s: %s\n", what, std::strerror(errno));
    std::fflush(stdout);
    ::_exit(77);
}

// Moves this process, which must have one thread, into new namespaces (CLONE_NEWNET, CLONE_NEWNS; mounts are then
// private); an ordinary user gets them with a user namespace. Skips the test where they are not to be had.
inline void own_namespaces(int flags) {
    const auto write_file = [](const char* path, const std::string& text) {
        const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
        const bool written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
        if (fd >= 0) ::close(fd);
        return written;
    };
    const std::string uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
    if (::unshare(flags | (uid == "0" ? 0 : CLONE_NEWUSER)) != 0) skip_test("no namespaces");
    if (uid != "0") {
        (void)write_file("/proc/self/setgroups", "deny");
        if (!write_file("/proc/self/uid_map", "0 " + uid + " 1")) skip_test("no uid map");
        if (!write_file("/proc/self/gid_map", "0 " + gid + " 1")) skip_test("no gid map");
    }
    if ((flags & CLONE_NEWNS) != 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        skip_test("no private mounts");
}

}  // namespace gantry
