// SPDX-License-Identifier: Apache-2.0
//
// LeaseGuard with the real gantry-guard and a real process in a real cgroup. A program of its own: it skips where no
// cgroup may be made.
#include "kernel/control/lease_guard.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "kernel/control/cgroup_of.hpp"
#include "kernel/control/files.hpp"
#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;
using namespace gantry::control;

namespace {

namespace fs = std::filesystem;

constexpr Duration kLimit = seconds(20);

// A cgroup with one process that does nothing.
class Box {
  public:
    Box() {
        for (const char* mount : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/sys/fs/cgroup/freezer"}) {
            folder = fs::path(mount) / ("gantry-lease-test-" + std::to_string(::getpid()));
            std::error_code error;
            if (!fs::create_directory(folder, error)) continue;
            if (fs::exists(folder / "cgroup.kill") || fs::exists(folder / "freezer.state")) break;
            fs::remove(folder, error);
        }
        if (!fs::exists(folder)) {
            std::puts("skipped: no cgroup can be made here, or none that can be killed");
            std::fflush(stdout);
            ::_exit(77);
        }
        pid = ::fork();
        if (pid == 0) {
            for (;;) ::pause();
        }
        std::ofstream(folder / "cgroup.procs") << pid;
    }
    ~Box() {
        for (const auto& [file, text] : {std::pair("cgroup.freeze", "0"), {"freezer.state", "THAWED"}})
            if (fs::exists(folder / file)) std::ofstream(folder / file) << text;
        ::kill(pid, SIGKILL);
        if (!dead()) ::waitpid(pid, nullptr, 0);
        std::error_code busy;
        for (int i = 0; i < 1'000 && !fs::remove(folder, busy) && busy; ++i) ::usleep(1'000);
    }
    bool dead() {
        if (!ended_ && ::waitpid(pid, nullptr, WNOHANG) == pid) ended_ = true;
        return ended_;
    }
    fs::path folder;
    pid_t pid = 0;

  private:
    bool ended_ = false;
};

struct Bench {
    Bench() : program(GANTRY_GUARD) {}
    ~Bench() {
        if (guard) guard->stop();
        if (const pid_t left = guard_pid(); left > 0) ::kill(left, SIGKILL);
    }
    void start() {
        guard.emplace(LeaseGuard::Parts{io, program, state.path, [](host::LogLevel, std::string_view) {},
                                        [this](core::GuardState told) { states.push_back(std::move(told)); }});
        guard->start();
        run([this] { return !states.empty(); });
    }
    // gantryd is started anew; the guard goes on.
    void restart() {
        guard->stop();
        guard.reset();
        states.clear();
        start();
    }
    template <class Condition>
    bool run(Condition condition) {
        const Instant end = host::boottime_now() + kLimit;
        while (!condition() && host::boottime_now() < end) {
            io.restart();
            io.run_for(std::chrono::milliseconds(1));
        }
        return condition();
    }
    void arm(const std::string& name, Instant until) {
        ++asked;
        guard->arm(name, box.folder, until, [this](Result<void> result) {
            ++answered;
            refused += !result;
        });
    }
    bool armed(const std::string& name, Instant until) {
        arm(name, until);
        return run([this] { return answered == asked; }) && refused == 0;
    }
    // The guard of this state folder: not the process that starts it, which is our child.
    pid_t guard_pid() const {
        for (const auto& entry : fs::directory_iterator("/proc")) {
            const auto line = read_file(entry.path() / "cmdline", 4'096).value_or("");
            if (line.find(state.path.string()) == line.npos || line.find("gantry-guard") == line.npos) continue;
            std::istringstream status(read_file(entry.path() / "stat", 4'096).value_or(""));
            std::string pid, name, letter, parent;
            if (status >> pid >> name >> letter >> parent; parent != std::to_string(::getpid())) return std::stoi(pid);
        }
        return 0;
    }

    boost::asio::io_context io{1};
    test::Folder state;
    fs::path program;
    Box box;
    std::optional<LeaseGuard> guard;
    std::vector<core::GuardState> states;
    std::size_t asked = 0, answered = 0, refused = 0;
};

Instant in(Duration duration) { return host::boottime_now() + duration; }

}  // namespace

TEST_CASE_METHOD(Bench,
                 "a guard is started for the first deadline, holds a thousand of them, and ends when all are gone") {
    start();
    CHECK(states.at(0).up);
    CHECK(states.at(0).held.empty());
    CHECK(guard_pid() == 0);
    CHECK(cgroup_of(box.pid).value() == box.folder);
    const Instant until = in(seconds(60));
    for (int i = 0; i < 1'000; ++i) arm("box-" + std::to_string(i), until);
    REQUIRE(run([this] { return answered == 1'000; }));
    CHECK(refused == 0);
    const pid_t first = guard_pid();
    CHECK(first > 0);
    restart();
    CHECK(states.at(0).held.size() == 1'000);
    CHECK(states.at(0).held.at(0).until == until);
    CHECK(guard->folder_of("box-7") == box.folder);
    CHECK(guard_pid() == first);
    for (int i = 0; i < 1'000; ++i) guard->disarm("box-" + std::to_string(i));
    REQUIRE(armed("last", until));  // after them
    guard->disarm("last");
    restart();
    CHECK(states.at(0).held.empty());
    guard->stop();
    CHECK(run([this] { return guard_pid() == 0; }));
}

TEST_CASE_METHOD(Bench, "at the deadline the container is dead, whether gantryd is there or not") {
    start();
    const Instant until = in(milliseconds(300));
    REQUIRE(armed("box", until));
    guard->stop();
    CHECK(run([this] { return box.dead(); }));
    CHECK(host::boottime_now() >= until);
    restart();
    CHECK(states.at(0).held.size() == 1);
    CHECK_FALSE(armed("box", in(seconds(10))));
}

TEST_CASE_METHOD(Bench, "a guard that dies or hangs is replaced by one that is told every deadline") {
    start();
    REQUIRE(armed("box", in(seconds(2))));
    const Instant until = in(seconds(4));
    REQUIRE(armed("box", until));
    const pid_t first = guard_pid();
    states.clear();
    SECTION("dies") { REQUIRE(::kill(first, SIGKILL) == 0); }
    SECTION("hangs") {
        REQUIRE(::kill(first, SIGSTOP) == 0);
        arm("box", until);
    }
    REQUIRE(run([&] { return guard_pid() != first && guard_pid() > 0; }));
    REQUIRE(run([this] { return answered == asked; }));
    // It holds the later deadline, which is what kills.
    CHECK(run([this] { return box.dead(); }));
    CHECK(host::boottime_now() >= until);
    CHECK(host::boottime_now() < until + milliseconds(500));
}

TEST_CASE_METHOD(Bench, "a guard that cannot be replaced is told, for what it held is to be killed") {
    const fs::path copy = state.path / "gantry-guard";
    fs::copy_file(program, copy);
    program = copy;
    start();
    REQUIRE(armed("box", in(seconds(60))));
    states.clear();
    fs::rename(copy, state.path / "gantry-guard.away");
    const Instant killed = host::boottime_now();
    REQUIRE(::kill(guard_pid(), SIGKILL) == 0);
    REQUIRE(run([this] { return !states.empty(); }));
    CHECK_FALSE(states.at(0).up);
    CHECK(host::boottime_now() - killed >= milliseconds(100));
    fs::rename(state.path / "gantry-guard.away", copy);
    REQUIRE(run([this] { return states.size() == 2; }));
    CHECK(states.at(1).up);
    CHECK(states.at(1).held.size() == 1);
}
