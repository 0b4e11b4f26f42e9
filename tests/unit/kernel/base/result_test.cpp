// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/result.hpp"

#include <catch2/catch.hpp>

using namespace gantry;

namespace {
Result<int> half(int n) {
    if (n % 2) return fail(Code::kInvalid, "odd", "n");
    return n / 2;
}
Result<int> quarter(int n) {
    GANTRY_TRY(h, half(n));
    GANTRY_TRY(q, half(h));
    return q;
}
}  // namespace

TEST_CASE("a failure leaves the function at the first step that fails") {
    CHECK(quarter(8).value() == 2);
    CHECK(quarter(6).error().message == "odd");
}

TEST_CASE("an error keeps its cause and its cause's code") {
    const Error error = fail_because("could not read the service", half(3).error()).error();
    CHECK(error.code == Code::kInvalid);
    CHECK(error.text() == "could not read the service: n: odd");
}

TEST_CASE("only what may pass by itself is worth a retry") {
    CHECK(fail(Code::kUnavailable, "x").error().retry);
    CHECK(fail(Code::kFull, "x").error().retry);
    CHECK_FALSE(fail(Code::kInvalid, "x").error().retry);
}

TEST_CASE("every code has a name of its own") {
    CHECK(code_name(Code::kNotFound) == "not_found");
    CHECK(code_name(Code::kDeadline) == "deadline");
    CHECK(code_name(Code::kFailed) == "failed");
}
