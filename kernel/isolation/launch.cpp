// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/launch.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
extern "C" {
#include <sys/pidfd.h>  // of glibc 2.36, which does not say so itself
}

#include "kernel/isolation/messages.hpp"
#include "kernel/isolation/program.hpp"

namespace gantry::isolation {
namespace {

constexpr std::chrono::milliseconds kCollectLimit{500};  // a killed program is collected within, or left to init

// Above every number that the program expects, so that none is overwritten before it is copied.
Fd aside(int fd) { return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 32)); }

std::string errno_text(int error) { return std::strerror(error); }

}  // namespace

Result<Launched> launch(const std::filesystem::path& program, int plugin_file) {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return fail(Code::kFull, "no sockets for its process: " + errno_text(errno));
    Fd ours(ends[0]), theirs(ends[1]);
    const Fd socket = aside(theirs.get()), file = aside(plugin_file);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, socket.get(), kSocketFd);
    ::posix_spawn_file_actions_adddup2(&actions, file.get(), kPluginFd);
    sigset_t none, usual;
    ::sigemptyset(&none);
    ::sigfillset(&usual);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const std::string path = program.string(), parent = std::to_string(::getpid());
    char* const arguments[] = {const_cast<char*>(path.c_str()), const_cast<char*>(parent.c_str()), nullptr};
    pid_t pid = 0;
    const int failed =
        socket && file ? ::posix_spawn(&pid, path.c_str(), &actions, &attributes, arguments, environ) : EMFILE;
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (failed != 0) return fail(Code::kUnavailable, path + " cannot be started: " + errno_text(failed));
    Launched out{pid, std::move(ours), Fd(::pidfd_open(pid, 0))};
    if (!out.pidfd) {
        const int why = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return fail(Code::kUnsupported, "its process cannot be watched (pidfd_open): " + errno_text(why));
    }
    return out;
}

std::string init_message(const Beginning& beginning, const gantry_config& config) {
    std::string message = open_message();
    Writer w(message);
    w.number(kProtocol);
    w.text(beginning.title);
    w.text(beginning.interface);
    w.number(beginning.memory_max_bytes);
    w.number<std::uint8_t>(beginning.has_tree ? 1 : 0);
    w.number(beginning.file_size);
    w.number(beginning.file_modified_ns);
    w.number<std::uint64_t>(beginning.permissions.size());
    for (const std::string& permission : beginning.permissions) w.text(permission);
    put(w, config);
    seal(message, {.kind = Kind::kInit});
    return message;
}

siginfo_t collect(int pidfd) {
    using Clock = std::chrono::steady_clock;
    siginfo_t info{};
    const auto end = Clock::now() + kCollectLimit;
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0) {
        const auto rest = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
        if (rest.count() <= 0) break;
        pollfd ready{pidfd, POLLIN, 0};
        (void)::poll(&ready, 1, static_cast<int>(rest.count()));
    }
    return info;
}

std::string describe_end(const siginfo_t& info) {
    if (info.si_pid == 0) return "it ended";
    if (info.si_code == CLD_EXITED) return "it ended with status " + std::to_string(info.si_status);
    return "it was killed by signal " + std::to_string(info.si_status) + " (" + ::strsignal(info.si_status) + ")";
}

}  // namespace gantry::isolation
