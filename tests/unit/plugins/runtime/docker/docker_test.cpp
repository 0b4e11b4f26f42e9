// SPDX-License-Identifier: Apache-2.0
//
// What runtime/docker promises beyond the contract of every runtime, with the real engine that tests/support/engines.py
// has started: GANTRY_ENGINE names its folder.
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using gantry::ContainerState;
using runtime_test::Fixture;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

namespace {

std::string engine_folder() {
    const char* folder = std::getenv("GANTRY_ENGINE");
    return folder == nullptr ? "" : folder;
}

pid_t engine_pid() {
    pid_t out = 0;
    std::ifstream(engine_folder() + "/engine.pid") >> out;
    return out;
}

constexpr const char* kSleep = "exec $B sleep 60";

template <class Pending>
std::string trouble(Pending&& pending) {
    const auto answer = pending.wait(30s * runtime_test::patience());
    return answer.ok() ? "" : "failed: " + answer.text;
}

// Both ends of a stream as exec gets one.
struct Ends {
    Ends() {
        int both[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0);
        ours.reset(both[0]);
        theirs.reset(both[1]);
    }
    std::string all() const {
        std::string out;
        char chunk[4096];
        for (ssize_t n = 0; (n = ::read(ours.get(), chunk, sizeof chunk)) > 0;)
            out.append(chunk, static_cast<std::size_t>(n));
        return out;
    }
    gantry::Fd ours, theirs;
};

}  // namespace

const runtime_test::Traits& runtime_test::traits() {
    static const Traits traits{
        GANTRY_PLUGIN_FILE,
        [](gantry::testing::Settings& settings) { settings.string("socket", engine_folder() + "/engine.sock"); },
        {}};
    return traits;
}

TEST_CASE("A container of our name that somebody else made is left alone, with an error") {
    Fixture other, ours;
    other.run(other.script("c1", kSleep));
    const std::int64_t pid = other.find("c1").pid;
    const auto refused = ours.driver().create(ours.script("c1", kSleep)).wait();
    CHECK(refused.code == Code::kConflict);
    CHECK_THAT(refused.text, Contains("\"c1\"") && Contains("somebody else made") && Contains("left alone"));
    CHECK(ours.names().empty());
    CHECK(ours.driver().start("c1").wait().code == Code::kNotFound);
    CHECK(ours.driver().kill("c1").wait().code == Code::kNotFound);
    CHECK(trouble(ours.driver().remove("c1")) == "");
    CHECK(other.find("c1").pid == pid);
    CHECK(runtime_test::alive(pid));
}

TEST_CASE("A container is frozen and goes on, each as often as one likes, and can be stopped while it is frozen") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    CHECK(trouble(f.driver().resume("c1")) == "");
    for (int i = 0; i < 2; ++i) CHECK(trouble(f.driver().pause("c1")) == "");
    CHECK(f.find("c1").state == ContainerState::kPaused);
    for (int i = 0; i < 2; ++i) CHECK(trouble(f.driver().resume("c1")) == "");
    CHECK(f.find("c1").state == ContainerState::kRunning);
    CHECK(trouble(f.driver().pause("c1")) == "");
    CHECK(trouble(f.driver().stop("c1", 200ms)) == "");
    CHECK(f.find("c1").state == ContainerState::kExited);
    CHECK(f.driver().pause("c1").wait().code == Code::kConflict);
    CHECK(f.driver().pause("none").wait().code == Code::kNotFound);
}

TEST_CASE("A further process in a container has its input, output and exit code") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    Ends ends;
    auto pending =
        f.driver().exec("c1", {"/bin/busybox", "sh", "-c", "read x; echo got $x; exit 7"}, std::move(ends.theirs));
    REQUIRE(::write(ends.ours.get(), "hello\n", 6) == 6);
    const auto answer = pending.wait(20s * runtime_test::patience());
    CHECK(answer.text == "");
    CHECK(answer.result.exit_code == 7);
    CHECK(ends.all() == "got hello\n");
    Ends nothing;
    const auto absent = f.driver().exec("c1", {"/bin/nothing"}, std::move(nothing.theirs)).wait(20s);
    CHECK_FALSE(absent.ok());
    Ends none;
    CHECK(f.driver().exec("none", {"/bin/busybox"}, std::move(none.theirs)).wait().code == Code::kNotFound);
}

TEST_CASE("A further process with a terminal sees its size and its keys") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    gantry::Fd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(::unlockpt(ours.get()) == 0);
    winsize size{40, 100, 0, 0};
    REQUIRE(::ioctl(ours.get(), TIOCSWINSZ, &size) == 0);
    gantry::Fd theirs(::ioctl(ours.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(theirs.get() >= 0);
    ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    const std::string until = "until [ \"$($B stty size)\" = ";
    auto pending =
        f.driver().exec("c1",
                        {"/bin/busybox", "sh", "-c",
                         "B=/bin/busybox; " + until + "'40 100' ]; do $B usleep 20000; done; echo small; " + until +
                             "'50 120' ]; do $B usleep 20000; done; echo large; read x; echo got $x; exit 5"},
                        std::move(theirs), true);
    std::string heard;
    const auto says = [&](const std::string& text) {
        return f.host().run_until([&] {
            char chunk[4096];
            for (ssize_t n = 0; (n = ::read(ours.get(), chunk, sizeof chunk)) > 0;)
                heard.append(chunk, static_cast<std::size_t>(n));
            return heard.find(text) != std::string::npos;
        });
    };
    CHECK(says("small\r\n"));
    size = {50, 120, 0, 0};
    REQUIRE(::ioctl(ours.get(), TIOCSWINSZ, &size) == 0);
    CHECK(says("large\r\n"));
    REQUIRE(::write(ours.get(), "word\r", 5) == 5);
    CHECK(says("word\r\ngot word\r\n"));
    const auto answer = pending.wait(20s * runtime_test::patience());
    CHECK(answer.text == "");
    CHECK(answer.result.exit_code == 5);
}

TEST_CASE("An engine that hangs misses a deadline, is named, and is used again when it goes on") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    REQUIRE(::kill(engine_pid(), SIGSTOP) == 0);
    f.stop();
    gantry::testing::FakeHost host({.real_time = true});
    gantry::testing::Settings settings;
    settings.state_dir(f.state_dir().string()).duration("timeout", 300ms);
    runtime_test::traits().settings(settings);
    auto& instance = host.load(GANTRY_PLUGIN_FILE, settings);
    gantry::testing::RuntimeDriver driver(instance);
    instance.start();
    const auto late = driver.list().wait(5s);
    CHECK(late.code == Code::kDeadline);
    CHECK_THAT(late.text, Contains("engine.sock") && Contains("does not answer in time"));
    REQUIRE(::kill(engine_pid(), SIGCONT) == 0);
    CHECK(host.run_until([&] { return driver.list().wait(5s).ok(); }));
}

TEST_CASE("An engine that died says so; when it is back its containers are found, and their ends are told") {
    if (std::string(std::getenv("GANTRY_ENGINE_KIND")) != "podman") return;  // dockerd takes its containers with it
    Fixture f;
    f.run(f.script("c1", "while [ ! -e /tmp/go ]; do $B sleep 0.05; done; exit 9"));
    const std::int64_t pid = f.find("c1").pid;
    REQUIRE(::kill(engine_pid(), SIGKILL) == 0);
    // Away for a moment, then started again by who watches it.
    CHECK(f.host().run_until([&] {
        const auto answer = f.driver().list().wait(20s);
        return answer.ok() && answer.result.containers.size() == 1 && answer.result.containers[0].pid == pid;
    }));
    std::ofstream("/proc/" + std::to_string(pid) + "/root/tmp/go") << "x";
    std::string last;
    const bool ended = f.host().run_until([&] {  // an engine that was killed in the middle may refuse a list at first
        const auto answer = f.driver().list().wait(20s);
        if (!answer.ok()) last = answer.text;
        return answer.ok() && answer.result.containers.size() == 1 && answer.result.containers[0].exit_code == 9;
    });
    INFO("a list was refused: " << last);
    CHECK(ended);
    CHECK(f.host().run_until([&] {
        return std::ranges::any_of(f.driver().exits, [](const auto& e) { return e.name == "c1" && e.exit_code == 9; });
    }));
}

TEST_CASE("Where no engine listens everything is unavailable, with the socket and what to do") {
    const image_builder::Scratch scratch;
    gantry::testing::FakeHost host({.real_time = true});
    gantry::testing::Settings settings;
    settings.state_dir(scratch.path().string()).string("socket", "/nowhere/docker.sock");
    auto& instance = host.load(GANTRY_PLUGIN_FILE, settings);
    gantry::testing::RuntimeDriver driver(instance);
    instance.start();
    const auto answer = driver.list().wait();
    CHECK(answer.code == Code::kUnavailable);
    CHECK_THAT(answer.text, Contains("/nowhere/docker.sock") && Contains("start it"));
    CHECK(driver.ensure_image({"sha256:" + std::string(64, '0'), "/nowhere"}).wait().code == Code::kUnavailable);
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, settings.string("socket", "docker.sock")),
                      Contains("expected an absolute path"));
}

TEST_CASE("Containers cannot be fenced: their cgroups are the engine's") {
    Fixture f;
    CHECK_FALSE(f.driver().facts().fenceable);
    CHECK(f.driver().facts().pause);
    CHECK(f.driver().facts().exec);
}

TEST_CASE("A damaged layer is never loaded, and is named") {
    Fixture f;
    image_builder::Layout layout(f.scratch() / "damaged");
    layout.layer({image_builder::file("a", "text")});
    const std::string digest = layout.finish();
    for (const auto& item : std::filesystem::recursive_directory_iterator(layout.dir() / "blobs")) {
        if (!item.is_regular_file() || std::filesystem::file_size(item) < 1024) continue;
        std::fstream(item.path(), std::ios::in | std::ios::out).write("X", 1);
    }
    const auto answer = f.driver().ensure_image({digest, layout.dir().string()}).wait(10s);
    CHECK(answer.code == Code::kInvalid);
    CHECK_THAT(answer.text, Contains("sha256:"));
    CHECK(f.driver().images().wait().result.images == std::vector<std::string>{f.image()});
}
