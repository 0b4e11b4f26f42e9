// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/sse.hpp"

#include <catch2/catch.hpp>

using namespace gantry::cli;

TEST_CASE("messages come out whole however the stream is cut") {
    const std::string stream =
        ": hello\n\nid: 1\nevent: placed\ndata: {\"number\":1}\n\ndata:a\r\ndata: b\r\n\r\nretry: 5\n\ndata\n\ndata: "
        "last";
    for (std::size_t step : {1U, 2U, 7U, 1000U}) {
        INFO(step);
        SseParser parser;
        std::vector<std::string> all;
        for (std::size_t at = 0; at < stream.size(); at += step) {
            const auto whole = parser.feed(std::string_view(stream).substr(at, step));
            REQUIRE(whole);
            all.insert(all.end(), whole->begin(), whole->end());
        }
        CHECK(all == std::vector<std::string>{"{\"number\":1}", "a\nb", ""});
    }
}

TEST_CASE("an event without end is refused") {
    SseParser parser;
    const std::string piece(300'000, 'x');
    CHECK(parser.feed("data: " + piece));
    CHECK(parser.feed(piece));
    CHECK(parser.feed(piece));
    CHECK_FALSE(parser.feed(piece));
}
