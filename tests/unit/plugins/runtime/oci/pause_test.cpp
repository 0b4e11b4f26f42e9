// SPDX-License-Identifier: Apache-2.0
//
// Containers that stand still.
#include <fcntl.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using gantry::ContainerState;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

constexpr const char* kCounts =
    "trap 'echo asked; exit 5' TERM; n=0; while :; do n=$((n+1)); echo $n; $B sleep 0.02; done";

template <class Pending>
std::string trouble(Pending&& pending) {
    const auto answer = pending.wait(20s * runtime_test::patience());
    return answer.ok() ? "" : "failed: " + answer.text;
}

// What it wrote, when nothing has come for a while.
bool stands_still(Fixture& f) {
    const std::string before = f.logs("c1");
    f.host().run_until([] { return false; }, 300ms);
    return f.logs("c1") == before;
}

bool goes_on(Fixture& f) {
    const std::size_t before = f.logs("c1").size();
    return f.host().run_until([&] { return f.logs("c1").size() > before; });
}

}  // namespace

TEST_CASE("A container is paused and goes on, each as often as one likes") {
    Fixture f;
    REQUIRE(f.driver().facts().pause);
    f.run(f.script("c1", kCounts));
    REQUIRE(f.logged("c1", "3\n"));
    CHECK(trouble(f.driver().resume("c1")) == "");
    for (int i = 0; i < 2; ++i) REQUIRE(trouble(f.driver().pause("c1")) == "");
    CHECK(f.find("c1").state == ContainerState::kPaused);
    CHECK(f.find("c1").pid > 0);
    CHECK(stands_still(f));
    CHECK(f.driver().stats("c1").wait().ok());
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const gantry::Fd ours(ends[0]);
    const auto refused = f.driver().exec("c1", {"/bin/busybox", "true"}, gantry::Fd(ends[1])).wait();
    CHECK(refused.code == Code::kConflict);
    CHECK(refused.text.find("is paused") != std::string::npos);
    // The next daemon finds it as it is.
    f.restart();
    CHECK(f.find("c1").state == ContainerState::kPaused);
    CHECK(stands_still(f));
    for (int i = 0; i < 2; ++i) REQUIRE(trouble(f.driver().resume("c1")) == "");
    CHECK(f.find("c1").state == ContainerState::kRunning);
    CHECK(goes_on(f));
    CHECK(f.driver().pause("none").wait().code == Code::kNotFound);
    REQUIRE(trouble(f.driver().create(f.script("c2", "exit 0"))) == "");
    CHECK(f.driver().pause("c2").wait().code == Code::kConflict);
}

TEST_CASE("A paused container hears that it shall end, or is killed, and leaves nothing") {
    Fixture f;
    f.run(f.script("c1", kCounts));
    REQUIRE(f.logged("c1", "3\n"));
    REQUIRE(trouble(f.driver().pause("c1")) == "");
    const bool kill = GENERATE(false, true);
    INFO("killed: " << kill);
    CHECK(trouble(kill ? f.driver().kill("c1") : f.driver().stop("c1", 10s)) == "");
    CHECK(f.find("c1").state == ContainerState::kExited);
    CHECK(f.find("c1").exit_code == (kill ? 137 : 5));
    CHECK((f.logs("c1").find("asked\n") != std::string::npos) == !kill);
    CHECK(f.driver().pause("c1").wait().code == Code::kConflict);
    CHECK(trouble(f.driver().remove("c1")) == "");
}
