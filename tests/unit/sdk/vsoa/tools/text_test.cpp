#include "sdk/vsoa/tools/text.hpp"

#include <catch2/catch.hpp>

#include "sdk/vsoa/tools/target.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

using namespace vsoa::tools;

TEST_CASE("what is printed has no control characters and is UTF-8") {
    CHECK(clean("a\x1b[0m\x7f\n\xc2\x9b"
                "b") == "a [0m   b");
    CHECK(clean("\xe9\x99\x80\xf0\x9f\x98\x80") == "\xe9\x99\x80\xf0\x9f\x98\x80");
    for (const char* bad : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe9\x99"}) {
        CHECK(clean(bad).find("\xef\xbf\xbd") == 0);
    }
}

TEST_CASE("a document is one line whatever the payload is") {
    const auto line = [](std::string_view param, std::string_view data) {
        return JsonLine().text("k", "\"\n").payload(param, data).done();
    };
    CHECK(line("", "") == "{\"k\":\"\\\"\\u000a\"}");
    CHECK(line("{\n \"a b\" : \"c \\\" d\" }", "") == "{\"k\":\"\\\"\\u000a\",\"param\":{\"a b\":\"c \\\" d\"}}");
    CHECK(line("{no\n", "\x01\xfe") == "{\"k\":\"\\\"\\u000a\",\"param_text\":\"{no\\u000a\",\"data_hex\":\"01fe\"}");
}

TEST_CASE("durations have units and limits") {
    CHECK(duration_ns("250ms", "x") == 250'000'000);
    CHECK(duration_ns("1.5", "x") == 1'500'000'000);
    CHECK(duration_ns("2m", "x") == 120'000'000'000);
    for (const char* bad : {"", "0", "-1s", "1d", "nan", "inf", "1e300", "25h", "s"})
        CHECK_THROWS_AS(duration_ns(bad, "x"), Failure);
}

TEST_CASE("percentiles are those of the samples") {
    Samples samples;
    CHECK(samples.percentile_us(0.5) == 0);
    for (int i = 100; i >= 1; --i) samples.add(i * 1000);
    CHECK(samples.percentile_us(0) == 1);
    CHECK(samples.percentile_us(1) == 100);
    CHECK(samples.percentile_us(0.99) == Approx(99));
}

TEST_CASE("a server is an address, a host or a name") {
    CHECK(parse_target("[::1]:3002/a/b").path == "/a/b");
    CHECK(parse_target("[::1]:3002").kind == Target::Kind::kAddress);
    CHECK(parse_target("gateway:3002/x").kind == Target::Kind::kHost);
    CHECK(parse_target("vsoa://gateway:3002/x").kind == Target::Kind::kName);
    CHECK(parse_target("axis_server").kind == Target::Kind::kName);
    CHECK(parse_target("a/b://c").path == "/b://c");
}
