// SPDX-License-Identifier: Apache-2.0
//
// What every runtime promises (sdk/abi/include/gantry/abi/runtime.h).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using gantry::ContainerState;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

// The text of a failure, "" for success: shown by a test that fails.
template <class Pending>
std::string trouble(Pending&& pending) {
    const auto answer = pending.wait(20s * runtime_test::patience());
    return answer.ok() ? "" : "failed: " + answer.text;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Living processes of this node with this text in their command line.
std::vector<std::int64_t> processes_with(const std::string& text) {
    std::vector<std::int64_t> out;
    for (const auto& item : std::filesystem::directory_iterator("/proc")) {
        const std::string name = item.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::string line = image_builder::slurp(item.path() / "cmdline");
        std::replace(line.begin(), line.end(), '\0', ' ');
        if (has(line, text) && runtime_test::alive(std::stoll(name))) out.push_back(std::stoll(name));
    }
    return out;
}

// A number that no other test run sleeps for: its processes are known by it.
std::string unique_seconds() {
    static int next = 0;
    return std::to_string(100'000'000 + static_cast<long long>(::getpid()) * 100 + next++);
}

constexpr const char* kSleep = "exec $B sleep 60";

}  // namespace

TEST_CASE("A container runs what the image says, prints, ends and is forgotten") {
    Fixture f;
    gantry::ContainerSpec spec;
    spec.name = "c1";
    spec.image = f.image();
    spec.labels = {{"gantry.service", "axis"}, {"gantry.epoch", "7"}};
    REQUIRE(trouble(f.driver().create(spec)) == "");
    const gantry::Container made = f.find("c1");
    CHECK(made.state == ContainerState::kCreated);
    CHECK(made.labels == spec.labels);
    REQUIRE(trouble(f.driver().start("c1")) == "");
    const gantry::Container ended = f.wait_exit("c1");
    CHECK(ended.exit_code == 0);
    CHECK(ended.pid == 0);
    CHECK(ended.started > gantry::Instant::zero());
    CHECK(f.logs("c1") == "from the image\n");
    CHECK(f.host().run_until([&] { return !f.driver().exits.empty(); }));
    CHECK(f.driver().exits.front().name == "c1");
    CHECK(f.driver().exits.front().exit_code == 0);
    REQUIRE(trouble(f.driver().remove("c1")) == "");
    CHECK(f.names().empty());
}

TEST_CASE("The exit code is that of the program, or 128 and the signal that killed it") {
    Fixture f;
    f.run(f.script("seven", "exit 7"));
    f.run(f.script("killed", kSleep));
    CHECK(f.wait_exit("seven").exit_code == 7);
    const gantry::Container running = f.find("killed");
    CHECK(running.state == ContainerState::kRunning);
    REQUIRE(running.pid > 0);
    REQUIRE(::kill(static_cast<pid_t>(running.pid), SIGKILL) == 0);
    CHECK(f.wait_exit("killed").exit_code == 137);
}

TEST_CASE("Environment, arguments and working directory reach the program") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "echo $FROM_IMAGE $ADDED; $B pwd; echo $0 $1; echo err >&2");
    spec.env = {{"ADDED", "two words"}, {"FROM_IMAGE", "replaced"}};
    spec.cwd = "/etc";
    spec.args.insert(spec.args.end(), {"zero", "one"});
    f.run(spec);
    f.wait_exit("c1");
    const std::string text = f.logs("c1");
    CHECK(has(text, "replaced two words\n"));
    CHECK(has(text, "/etc\n"));
    CHECK(has(text, "zero one\n"));
    CHECK(has(text, "err\n"));
}

TEST_CASE("Stop sends the stop signal and waits for the end") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "trap 'exit 3' TERM; echo up; while :; do $B sleep 0.05; done");
    f.run(spec);
    spec = f.script("c2", "trap 'exit 4' USR1; echo up; while :; do $B sleep 0.05; done");
    spec.stop_signal = SIGUSR1;
    f.run(spec);
    REQUIRE(f.logged("c1", "up"));
    REQUIRE(f.logged("c2", "up"));
    REQUIRE(trouble(f.driver().stop("c1", 8s)) == "");
    CHECK(f.find("c1").exit_code == 3);
    REQUIRE(trouble(f.driver().stop("c2", 8s)) == "");
    CHECK(f.find("c2").exit_code == 4);
    CHECK(trouble(f.driver().stop("c1", 1s)) == "");
}

TEST_CASE("A container that ignores the stop signal is killed after the grace, with all its processes") {
    Fixture f;
    // One child in a session of its own, and one whose parent is gone.
    const std::string seconds = unique_seconds();
    f.run(f.script("c1", "trap '' TERM; $B setsid $B sleep " + seconds + " & ( $B sleep " + seconds +
                             " & ) ; echo up; while :; do $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "up"));
    REQUIRE(f.host().run_until([&] { return processes_with("sleep " + seconds).size() >= 2; }));
    const gantry::Instant before = f.host().now();
    REQUIRE(trouble(f.driver().stop("c1", 300ms)) == "");
    CHECK(f.host().now() - before >= 300ms);
    CHECK(f.host().now() - before < 5s);
    const gantry::Container ended = f.find("c1");
    CHECK(ended.state == ContainerState::kExited);
    CHECK(ended.exit_code == 137);
    // A monitor, whose arguments are the container's, says that it ended and then ends itself.
    CHECK(f.host().run_until([&] { return processes_with("sleep " + seconds).empty(); }));
}

TEST_CASE("Kill ends a stop that still waits, and both are answered") {
    Fixture f;
    f.run(f.script("c1", "trap '' TERM; echo up; while :; do $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "up"));
    auto stop = f.driver().stop("c1", 60s);
    auto kill = f.driver().kill("c1");
    CHECK(trouble(kill) == "");
    CHECK(trouble(stop) == "");
    CHECK(f.find("c1").exit_code == 137);
}

TEST_CASE("The end of the first process is the end of the container") {
    Fixture f;
    const std::string seconds = unique_seconds();
    f.run(f.script("c1", "$B sleep " + seconds + " & $B setsid $B sleep " + seconds +
                             " & while [ ! -e /proc/$! ]; do :; done; exit 5"));
    CHECK(f.wait_exit("c1").exit_code == 5);
    CHECK(f.host().run_until([&] { return processes_with("sleep " + seconds).empty(); }));
}

TEST_CASE("Operations are idempotent and say what does not exist") {
    Fixture f;
    const gantry::ContainerSpec spec = f.script("c1", kSleep);
    f.run(spec);
    const std::int64_t pid = f.find("c1").pid;
    CHECK(trouble(f.driver().create(spec)) == "");
    CHECK(trouble(f.driver().start("c1")) == "");
    CHECK(f.find("c1").pid == pid);
    CHECK(f.driver().remove("c1").wait().code == Code::kConflict);
    CHECK(trouble(f.driver().kill("c1")) == "");
    CHECK(trouble(f.driver().kill("c1")) == "");
    CHECK(f.driver().start("c1").wait().code == Code::kConflict);
    CHECK(trouble(f.driver().remove("c1")) == "");
    CHECK(trouble(f.driver().remove("c1")) == "");
    CHECK(f.driver().start("c1").wait().code == Code::kNotFound);
    CHECK(f.driver().stop("c1", 1s).wait().code == Code::kNotFound);
    CHECK(f.driver().kill("c1").wait().code == Code::kNotFound);
}

TEST_CASE("Calls for one container that come at once are done in order") {
    Fixture f;
    const gantry::ContainerSpec spec = f.script("c1", kSleep);
    auto create = f.driver().create(spec);
    auto again = f.driver().create(spec);
    auto start = f.driver().start("c1");
    auto kill = f.driver().kill("c1");
    auto remove = f.driver().remove("c1");
    auto anew = f.driver().create(spec);
    CHECK(trouble(create) == "");
    CHECK(trouble(again) == "");
    CHECK(trouble(start) == "");
    CHECK(trouble(kill) == "");
    const auto removed = remove.wait();
    CHECK((removed.ok() || removed.code == Code::kConflict));
    CHECK(trouble(anew) == "");
}

TEST_CASE("A wrong spec is refused with what to change, and leaves nothing") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", kSleep);
    SECTION("name") {
        spec.name = "../c1";
        CHECK(f.driver().create(spec).wait().code == Code::kInvalid);
    }
    SECTION("image") {
        spec.image = "sha256:" + std::string(64, '0');
        const auto answer = f.driver().create(spec).wait();
        CHECK(answer.code == Code::kNotFound);
        CHECK(has(answer.text, spec.image));
    }
    SECTION("mount source") {
        spec.mounts = {{"/nonexistent/source", "/mnt", false}};
        const auto answer = f.driver().create(spec).wait();
        CHECK(answer.code == Code::kInvalid);
        CHECK(has(answer.text, "/nonexistent/source"));
    }
    SECTION("program") {
        spec.args = {"/bin/nothing"};
        auto answer = f.driver().create(spec).wait();
        if (answer.ok()) answer = f.driver().start("c1").wait();
        CHECK_FALSE(answer.ok());
        CHECK(has(answer.text, "/bin/nothing"));
        (void)f.driver().remove("c1").wait();
    }
    SECTION("working directory") {
        spec.cwd = "relative";
        CHECK(f.driver().create(spec).wait().code == Code::kInvalid);
    }
    SECTION("variable") {
        spec.env = {{"A=B", "x"}};
        CHECK(f.driver().create(spec).wait().code == Code::kInvalid);
    }
    CHECK(f.names().empty());
}

TEST_CASE("A container that was only created can be stopped and removed") {
    Fixture f;
    REQUIRE(trouble(f.driver().create(f.script("c1", kSleep))) == "");
    REQUIRE(trouble(f.driver().create(f.script("c2", kSleep))) == "");
    REQUIRE(trouble(f.driver().stop("c1", 1s)) == "");
    CHECK(f.find("c1").state == ContainerState::kExited);
    REQUIRE(trouble(f.driver().remove("c1")) == "");
    REQUIRE(trouble(f.driver().remove("c2")) == "");
    CHECK(f.names().empty());
}

TEST_CASE("Containers outlive the daemon and are adopted, ended ones with their code") {
    Fixture f;
    f.run(f.script("runs", kSleep));
    f.run(f.script("ends", "$B sleep 0.3; echo late; exit 9"));
    f.run(f.script("ended", "exit 8"));
    REQUIRE(trouble(f.driver().create(f.script("made", "echo made; exit 6"))) == "");
    f.wait_exit("ended");
    const gantry::Container before = f.find("runs");
    const std::int64_t ends = f.find("ends").pid;
    f.stop();
    REQUIRE(runtime_test::eventually([&] { return !runtime_test::alive(ends); }));
    f.begin();

    const gantry::Container after = f.find("runs");
    CHECK(after.state == ContainerState::kRunning);
    CHECK(after.pid == before.pid);
    CHECK(after.started == before.started);
    CHECK(f.find("ends").exit_code == 9);
    CHECK(f.find("ended").exit_code == 8);
    CHECK(f.logs("ends") == "late\n");
    CHECK(f.find("made").state == ContainerState::kCreated);
    REQUIRE(trouble(f.driver().start("made")) == "");
    CHECK(f.wait_exit("made").exit_code == 6);
    CHECK(trouble(f.driver().create(f.script("runs", kSleep))) == "");

    // The end of an adopted one is noticed, and it can be stopped like any other.
    f.driver().exits.clear();
    REQUIRE(::kill(static_cast<pid_t>(after.pid), SIGKILL) == 0);
    CHECK(f.host().run_until([&] {
        return std::any_of(f.driver().exits.begin(), f.driver().exits.end(),
                           [](const auto& exit) { return exit.name == "runs" && exit.exit_code == 137; });
    }));
}

TEST_CASE("An adopted container can be stopped") {
    Fixture f;
    f.run(f.script("c1", "trap 'exit 3' TERM; echo up; while :; do $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "up"));
    f.restart();
    REQUIRE(trouble(f.driver().stop("c1", 8s)) == "");
    CHECK(f.find("c1").exit_code == 3);
}

TEST_CASE("Without its monitor a container goes on, and its end is known but not its code") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    const std::int64_t pid = f.find("c1").pid;
    const std::int64_t monitor = runtime_test::parent_of(pid);
    REQUIRE(monitor > 1);
    REQUIRE(::kill(static_cast<pid_t>(monitor), SIGKILL) == 0);
    REQUIRE(f.host().run_until([&] { return !runtime_test::alive(monitor); }));
    CHECK(f.find("c1").state == ContainerState::kRunning);
    REQUIRE(trouble(f.driver().kill("c1")) == "");
    const gantry::Container ended = f.find("c1");
    CHECK(ended.state == ContainerState::kExited);
    CHECK(ended.exit_code == -1);
    CHECK(ended.detail != "");
}

TEST_CASE("After a reboot containers are listed as ended, and a process with an old number is left alone") {
    Fixture f;
    f.run(f.script("c1", kSleep));
    const std::int64_t pid = f.find("c1").pid;
    REQUIRE(trouble(f.driver().kill("c1")) == "");
    // Start times count hundredths of a second: let the next process have another one.
    f.host().run_until([] { return false; }, 30ms);
    f.stop();
    // Somebody else has the number now: this test's own child. Only the start time tells.
    const pid_t other = ::fork();
    if (other == 0) {
        ::pause();
        ::_exit(0);
    }
    const auto file = f.state_dir() / "containers/c1/record.json";
    std::string record = image_builder::slurp(file);
    const std::string number = "\"pid\":" + std::to_string(pid);
    REQUIRE(has(record, number));
    record.replace(record.find(number), number.size(), "\"pid\":" + std::to_string(other));
    image_builder::spill(file, record);
    std::filesystem::remove(f.state_dir() / "exits/c1");

    f.begin();
    const gantry::Container found = f.find("c1");
    CHECK(found.state == ContainerState::kExited);
    CHECK(found.exit_code == -1);
    CHECK(trouble(f.driver().kill("c1")) == "");
    CHECK(trouble(f.driver().remove("c1")) == "");
    CHECK(f.names().empty());
    CHECK(runtime_test::alive(other));
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
}

TEST_CASE("What a daemon left half-made is swept and never listed") {
    Fixture f;
    f.stop();
    std::filesystem::create_directories(f.state_dir() / "containers/half/upper");
    image_builder::spill(f.state_dir() / "containers/half/record.json.new", "{");
    std::filesystem::create_directories(f.state_dir() / "containers/cut");
    image_builder::spill(f.state_dir() / "containers/cut/record.json", "{\"name\":");
    f.begin();
    CHECK(f.names().empty());
    CHECK(trouble(f.driver().create(f.script("half", kSleep))) == "");
    CHECK(f.host().run_until([&] { return !std::filesystem::exists(f.state_dir() / "containers/cut"); }));
}

TEST_CASE("An image in use cannot be removed, an unused one can") {
    Fixture f;
    REQUIRE(trouble(f.driver().create(f.script("c1", kSleep))) == "");
    CHECK(f.driver().images().wait().result.images == std::vector<std::string>{f.image()});
    const auto refused = f.driver().remove_image(f.image()).wait();
    CHECK(refused.code == Code::kConflict);
    CHECK(has(refused.text, "c1"));
    REQUIRE(trouble(f.driver().remove("c1")) == "");
    CHECK(trouble(f.driver().remove_image(f.image())) == "");
    CHECK(f.driver().images().wait().result.images.empty());
    CHECK(f.driver().create(f.script("c1", kSleep)).wait().code == Code::kNotFound);
}

TEST_CASE("Many containers start and stop at the same time") {
    Fixture f;
    std::vector<gantry::testing::Pending<void>> creates, starts, kills, removes;
    constexpr int kCount = 12;
    const auto name = [](int i) { return "c" + std::to_string(i); };
    for (int i = 0; i < kCount; ++i) creates.push_back(f.driver().create(f.script(name(i), kSleep)));
    for (int i = 0; i < kCount; ++i) starts.push_back(f.driver().start(name(i)));
    for (auto& pending : starts) CHECK(trouble(pending) == "");
    CHECK(f.names().size() == kCount);
    for (int i = 0; i < kCount; ++i) kills.push_back(f.driver().kill(name(i)));
    for (auto& pending : kills) CHECK(trouble(pending) == "");
    for (int i = 0; i < kCount; ++i) removes.push_back(f.driver().remove(name(i)));
    for (auto& pending : removes) CHECK(trouble(pending) == "");
    CHECK(f.names().empty());
}

TEST_CASE("A running container is measured") {
    Fixture f;
    f.run(f.script("c1", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; exec $B sleep 60"));
    REQUIRE(f.logged("c1", "up"));
    const auto answer = f.driver().stats("c1").wait();
    REQUIRE(answer.ok());
    CHECK(answer.result.cpu > 1ms);
    CHECK(answer.result.memory_bytes > 10'000);
    CHECK(answer.result.pids >= 1);
    CHECK(f.driver().stats("none").wait().code == Code::kNotFound);
}

TEST_CASE("A runtime does not carry what only unpacking needs") {
    CHECK_FALSE(has(image_builder::slurp(runtime_test::traits().plugin_file), "libarchive.so"));
}

TEST_CASE("Without the program that unpacks layers a runtime does not start, and says what to do") {
    const image_builder::Scratch scratch;
    gantry::testing::FakeHost host;
    gantry::testing::Settings settings;
    settings.state_dir(scratch.path().string());
    if (runtime_test::traits().settings) runtime_test::traits().settings(settings);
    settings.string("unpack_path", "/nowhere/gantry-unpack");
    CHECK_THROWS_WITH(host.load(runtime_test::traits().plugin_file, settings),
                      Catch::Contains("unpack_path") && Catch::Contains("/nowhere/gantry-unpack"));
}
