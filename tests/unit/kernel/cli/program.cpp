// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kernel/cli/program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace gantry::cli {

namespace {

struct Pipe {
    Pipe() {
        if (pipe2(fds.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
    }
    ~Pipe() {
        close_end(0);
        close_end(1);
    }
    void close_end(int end) {
        if (fds[end] >= 0) close(fds[end]);
        fds[end] = -1;
    }
    std::array<int, 2> fds{-1, -1};
};

[[noreturn]] void become_gantry(std::vector<std::string>& arguments, const RunOptions& options, int in, int out,
                                int err) {
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (const char* name : {"GANTRY_SOCKET", "VSOA_POS_SERVER", "NO_COLOR"}) unsetenv(name);
    setenv("TERM", "xterm", 1);
    setenv("TZ", "UTC", 1);
    for (const auto& entry : options.environment) {
        const auto equals = entry.find('=');
        setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
    }
    std::vector<char*> argv;
    std::string program = GANTRY_PROGRAM;
    argv.push_back(program.data());
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    execv(program.c_str(), argv.data());
    _exit(127);
}

// False at the end.
bool take(int fd, std::string& into) {
    char room[4096];
    const auto got = read(fd, room, sizeof room);
    if (got <= 0) return false;
    into.append(room, static_cast<std::size_t>(got));
    return true;
}

}  // namespace

Ran run_gantry(std::vector<std::string> arguments, const RunOptions& options) {
    Pipe in, out, err;
    int terminal = -1, other_end = -1;
    if (options.terminal) {
        winsize size{30, 100, 0, 0};
        if (openpty(&terminal, &other_end, nullptr, nullptr, &size) != 0) throw std::runtime_error("openpty failed");
        fcntl(terminal, F_SETFD, FD_CLOEXEC);
        fcntl(other_end, F_SETFD, FD_CLOEXEC);
    }
    const pid_t pid = fork();
    if (pid == 0) {
        become_gantry(arguments, options, in.fds[0], options.terminal ? other_end : out.fds[1],
                      options.terminal ? other_end : err.fds[1]);
    }
    in.close_end(0);
    out.close_end(1);
    err.close_end(1);
    if (other_end >= 0) close(other_end);
    if (!options.input.empty() && write(in.fds[1], options.input.data(), options.input.size()) < 0) {
        throw std::runtime_error("the program took no input");
    }
    in.close_end(1);

    Ran ran;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::array<pollfd, 2> items{{{options.terminal ? terminal : out.fds[0], POLLIN, 0}, {err.fds[0], POLLIN, 0}}};
    bool to_interrupt = static_cast<bool>(options.interrupt_when);
    while (items[0].fd >= 0 || items[1].fd >= 0) {
        if (std::chrono::steady_clock::now() > deadline) kill(pid, SIGKILL);
        poll(items.data(), items.size(), 100);
        if (items[0].revents != 0 && !take(items[0].fd, ran.out)) items[0].fd = -1;
        if (items[1].revents != 0 && !take(items[1].fd, ran.err)) items[1].fd = -1;
        if (to_interrupt && options.interrupt_when(ran.out)) {
            kill(pid, SIGINT);
            to_interrupt = false;
        }
    }
    if (terminal >= 0) close(terminal);
    int status = 0;
    waitpid(pid, &status, 0);
    ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ran;
}

}  // namespace gantry::cli
