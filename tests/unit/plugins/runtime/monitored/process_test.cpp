// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/process.hpp"

#include <sys/resource.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <gantry/status.hpp>

using namespace std::chrono_literals;

TEST_CASE("Without a free descriptor a program is not run, or ended, but never waited for without a deadline") {
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    int failed = 0, late = 0;
    for (rlim_t limit = 3; limit < 60; ++limit) {
        rlimit few = before;
        few.rlim_cur = limit;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        gantry::Code code = gantry::Code::kOk;
        const gantry::Instant from = monitored::now();
        try {
            monitored::run({{"/bin/sleep", "60"}, {}, "/", {}}, monitored::now() + 20ms);
        } catch (const gantry::Failure& failure) {
            code = failure.code();
        }
        const gantry::Duration took = monitored::now() - from;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
        CAPTURE(limit);
        CHECK(took < 10s);
        REQUIRE((code == gantry::Code::kFailed || code == gantry::Code::kDeadline));
        (code == gantry::Code::kFailed ? failed : late) += 1;
    }
    CHECK(failed > 10);
    CHECK(late > 0);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // no child is left
}
