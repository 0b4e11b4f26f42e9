// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/table.hpp"

#include <catch2/catch.hpp>

#include "kernel/base/units.hpp"
#include "kernel/cli/document.hpp"

using namespace gantry;
using namespace gantry::cli;

TEST_CASE("columns align by what a terminal shows, wide characters included") {
    Table table({"NAME", "STATE", "REASON"});
    table.add({"axis_server", "ready", ""});
    table.add({"陀螺仪", "pending", "no node fits"});
    table.add({"é", "", "x"});
    const std::string expected =
        "NAME         STATE    REASON\n"
        "axis_server  ready\n"
        "陀螺仪       pending  no node fits\n"
        "é            -        x\n";
    CHECK(table.text(0, false) == expected);
    CHECK(display_width("陀螺仪       ") == 13);
}

TEST_CASE("a reason is cut to the terminal but never in a pipe") {
    const std::string reason(300, 'r');
    Table table({"NAME", "REASON"});
    table.add({"a", reason});
    CHECK(table.text(0, false).find(reason) != std::string::npos);
    const auto narrow = table.text(40, false);
    CHECK(narrow.find(reason) == std::string::npos);
    CHECK(display_width(narrow.substr(narrow.find("a  "))) <= 41);  // and the line's end
    CHECK(narrow.ends_with("…\n"));
}

TEST_CASE("served text cannot drive the terminal") {
    Table table({"NAME"});
    table.add({"a\x1b[2J\nb\xc2\x9b"});
    CHECK(table.text(0, false) == "NAME\na [2J b \n");
}

TEST_CASE("colour does not move columns") {
    Table table({"NAME", "STATE", "NODE"});
    table.add({"a", {"ready", Color::kGood}, "n"});
    const auto text = table.text(0, true);
    CHECK(text.find("a     \x1b[32mready\x1b[0m  n\n") != std::string::npos);
}

TEST_CASE("wide text is cut between characters") {
    CHECK(cut("陀螺仪", 6) == "陀螺仪");
    CHECK(cut("陀螺仪", 5) == "陀螺…");
    CHECK(cut("陀螺仪", 4) == "陀…");
    CHECK(cut("abc", 0).empty());
}

TEST_CASE("times are shown as local time with milliseconds") {
    setenv("TZ", "UTC-8", 1);
    tzset();
    CHECK(local_time("2026-11-22T12:03:04.123Z", true) == "2026-11-22 20:03:04.123");
    CHECK(local_time("2026-11-22T23:03:04.5+01:00", false) == "06:03:04.500");
    CHECK(local_time("yesterday", true) == "yesterday");
    unsetenv("TZ");
    tzset();
}

TEST_CASE("members of another type read as empty") {
    const json::value document = {{"a", 1}, {"b", "x"}, {"c", {"p", "q"}}, {"d", nullptr}};
    CHECK(text_of(document, "a") == "1");
    CHECK(text_of(document, "c") == "p, q");
    CHECK(text_of(document, "d").empty());
    CHECK(number_of(document, "b", 7) == 7);
    CHECK(items_of(document, "b").empty());
    CHECK(text_of(json::value("no object"), "a").empty());
}
