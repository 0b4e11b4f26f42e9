// SPDX-License-Identifier: Apache-2.0
#include "kernel/crash/code.hpp"

#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>

namespace gantry::crash {

TEST_CASE("code is its plugin's, and what nobody claimed is nobody's") {
    void* const library = ::dlopen(OWN_THREAD, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(library != nullptr);
    const void* const code = ::dlsym(library, "fail_on_a_thread");
    const auto address = reinterpret_cast<std::uintptr_t>(code);
    CHECK(owner_of(address) == nullptr);
    claim(code, Subject("probe.threaded", std::string(64, 'e')));  // as witness_test.cpp claims it, in the same process
    claim(code, Subject("probe.second", "1"));
    REQUIRE(owner_of(address) != nullptr);
    CHECK(std::string(owner_of(address)->title.data()) == "probe.threaded");
    CHECK(owner_of(reinterpret_cast<std::uintptr_t>(&std::abort)) == nullptr);
    CHECK(owner_of(0) == nullptr);
    CHECK(owner_of_calls() == nullptr);  // this stack has none of it
    const int on_the_stack = 0;
    claim(&on_the_stack, Subject("probe.nowhere", "1"));
    CHECK(owner_of(reinterpret_cast<std::uintptr_t>(&on_the_stack)) == nullptr);
}

}  // namespace gantry::crash
