// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <fstream>
#include <gantry/status.hpp>
#include <string_view>

#include "plugins/runtime/monitored/files.hpp"

namespace monitored {
namespace {

using gantry::Code;
using gantry::Failure;
using gantry::Fd;

constexpr auto kCancelLook = std::chrono::milliseconds(50);
constexpr int kFirstFreeFd = 16;  // above every number that a command gives its child

// Everything the child touches, made before fork: after it only async-signal-safe calls are allowed.
struct Prepared {
    std::vector<char*> argv, env;
    std::vector<std::pair<int, int>> fds;
    const char* cwd;
    unsigned first_unused;  // descriptors from here on are not the child's
    bool terminal;
};

struct ChildError {
    int stage;  // index of kStages
    int error;
};

constexpr const char* kStages[] = {"cannot change to its folder", "cannot set up descriptors", "cannot be executed",
                                   "cannot have the terminal"};

[[noreturn]] void become(const Prepared& p, int report) {
    const auto give_up = [report](int stage) {
        const ChildError error{stage, errno};
        (void)!::write(report, &error, sizeof(error));
        ::_exit(127);
    };
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) (void)::sigaction(signal, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    (void)::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (::chdir(p.cwd) != 0) give_up(0);
    for (const auto& [number, fd] : p.fds) {
        if (::dup2(fd, number) < 0) give_up(1);
    }
    if (p.terminal && (::setsid() < 0 || ::ioctl(0, TIOCSCTTY, 0) != 0)) give_up(3);
    (void)::syscall(SYS_close_range, p.first_unused, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execve(p.argv[0], p.argv.data(), p.env.data());
    give_up(2);
    ::_exit(127);
}

Fd duplicate(int fd) {
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstFreeFd));
    if (!copy) throw Failure(Code::kFailed, std::string("cannot duplicate a descriptor: ") + std::strerror(errno));
    return copy;
}

std::vector<char*> pointers(const std::vector<std::string>& list) {
    std::vector<char*> out;
    out.reserve(list.size() + 1);
    for (const std::string& item : list) out.push_back(const_cast<char*>(item.c_str()));
    out.push_back(nullptr);
    return out;
}

std::string words_in(int file) {
    std::array<char, 4096> text;
    const ssize_t n = ::pread(file, text.data(), text.size(), 0);
    std::string out(text.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    while (!out.empty() && (out.back() == '\n' || out.back() == ' ')) out.pop_back();
    return out;
}

Outcome reap(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) return {};  // somebody ignores SIGCHLD: the status is lost
    }
    if (WIFSIGNALED(status)) return {128 + WTERMSIG(status), WTERMSIG(status), {}};
    return {WEXITSTATUS(status), 0, {}};
}

// True if it ended by itself.
bool await(const Fd& child, gantry::Instant deadline, const std::function<bool()>& cancelled) {
    if (!cancelled) return wait_end(child, deadline);
    while (!wait_end(child, std::min(deadline, now() + kCancelLook))) {
        if (cancelled() || now() >= deadline) return false;
    }
    return true;
}

// One number of /proc/PID/stat, counted as in proc(5); the name (field 2) may hold anything, so count from its end.
bool stat_fields(pid_t pid, char& state, std::uint64_t& start) {
    const std::optional<std::string> text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
    if (!text) return false;
    std::size_t at = text->rfind(") ");
    if (at == std::string::npos) return false;
    at += 2;
    state = at < text->size() ? (*text)[at] : '?';
    for (int field = 3; field < 22; ++field) {
        at = text->find(' ', at);
        if (at == std::string::npos) return false;
        ++at;
    }
    return std::from_chars(text->data() + at, text->data() + text->size(), start).ec == std::errc();
}

}  // namespace

gantry::Instant now() {
    timespec t{};
    ::clock_gettime(CLOCK_BOOTTIME, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

std::string current_boot() {
    std::string id = read_file("/proc/sys/kernel/random/boot_id", 64).value_or("");
    while (!id.empty() && id.back() == '\n') id.pop_back();
    return id;
}

ProcessRef identify(pid_t pid) {
    char state = 0;
    std::uint64_t start = 0;
    if (pid <= 0 || !stat_fields(pid, state, start) || state == 'Z' || state == 'X') return {};
    return {pid, start, current_boot()};
}

Fd open_process(const ProcessRef& process) {
    if (!process) return {};
    Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (!fd) {
        if (errno == ESRCH || errno == EINVAL) return {};
        throw Failure(Code::kFailed,
                      std::string("pidfd_open: ") + std::strerror(errno) + " (Linux 5.3 or later is needed)");
    }
    // Looked at after it was opened: now the number cannot change its owner unnoticed.
    const ProcessRef found = identify(process.pid);
    if (found.start != process.start || found.boot != process.boot) return {};
    return fd;
}

bool has_ended(const Fd& process) { return wait_end(process, gantry::Instant::zero()); }

bool wait_end(const Fd& process, gantry::Instant deadline) {
    if (!process) return true;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            deadline == gantry::Instant::zero() ? deadline : deadline - now());
        pollfd item{process.get(), POLLIN, 0};
        const int n = ::poll(&item, 1, static_cast<int>(std::clamp<long long>(left.count(), 0, INT_MAX)));
        if (n > 0) return true;
        if (n == 0) return false;
        if (errno != EINTR) return false;
    }
}

Child spawn(const Command& command) {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    Fd errors(static_cast<int>(::memfd_create("stderr", MFD_CLOEXEC)));
    int pipe_fds[2] = {-1, -1};
    if (!null || !errors || ::pipe2(pipe_fds, O_CLOEXEC) != 0) {
        throw Failure(Code::kFailed, command.argv[0] + ": cannot prepare to run it: " + std::strerror(errno));
    }
    Fd report_in(pipe_fds[0]), report_out(pipe_fds[1]);
    Fd report_high = duplicate(report_out.get());
    report_out.reset();

    std::array<int, 3> standard{null.get(), null.get(), errors.get()};
    std::vector<Fd> keep;
    Prepared p{pointers(command.argv), pointers(command.env), {}, command.cwd.c_str(), 3, command.terminal};
    for (const auto& [number, fd] : command.fds) {
        if (number < 3) {
            standard[static_cast<std::size_t>(number)] = fd;
        } else {
            p.fds.emplace_back(number, keep.emplace_back(duplicate(fd)).get());
            p.first_unused = std::max(p.first_unused, static_cast<unsigned>(number) + 1);
        }
    }
    for (int number = 0; number < 3; ++number) {
        p.fds.emplace_back(number, keep.emplace_back(duplicate(standard[static_cast<std::size_t>(number)])).get());
    }
    const pid_t pid = ::fork();
    if (pid < 0) throw Failure(Code::kFailed, command.argv[0] + ": fork: " + std::strerror(errno));
    if (pid == 0) become(p, report_high.get());
    report_high.reset();

    Child child{pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), std::move(errors)};
    if (!child.process) {  // its end could not be waited for with a deadline
        const int error = errno;
        (void)::kill(pid, SIGKILL);
        (void)reap(pid);
        throw Failure(Code::kFailed, command.argv[0] + ": pidfd_open: " + std::strerror(error));
    }
    ChildError failure{};
    ssize_t said = 0;
    do {
        said = ::read(report_in.get(), &failure, sizeof(failure));
    } while (said < 0 && errno == EINTR);
    if (said != static_cast<ssize_t>(sizeof(failure))) return child;
    (void)reap(pid);
    const std::string object = failure.stage == 0 ? " " + command.cwd : "";
    throw Failure(Code::kFailed,
                  command.argv[0] + " " + kStages[failure.stage] + object + ": " + std::strerror(failure.error));
}

bool has_mark(pid_t pid, const std::string& mark) {
    std::ifstream environment("/proc/" + std::to_string(pid) + "/environ");
    const std::string wanted = "GANTRY_EXEC=" + mark;
    for (std::string variable; std::getline(environment, variable, '\0');) {
        if (variable == wanted) return true;
    }
    return false;
}

int reap(const Child& child) { return reap(child.pid).code; }

Outcome run(const Command& command, gantry::Instant deadline, const std::function<bool()>& cancelled) {
    const Child child = spawn(command);
    const bool ended = await(child.process, deadline, cancelled);
    if (!ended) (void)::kill(child.pid, SIGKILL);
    Outcome out = reap(child.pid);
    out.errors = words_in(child.errors.get());
    if (!ended) {
        const bool late = now() >= deadline;
        throw Failure(late ? Code::kDeadline : Code::kCancelled,
                      command.argv[0] +
                          (late ? " did not end in time and was killed: " : " was cancelled and killed: ") +
                          out.errors);
    }
    return out;
}

}  // namespace monitored
