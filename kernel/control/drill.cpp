// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/drill.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <utility>

namespace gantry::control {

namespace {

constexpr auto kLook = std::chrono::milliseconds(50);

int spawn(const std::vector<std::string>& command, const std::vector<std::string>& more, int& pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    // A pipe behind it would be held open for as long as what it leaves behind.
    ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    sigset_t none, usual;
    ::sigemptyset(&none);
    ::sigfillset(&usual);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &usual);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> argv, env;
    for (const auto& text : command) argv.push_back(const_cast<char*>(text.c_str()));
    for (const auto& text : more) env.push_back(const_cast<char*>(text.c_str()));
    for (char** variable = environ; *variable; ++variable) env.push_back(*variable);
    argv.push_back(nullptr);
    env.push_back(nullptr);
    const int error = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), env.data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return error;
}

}  // namespace

void Drill::run(const std::string& kind, const std::vector<std::string>& command, Duration duration,
                std::function<void(Status)> done) {
    if (pid_ != 0) return done(fail(Code::kConflict, "the command of the last drill has not ended yet"));
    program_ = command.front();
    const int error =
        spawn(command,
              {"GANTRY_DRILL_KIND=" + kind,
               "GANTRY_DRILL_SECONDS=" + std::to_string((duration + seconds(1) - Duration(1)) / seconds(1)),
               "GANTRY_DRILL_PID=" + std::to_string(::getpid())},
              pid_);
    if (error != 0) {
        pid_ = 0;
        return done(fail(Code::kFailed, "cannot start " + program_ + ": " + std::strerror(error)));
    }
    done_ = std::move(done);
    watch();
}

void Drill::watch() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == 0) {
        timer_.expires_after(kLook);
        timer_.async_wait([this](boost::system::error_code cancelled) {
            if (!cancelled) watch();
        });
        return;
    }
    pid_ = 0;
    const auto done = std::exchange(done_, nullptr);
    if (status == 0) return done({});
    done(fail(Code::kFailed,
              program_ + (WIFSIGNALED(status) ? " was ended by signal " + std::to_string(WTERMSIG(status))
                                              : " ended with status " + std::to_string(WEXITSTATUS(status)))));
}

}  // namespace gantry::control
