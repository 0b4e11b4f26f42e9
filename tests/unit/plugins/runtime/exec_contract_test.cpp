// SPDX-License-Identifier: Apache-2.0
//
// What every runtime that offers exec promises of it.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <optional>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

// A command in a container, with the other end of its stream.
struct Command {
    Command(Fixture& fixture, const std::string& name, const std::string& script, std::vector<std::string> args = {},
            bool terminal = false)
        : f(fixture) {
        int ends[2] = {-1, -1};
        if (terminal) {
            ends[0] = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
            REQUIRE(::unlockpt(ends[0]) == 0);
            size(ends[0], 40, 100);
            ends[1] = ::ioctl(ends[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
            REQUIRE(ends[1] >= 0);
        } else {
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        }
        ours.reset(ends[0]);
        ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
        if (args.empty()) args = {"/bin/busybox", "sh", "-c", "B=$GANTRY_ROOT/bin/busybox; " + script};
        answer.emplace(f.driver().exec(name, args, gantry::Fd(ends[1]), terminal));
    }
    static void size(int fd, unsigned short rows, unsigned short columns) {
        const winsize wanted{rows, columns, 0, 0};
        REQUIRE(::ioctl(fd, TIOCSWINSZ, &wanted) == 0);
    }
    bool says(const std::string& text) {
        return f.host().run_until([&] { return (heard += read()).find(text) != std::string::npos; });
    }
    std::string read() {
        std::string out;
        std::array<char, 4096> chunk;
        for (ssize_t n = 0; (n = ::read(ours.get(), chunk.data(), chunk.size())) > 0;)
            out.append(chunk.data(), static_cast<std::size_t>(n));
        return out;
    }
    auto wait() { return answer->wait(20s * runtime_test::patience()); }

    Fixture& f;
    gantry::Fd ours;
    std::string heard;
    std::optional<gantry::testing::Pending<gantry::ExecResult>> answer;
};

// Living processes of this node that have this text among their arguments or variables.
std::size_t marked(const std::string& text) {
    std::size_t out = 0;
    for (const auto& item : std::filesystem::directory_iterator("/proc")) {
        const std::string name = item.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (image_builder::slurp(item.path() / "environ").find(text) != std::string::npos)
            out += runtime_test::alive(std::stoll(name));
    }
    return out;
}

// runc gives its terminal the size, and has it leave the ends of lines to ours, a moment after the program has begun;
// the size comes last. A line that is written before ends as "\r\r\n".
const std::string kSettled = "until [ \"$($B stty size 2>/dev/null)\" = '40 100' ]; do $B usleep 5000; done; ";

const std::string kSleeps = "echo up; exec $B sleep 60";

}  // namespace

TEST_CASE("A further process runs in the container, and its status and output come back") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", kSleeps);
    spec.env = {{"MINE", "from the container"}};
    f.run(spec);
    REQUIRE(f.logged("c1", "up"));
    Command good(f, "c1", "echo $MINE; echo err >&2");
    REQUIRE(good.wait().ok());
    CHECK(good.wait().result.exit_code == 0);
    const std::string words = good.read();  // of two streams, in any order
    CHECK(words.size() == 23);
    CHECK(words.find("from the container\n") != std::string::npos);
    CHECK(words.find("err\n") != std::string::npos);
    Command bad(f, "c1", "exit 7");
    CHECK(bad.wait().result.exit_code == 7);
    Command reads(f, "c1", "read x; echo got $x");
    REQUIRE(::write(reads.ours.get(), "word\n", 5) == 5);
    REQUIRE(reads.wait().ok());
    CHECK(reads.read() == "got word\n");
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
    CHECK(f.logs("c1") == "up\n");
}

TEST_CASE("A process that cannot be run is told apart from one that fails") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    f.run(f.script("ended", "exit 0"));
    f.wait_exit("ended");
    CHECK(Command(f, "none", "exit 0").wait().code == Code::kNotFound);
    CHECK(Command(f, "ended", "exit 0").wait().code == Code::kConflict);
    CHECK(Command(f, "c1", "", {"/bin/nothing"}).wait().code == Code::kNotFound);
    CHECK(Command(f, "c1", "", {""}).wait().code == Code::kInvalid);
    auto refused = f.driver().exec("c1", {"/bin/busybox"}, gantry::Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)), true);
    CHECK(refused.wait().code == Code::kInvalid);
}

TEST_CASE("A process with a terminal sees its size and its keys, and its status comes back") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    // An engine gives its terminal the size a moment after the program has begun.
    Command sized(
        f, "c1",
        "is() { until [ \"$($B stty size 2>&1)\" = \"$1\" ]; do $B usleep 20000; done; echo $1; }; [ -t 0 ] && [ -t "
        "1 ] && [ -t 2 ] && is '40 100' && is '50 120'; exit 5",
        {}, true);
    CHECK(sized.says("40 100\r\n"));
    Command::size(sized.ours.get(), 50, 120);
    CHECK(sized.says("50 120\r\n"));
    CHECK(sized.wait().text == "");
    CHECK(sized.wait().result.exit_code == 5);
    Command typed(f, "c1", kSettled + "echo ask; read x; echo got $x; $B sleep 50; exit 6", {}, true);
    CHECK(typed.says("ask\r\n"));
    CHECK(typed.heard == "ask\r\n");
    REQUIRE(::write(typed.ours.get(), "word\r", 5) == 5);
    CHECK(typed.says("got word\r\n"));
    CHECK(typed.heard == "ask\r\nword\r\ngot word\r\n");
    REQUIRE(::write(typed.ours.get(), "\3", 1) == 1);  // Ctrl-C
    REQUIRE(typed.wait().ok());
    CHECK(typed.wait().result.exit_code == 130);
    Command left(f, "c1", kSettled + "echo here; $B sleep 50", {}, true);
    CHECK(left.says("here\r\n"));
    CHECK(left.heard == "here\r\n");
    left.ours.reset();
    (void)left.wait();
    CHECK(f.host().run_until([&] { return marked("GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".") == 0; }));
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
}

TEST_CASE("A process that nobody reads any more is killed, with all that it made") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    const std::string mark = "GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".";
    Command slow(f, "c1", "$B setsid $B sleep 50 & $B sleep 50 & echo here; $B sleep 50");
    REQUIRE(f.host().run_until([&] { return slow.read().find("here") != std::string::npos; }));
    CHECK(marked(mark) >= 3);
    slow.ours.reset();
    (void)slow.wait();
    CHECK(f.host().run_until([&] { return marked(mark) == 0; }));
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
}

TEST_CASE("A process that forks without end is killed to the last of them, and the container goes on") {
    Fixture f;
    // Its first process inherits what dies, and counts it against the limit until it asks for it. A shell that cannot
    // fork ends, unless that is the failure of a "command".
    gantry::ContainerSpec spec = f.script("c1", "echo up; while :; do command eval '$B sleep 0.1' 2>/dev/null; done");
    if (f.driver().facts().limits) spec.pids = 64, spec.cpu_milli = 500;
    f.run(spec);
    REQUIRE(f.logged("c1", "up"));
    const std::string mark = "GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".";
    // Each makes the next one and ends, three at a time. Only with a limit to hit they also become ever more, and begin
    // anew when all of them have hit it at once.
    const std::string forks = spec.pids > 0
                                  ? "f() { f & f & }; echo here; while :; do command eval 'f; f; f' 2>/dev/null; done"
                                  : "f() { f & }; echo here; f; f; f; while :; do :; done";
    Command bomb(f, "c1", forks);
    REQUIRE(f.host().run_until([&] { return bomb.read().find("here") != std::string::npos; }));
    CHECK(f.host().run_until([&] { return marked(mark) > 0; }));
    bomb.ours.reset();
    REQUIRE(f.host().run_until([&] { return bomb.wait().code != Code::kDeadline; }));
    CHECK(f.host().run_until([&] { return marked(mark) == 0; }));
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
    const auto next = Command(f, "c1", "exit 4").wait();
    CHECK(next.text == "");
    CHECK(next.result.exit_code == 4);
}

TEST_CASE("What a daemon left that died in the middle of it is ended by the next one") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    // A process whose mark no exec of this daemon has, and the file that the exec of a dead one would have left.
    Command old(f, "c1", "GANTRY_EXEC=c1.0.9 $B setsid $B sleep 50 </dev/null >/dev/null 2>&1 & read x");
    REQUIRE(f.host().run_until([&] { return marked("GANTRY_EXEC=c1.0.9") == 1; }));
    REQUIRE(::write(old.ours.get(), "\n", 1) == 1);
    CHECK(old.wait().ok());
    REQUIRE(marked("GANTRY_EXEC=c1.0.9") == 1);
    f.stop();
    image_builder::spill(f.state_dir() / "containers" / "c1" / "exec-c1.0.9", "");
    f.begin();
    CHECK(f.host().run_until([&] { return marked("GANTRY_EXEC=c1.0.9") == 0; }));
    CHECK(f.host().run_until([&] { return !std::filesystem::exists(f.state_dir() / "containers/c1/exec-c1.0.9"); }));
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
}

TEST_CASE("A container that ends takes along what is run in it") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    Command slow(f, "c1", "echo here; $B sleep 50");
    REQUIRE(f.host().run_until([&] { return slow.read().find("here") != std::string::npos; }));
    CHECK(f.driver().kill("c1").wait().ok());
    CHECK(f.host().run_until([&] { return slow.answer->wait(20s).code != Code::kDeadline; }));
    CHECK(marked("GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".") == 0);
    CHECK(f.driver().remove("c1").wait().ok());
}

TEST_CASE("What a process leaves in the background ends with it") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    Command leaves(f, "c1", "( $B setsid $B sleep 50 & ) ; exit 3");
    REQUIRE(leaves.wait().ok());
    CHECK(leaves.wait().result.exit_code == 3);
    CHECK(f.host().run_until([&] { return marked("GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".") == 0; }));
}

TEST_CASE("A runtime that stops ends the processes that it runs for others, not the containers") {
    Fixture f;
    f.run(f.script("c1", kSleeps));
    REQUIRE(f.logged("c1", "up"));
    Command slow(f, "c1", "echo here; $B sleep 50");
    REQUIRE(f.host().run_until([&] { return slow.read().find("here") != std::string::npos; }));
    f.restart();
    CHECK(runtime_test::eventually([] { return marked("GANTRY_EXEC=c1." + std::to_string(::getpid()) + ".") == 0; }));
    CHECK(f.find("c1").state == gantry::ContainerState::kRunning);
}
