// SPDX-License-Identifier: Apache-2.0
//
// What a plugin's process may do, by the permissions of its plugin.toml.
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/unit/kernel/isolation/isolated_bench.hpp"

#ifndef __SANITIZE_ADDRESS__  // there is no filter then

namespace gantry::host {
namespace {

const std::string kDenied = std::strerror(EPERM);

}  // namespace

TEST_CASE("without permissions a plugin computes and reads, and no more") {
    IsolatedBench bench;
    bench.start("breaker");
    CHECK(bench.told("read") == "done");
    for (const char* what : {"write", "socket", "fork", "exec", "kill", "mount"}) {
        INFO(what);
        CHECK(bench.told(what) == kDenied);
    }
    CHECK(bench.told("thread") == "of a thread");
    const std::string status = bench.told("status");
    CHECK(status.find("CapEff: 0000000000000000") != std::string::npos);
    CHECK(status.find("NoNewPrivs: 1") != std::string::npos);
    CHECK(status.find("Seccomp: 2") != std::string::npos);
    if (::geteuid() == 0) CHECK(status.find("CapBnd: 0000000000000000") != std::string::npos);
}

TEST_CASE("permissions for files and network give those and nothing else") {
    IsolatedBench bench;
    bench.start("free");
    for (const char* what : {"read", "write", "socket"}) {
        INFO(what);
        CHECK(bench.told(what) == "done");
    }
    if (::geteuid() == 0) CHECK(bench.told("port") == "done");
    for (const char* what : {"packet", "fork", "exec", "kill", "mount"}) {
        INFO(what);
        CHECK(bench.told(what) == kDenied);
    }
}

}  // namespace gantry::host

#endif
