// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/semantic_version.hpp"

#include <catch2/catch.hpp>

using namespace gantry::cli;

TEST_CASE("versions are in the order of semver.org") {
    // Section 11 of the specification, and what it leaves to numbers.
    const std::vector<std::string> order = {
        "0.0.9",         "0.0.10",           "0.9.0",      "1.0.0-alpha",
        "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
        "1.0.0-beta.11", "1.0.0-rc.1",       "1.0.0",      "1.0.1",
        "1.2.0",         "1.10.0",           "2.0.0",      "18446744073709551615.0.0"};
    for (std::size_t i = 0; i < order.size(); ++i) {
        for (std::size_t j = 0; j < order.size(); ++j) {
            INFO(order[i] << " and " << order[j]);
            const auto a = parse_version(order[i]), b = parse_version(order[j]);
            REQUIRE(a);
            REQUIRE(b);
            CHECK((*a <=> *b) == (i <=> j));
        }
    }
}

TEST_CASE("a leading v, missing numbers and build metadata do not matter") {
    CHECK(parse_version("v1.2.3") == parse_version("1.2.3"));
    CHECK(parse_version("1") == parse_version("1.0.0"));
    CHECK(parse_version("1.2") == parse_version("1.2.0"));
    CHECK(parse_version("1.2.3+build.7") == parse_version("1.2.3"));
    CHECK(parse_version("1.2-rc.1+7") == parse_version("1.2.0-rc.1"));
}

TEST_CASE("what is no version is none") {
    for (const char* tag : {"", "v", "latest", "1.2.3.4", "01.2.3", "1.02", "1..2", "1.2.3-", "1.2.3-a..b", "1.2.3-01",
                            "1.2.3-\xc3\xa4", "-1", "1.-2", "18446744073709551616.0.0", "1.2.x", " 1.2.3", "20x"}) {
        INFO(tag);
        CHECK(!parse_version(tag));
    }
}

TEST_CASE("the largest version above the current one is chosen, a version before a release only by such") {
    const std::vector<std::string> tags = {"latest", "1.0.0", "1.9.0", "v1.10.0", "2.0.0-rc.1", "1.2.0+7", "0.9"};
    CHECK(larger_version("1.0.0", tags) == "v1.10.0");
    CHECK(larger_version("1.10.0", tags) == std::nullopt);
    CHECK(larger_version("2.0.0-beta", tags) == "2.0.0-rc.1");
    CHECK(larger_version("2.0.0", tags) == std::nullopt);
    CHECK(larger_version("latest", tags) == std::nullopt);
    CHECK(larger_version("1.2.0", {"1.2.0+8"}) == std::nullopt);
    CHECK(larger_version("1.2.0", {}) == std::nullopt);
}
