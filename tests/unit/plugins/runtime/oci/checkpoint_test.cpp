// SPDX-License-Identifier: Apache-2.0
//
// Containers whose memory lies on disk, by the real criu where it works; elsewhere by programs that take its place.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <sstream>

#include "tests/unit/plugins/runtime/fixture.hpp"

namespace runtime_test {
// Of the plugin, for the next fixtures; empty: none.
void set_extra_setting(const std::string& key, const std::string& value);
}  // namespace runtime_test

namespace fs = std::filesystem;
using gantry::Code;
using gantry::ContainerState;
using runtime_test::Fixture;
using namespace image_builder;
using namespace std::chrono_literals;

namespace {

// What is counted is in the shell's memory alone.
constexpr const char* kCounts =
    "trap 'echo asked; exit 5' TERM; n=0; while :; do n=$((n+1)); echo $n; $B sleep 0.02; done";

std::string engine() {
    const char* named = std::getenv("GANTRY_TEST_ENGINE");
    return named == nullptr ? "runc" : named;
}

template <class Pending>
std::string trouble(Pending&& pending) {
    const auto answer = pending.wait(20s * runtime_test::patience());
    return answer.ok() ? "" : "failed: " + answer.text;
}

std::string logged_reason(Fixture& f) {
    for (const auto& line : f.host().logs()) {
        if (line.text.find("checkpoints are") != std::string::npos) return line.text;
    }
    return {};
}

// Said once for each test.
bool offered(Fixture& f) {
    if (f.driver().facts().checkpoint) return true;
    WARN("skipped: " << logged_reason(f));
    return false;
}

bool goes_on(Fixture& f) {
    const std::size_t before = f.logs("c1").size();
    return f.host().run_until([&] { return f.logs("c1").size() > before; });
}

// Every number is one more than the one before it.
bool counted_on(const std::string& log) {
    std::istringstream lines(log);
    long expected = 1;
    for (std::string line; std::getline(lines, line); ++expected) {
        if (line != std::to_string(expected)) return false;
    }
    return expected > 1;
}

// A program named criu; text: of a shell script.
class InsteadOfCriu {
  public:
    explicit InsteadOfCriu(const std::string& text) {
        const fs::path program = scratch_.path() / "criu";
        spill(program, "#!/bin/sh\n" + text);
        ::chmod(program.c_str(), 0755);
        runtime_test::set_extra_setting("criu_path", program.string());
    }
    ~InsteadOfCriu() { runtime_test::set_extra_setting("", ""); }

  private:
    Scratch scratch_;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("Where criu does not suit the kernel checkpoints are not offered, and refused with the reason") {
    const InsteadOfCriu criu("echo '(00.01) Error (criu/vdso.c:1): vdso is of another world' >&2; exit 1");
    Fixture f;
    CHECK_FALSE(f.driver().facts().checkpoint);
    f.run(f.script("c1", kCounts));
    const std::string reason = engine() == "runc" ? "this node's kernel does not suit criu: vdso is of another world"
                                                  : "engine = \"runc\" alone";
    CHECK(has(logged_reason(f), "checkpoints are not offered: "));
    CHECK(has(logged_reason(f), reason));
    for (const bool restore : {false, true}) {
        const auto refused = (restore ? f.driver().restore("c1") : f.driver().checkpoint("c1")).wait();
        CHECK(refused.code == Code::kUnsupported);
        CHECK(has(refused.text, reason));
    }
    CHECK(f.find("c1").state == ContainerState::kRunning);
}

TEST_CASE("A criu that hangs delays the start by five seconds at most, and is not offered") {
    if (engine() != "runc") return;
    const InsteadOfCriu criu("exec sleep 1000");
    Fixture f;
    CHECK_FALSE(f.driver().facts().checkpoint);
    CHECK(has(logged_reason(f), "did not end in time"));
}

TEST_CASE("A checkpoint that criu cannot write leaves the container as it was") {
    if (engine() != "runc") return;
    const InsteadOfCriu criu("[ \"$1\" = check ]");
    Fixture f;
    CHECK(f.driver().facts().checkpoint);
    f.run(f.script("c1", kCounts));
    REQUIRE(f.logged("c1", "3\n"));
    const auto pid = f.find("c1").pid;
    const auto failed = f.driver().checkpoint("c1").wait(20s * runtime_test::patience());
    CHECK(failed.code == Code::kFailed);
    CHECK(has(failed.text, "cannot be checkpointed"));
    CHECK(f.find("c1").state == ContainerState::kRunning);
    CHECK(f.find("c1").pid == pid);
    CHECK(goes_on(f));
    CHECK(counted_on(f.logs("c1")));
    for (const char* name : {"checkpoint", "checkpoint.new"})
        CHECK_FALSE(fs::exists(f.state_dir() / "containers" / "c1" / name));
    gantry::ContainerSpec apart = f.script("c2", "exec $B sleep 1000");
    apart.settings = R"({"container": {"network": "none"}})";
    f.run(apart);
    const auto refused = f.driver().checkpoint("c2").wait();
    CHECK(refused.code == Code::kUnsupported);
    CHECK(has(refused.text, "network of its own"));
}

TEST_CASE("A container counts on from where it was checkpointed") {
    Fixture f;
    if (!offered(f)) return;
    gantry::ContainerSpec spec = f.script("c1", kCounts);
    spec.memory_bytes = 64 << 20;
    spec.cpu_milli = 900;
    f.run(spec);
    REQUIRE(f.logged("c1", "3\n"));
    const auto before = f.find("c1");
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 2; ++i) REQUIRE(trouble(f.driver().checkpoint("c1")) == "");
        const auto rests = f.find("c1");
        CHECK(rests.state == ContainerState::kPaused);
        CHECK(rests.pid == 0);
        CHECK(has(rests.detail, "MiB on disk"));
        CHECK_FALSE(runtime_test::alive(before.pid));
        CHECK_FALSE(goes_on(f));
        CHECK(f.driver().pause("c1").wait().code == Code::kConflict);
        CHECK(f.driver().resume("c1").wait().code == Code::kConflict);
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        const gantry::Fd ours(ends[0]);
        const auto refused = f.driver().exec("c1", {"/bin/busybox", "true"}, gantry::Fd(ends[1])).wait();
        CHECK(refused.code == Code::kConflict);
        CHECK(has(refused.text, "is checkpointed"));
        f.restart();
        CHECK(f.find("c1").state == ContainerState::kPaused);
        REQUIRE(trouble(f.driver().restore("c1")) == "");
        CHECK(f.find("c1").state == ContainerState::kRunning);
        CHECK(runtime_test::alive(f.find("c1").pid));
        CHECK(goes_on(f));
        CHECK(counted_on(f.logs("c1")));
        const auto stats = f.driver().stats("c1").wait();
        CHECK(stats.ok());
        CHECK(stats.result.memory_bytes > 0);
    }
    f.restart();
    CHECK(f.find("c1").state == ContainerState::kRunning);
    CHECK(goes_on(f));
    CHECK(counted_on(f.logs("c1")));
    REQUIRE(trouble(f.driver().stop("c1", 10s * runtime_test::patience())) == "");
    CHECK(f.find("c1").exit_code == 5);
    CHECK(has(f.logs("c1"), "asked\n"));
    CHECK(trouble(f.driver().remove("c1")) == "");
}

TEST_CASE("A checkpoint that is damaged restores nothing, and does so when it is mended") {
    Fixture f;
    if (!offered(f)) return;
    f.run(f.script("c1", kCounts));
    REQUIRE(f.logged("c1", "3\n"));
    REQUIRE(trouble(f.driver().checkpoint("c1")) == "");
    const fs::path image = f.state_dir() / "containers" / "c1" / "checkpoint" / "pstree.img";
    const std::string good = slurp(image);
    spill(image, "");
    const auto failed = f.driver().restore("c1").wait(20s * runtime_test::patience());
    CHECK(failed.code == Code::kFailed);
    CHECK(has(failed.text, "cannot be restored: criu: "));
    CHECK(f.find("c1").state == ContainerState::kPaused);
    spill(image, good);
    REQUIRE(trouble(f.driver().restore("c1")) == "");
    CHECK(goes_on(f));
    CHECK(counted_on(f.logs("c1")));
    // It exits by itself as any other.
    REQUIRE(trouble(f.driver().kill("c1")) == "");
    CHECK(f.wait_exit("c1").exit_code == 137);
}

TEST_CASE("A checkpointed container that is stopped or removed leaves nothing") {
    Fixture f;
    if (!offered(f)) return;
    f.run(f.script("c1", kCounts));
    REQUIRE(f.logged("c1", "3\n"));
    REQUIRE(trouble(f.driver().checkpoint("c1")) == "");
    REQUIRE(trouble(f.driver().stop("c1", 1s)) == "");
    CHECK(f.find("c1").state == ContainerState::kExited);
    CHECK(f.find("c1").exit_code == 137);
    CHECK(trouble(f.driver().remove("c1")) == "");
    CHECK_FALSE(fs::exists(f.state_dir() / "containers" / "c1"));
}

TEST_CASE("Files that are open and a port that is listened at are there again, connections are closed") {
    Fixture f;
    if (!offered(f)) return;
    // At the first port there is a connection, at the second somebody listens.
    f.run(f.script("c1",
                   "exec 5>/tmp/open; n=0; for port in 7119 7120; do "
                   "(while :; do $B nc -l -p $port -e $B cat 5>&-; done) & done; "
                   "while :; do n=$((n+1)); echo $n >&5; echo $n; $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "3\n"));
    const auto dial = [](std::uint16_t port) {
        const gantry::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const timeval limit{20, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) return gantry::Fd();
        return gantry::Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    };
    const auto answers = [](const gantry::Fd& fd) {
        char got[4] = {};
        return ::send(fd.get(), "ping", 4, MSG_NOSIGNAL) == 4 && ::recv(fd.get(), got, 4, MSG_WAITALL) == 4;
    };
    gantry::Fd before;
    REQUIRE(runtime_test::eventually([&] { return static_cast<bool>(before = dial(7119)); }));
    REQUIRE(answers(before));
    REQUIRE(trouble(f.driver().checkpoint("c1")) == "");
    CHECK_FALSE(dial(7120));
    CHECK_FALSE(answers(before));
    REQUIRE(trouble(f.driver().restore("c1")) == "");
    CHECK(goes_on(f));
    CHECK(counted_on(f.logs("c1")));
    for (const std::uint16_t port : {7120, 7119}) {
        gantry::Fd after;
        CHECK(runtime_test::eventually([&] { return static_cast<bool>(after = dial(port)) && answers(after); }));
    }
}
