// SPDX-License-Identifier: Apache-2.0
//
// Where a plugin's code may run, decided from who vouches for it, what the table asks and what is remembered.
#include <catch2/catch.hpp>

#include "kernel/host/ruling.hpp"

namespace gantry::host {
namespace {

Case of(trust::Voucher voucher) {
    Case out;
    out.origin.voucher = voucher;
    out.origin.text = voucher == trust::Voucher::kNobody ? "not signed" : "package";
    return out;
}

crash::Standing crashed(bool here, bool isolated) {
    crash::Standing out;
    out.here = here;
    out.isolated = isolated;
    out.crashes = 3;
    out.text = "crashed 3 times within 5 minutes, last in score (SIGSEGV)";
    return out;
}

const std::string kCrashed = "it crashed 3 times within 5 minutes, last in score (SIGSEGV)";

}  // namespace

TEST_CASE("what the package or a trusted key vouches for runs as its table says") {
    for (const trust::Voucher voucher : {trust::Voucher::kPackage, trust::Voucher::kKey}) {
        for (const bool require : {false, true}) {
            Case c = of(voucher);
            c.require_signature = require;
            CHECK(decide(c).where == Where::kInProcess);
            c.asked = true;
            CHECK(decide(c).where == Where::kIsolated);
            CHECK(decide(c).why == "");
        }
    }
}

TEST_CASE("what nobody vouches for runs isolated, and not at all where signatures are required") {
    Case c = of(trust::Voucher::kNobody);
    CHECK(decide(c).where == Where::kIsolated);
    CHECK(decide(c).why == "it is not signed");
    c.require_signature = true;
    CHECK(decide(c).where == Where::kRefused);
    CHECK(decide(c).why ==
          "it is not signed, and [plugins] require_signature is on; sign it with gantry-plugin sign and put the public "
          "key among the trusted ones");
    c.require_signature = false;
    c.isolable = false;
    CHECK(decide(c).where == Where::kRefused);
    CHECK(decide(c).why ==
          "it is not signed, and this role cannot run in a process of its own; sign it with gantry-plugin sign and put "
          "the public key among the trusted ones");
}

TEST_CASE("a plugin that took gantryd down three times runs isolated next") {
    for (const bool required : {false, true}) {
        Case c = of(trust::Voucher::kPackage);
        c.required = required;
        c.crashes = crashed(true, false);
        CHECK(decide(c).where == Where::kIsolated);
        CHECK(decide(c).why == kCrashed);
    }
}

TEST_CASE("one that fails isolated as well is refused if it is optional, and tried for ever if it is required") {
    Case c = of(trust::Voucher::kPackage);
    c.crashes = crashed(true, true);
    CHECK(decide(c).where == Where::kRefused);
    CHECK(decide(c).why == kCrashed);
    c.required = true;
    CHECK(decide(c).where == Where::kIsolated);
    c.crashes = crashed(false, true);  // it never ran here
    CHECK(decide(c).where == Where::kIsolated);
    c.required = false;
    CHECK(decide(c).where == Where::kRefused);
}

TEST_CASE("crashes that an operator allows do not count; who vouches still does") {
    Case c = of(trust::Voucher::kPackage);
    c.crashes = crashed(true, true);
    c.crashes.allowed = true;
    CHECK(decide(c).where == Where::kInProcess);
    c.origin = of(trust::Voucher::kNobody).origin;
    CHECK(decide(c).where == Where::kIsolated);
    c.require_signature = true;
    CHECK(decide(c).where == Where::kRefused);
}

TEST_CASE("a role that cannot be isolated is refused after crashes if it is optional, and runs on if it is required") {
    Case c = of(trust::Voucher::kPackage);
    c.isolable = false;
    CHECK(decide(c).where == Where::kInProcess);
    c.crashes = crashed(true, false);
    CHECK(decide(c).where == Where::kRefused);
    CHECK(decide(c).why == kCrashed);
    c.required = true;
    CHECK(decide(c).where == Where::kInProcess);
    CHECK(decide(c).why == kCrashed);
    c.asked = true;
    CHECK(decide(c).where == Where::kRefused);
    CHECK(decide(c).why == "isolation = \"process\": this role cannot run in a process of its own");
}

}  // namespace gantry::host
