// SPDX-License-Identifier: Apache-2.0
#include "kernel/crash/record.hpp"

#include <catch2/catch.hpp>

namespace gantry::crash {
namespace {

const std::string kBad = "placement.bad", kFile = "d1", kOther = "d2";

// A record whose text is kept, as a file would.
struct Kept {
    std::string text;
    Record record{[this](std::string_view now) {
        text = now;
        return Status();
    }};
    void crash(Instant at, bool isolated = false, const std::string& boot = "b1", const std::string& digest = kFile) {
        REQUIRE(record.note(kBad, digest, {"score", "SIGSEGV", boot, at, isolated}));
    }
    Standing standing() const { return record.standing(kBad, kFile); }
};

Instant at(std::int64_t s) { return {s * 1'000'000'000}; }

}  // namespace

TEST_CASE("three crashes within five minutes trip, and stay so") {
    Kept kept;
    CHECK_FALSE(kept.standing().here);
    CHECK(kept.standing().text == "");
    kept.crash(at(1'000));
    CHECK(kept.standing().text == "crashed 1 time, last in score (SIGSEGV)");
    kept.crash(at(1'100));
    CHECK_FALSE(kept.standing().here);
    kept.crash(at(1'300));
    CHECK(kept.standing().here);
    CHECK_FALSE(kept.standing().isolated);
    CHECK(kept.standing().crashes == 3);
    CHECK(kept.standing().text == "crashed 3 times within 5 minutes, last in score (SIGSEGV)");
    kept.crash(at(100'000));
    CHECK(kept.standing().here);
}

TEST_CASE("three crashes over more than five minutes do not") {
    Kept kept;
    for (int i = 0; i < 20; ++i) kept.crash(at(1'000 + i * 151));
    CHECK_FALSE(kept.standing().here);
    CHECK(kept.standing().crashes == kCrashesKept);
}

TEST_CASE("crashes of different boots of the machine, whose clocks say nothing of each other, are not added up") {
    Kept kept;
    kept.crash(at(100), false, "b1");
    kept.crash(at(101), false, "b2");
    kept.crash(at(102), false, "b3");
    CHECK_FALSE(kept.standing().here);
    kept.crash(at(103), false, "b3");
    kept.crash(at(104), false, "b3");
    CHECK(kept.standing().here);
}

TEST_CASE("crashes of its own process are counted apart from those of gantryd") {
    Kept kept;
    kept.crash(at(1));
    kept.crash(at(2), true);
    kept.crash(at(3), true);
    CHECK_FALSE(kept.standing().isolated);
    kept.crash(at(4), true);
    CHECK(kept.standing().isolated);
    CHECK_FALSE(kept.standing().here);
    CHECK(kept.standing().text == "crashed 3 times within 5 minutes, last in score (SIGSEGV), isolated as well");
}

TEST_CASE("another file begins anew") {
    Kept kept;
    for (int i = 0; i < 3; ++i) kept.crash(at(i));
    CHECK(kept.standing().here);
    CHECK(kept.record.standing(kBad, kOther).crashes == 0);
    CHECK_FALSE(kept.record.standing(kBad, kOther).here);
    kept.crash(at(4), false, "b1", kOther);
    CHECK(kept.record.standing(kBad, kOther).crashes == 1);
    CHECK(kept.standing().crashes == 0);
}

TEST_CASE("clear forgets, allow remembers and lets pass") {
    Kept kept;
    for (int i = 0; i < 3; ++i) kept.crash(at(i));
    REQUIRE(kept.record.allow(kBad, kFile));
    CHECK(kept.standing().allowed);
    CHECK(kept.standing().here);
    kept.crash(at(5));
    CHECK(kept.standing().allowed);
    CHECK(kept.standing().crashes == 4);
    REQUIRE(kept.record.clear(kBad));
    CHECK(kept.standing().crashes == 0);
    CHECK_FALSE(kept.standing().allowed);
    REQUIRE(kept.record.clear(kBad));  // nothing to forget is no error
    REQUIRE(kept.record.allow(kBad, kFile));
    CHECK_FALSE(kept.record.standing(kBad, kOther).allowed);
}

TEST_CASE("what was saved is read again as it was") {
    Kept kept;
    for (int i = 0; i < 3; ++i) kept.crash(at(i));
    REQUIRE(kept.record.allow(kBad, kFile));
    Kept next;
    REQUIRE(next.record.read(kept.text));
    CHECK(next.standing().here);
    CHECK(next.standing().allowed);
    CHECK(next.standing().text == kept.standing().text);
    next.crash(at(9));
    CHECK(next.standing().crashes == 4);
}

TEST_CASE("a text that is no record is an error, and the record is empty and of use") {
    Kept kept;
    for (const char* text : {"", "{", "[]", R"({"plugins": [{"plugin": 1}]})", R"({"plugins": [{"plugin": "a"}]})"}) {
        INFO(text);
        CHECK_FALSE(kept.record.read(text));
        CHECK(kept.standing().crashes == 0);
    }
    kept.crash(at(1));
    CHECK(kept.standing().crashes == 1);
}

TEST_CASE("a crash counts even if it cannot be saved, and that is told") {
    Record record([](std::string_view) -> Status { return fail(Code::kFull, "the disk is full"); });
    for (int i = 0; i < 3; ++i) CHECK_FALSE(record.note(kBad, kFile, {"score", "SIGABRT", "b", at(i), false}));
    CHECK(record.standing(kBad, kFile).here);
}

TEST_CASE("only so many plugins are remembered; the one that is quiet for the longest goes") {
    Kept kept;
    for (std::size_t i = 0; i <= kPluginsKept; ++i) {
        const Instant when = at(static_cast<std::int64_t>(i));
        REQUIRE(kept.record.note("p" + std::to_string(i), kFile, {"s", "SIGSEGV", "b", when, false}));
    }
    CHECK(kept.record.standing("p0", kFile).crashes == 0);
    CHECK(kept.record.standing("p1", kFile).crashes == 1);
    CHECK(kept.record.standing("p" + std::to_string(kPluginsKept), kFile).crashes == 1);
}

}  // namespace gantry::crash
