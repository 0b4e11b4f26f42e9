// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/units.hpp"

#include <catch2/catch.hpp>

using namespace gantry;

TEST_CASE("text of others becomes one line that any log can take") {
    CHECK(one_line("plain 陀螺仪", 100) == "plain 陀螺仪");
    CHECK(one_line("a\nb\tc\x1b[0m\x7f", 100) == "a b c [0m ");
    CHECK(one_line("\xc2\x9b\xe2\x80\xa8", 100) == "  ");  // a control character and a line separator
    CHECK(one_line("\xff\xc3", 100) == "\xef\xbf\xbd\xef\xbf\xbd");
    CHECK(one_line("陀螺仪", 7) == "陀螺...");
    CHECK(one_line("陀螺仪", 9) == "陀螺仪");
    CHECK(valid_utf8(one_line(std::string(10'000, '\xf0'), 4'096)));
    CHECK(one_line("", 10) == "");
}

TEST_CASE("sizes are read exactly") {
    CHECK(parse_size("512").value() == 512);
    CHECK(parse_size("64MiB").value() == 64 << 20);
    CHECK(parse_size("64 MiB").value() == 64 << 20);
    CHECK(parse_size("1.5GiB").value() == 1'610'612'736);
    CHECK(parse_size("10MB").value() == 10'000'000);
    CHECK(parse_size("8192TiB").value() == INT64_C(1) << 53);
    CHECK(parse_size("0").value() == 0);
}

TEST_CASE("what is no size is refused and says what would be") {
    for (const char* text : {"", "MiB", "64M", "-1", "1e3", "1.", ".5", "64MiBs", "8193TiB", "99999999999999999999999",
                             "1,5MiB", "0x10"}) {
        INFO(text);
        const auto size = parse_size(text);
        REQUIRE_FALSE(size);
        CHECK(size.error().code == Code::kInvalid);
    }
    CHECK(parse_size("64M").error().message ==
          "not a size: expected a number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB (\"64MiB\"), got \"64M\"");
}

TEST_CASE("durations are read exactly") {
    CHECK(parse_duration("200ms").value() == milliseconds(200));
    CHECK(parse_duration("1s").value() == seconds(1));
    CHECK(parse_duration("1.5s").value() == milliseconds(1500));
    CHECK(parse_duration("2m").value() == seconds(120));
    CHECK(parse_duration("1h").value() == seconds(3600));
    CHECK(parse_duration("500us").value() == Duration(500'000));
    CHECK(parse_duration("0").value() == Duration(0));
    CHECK_FALSE(parse_duration("5"));
    CHECK_FALSE(parse_duration("-1s"));
    CHECK_FALSE(parse_duration("4000d"));
    CHECK_FALSE(parse_duration("999999999999999999h"));
}

TEST_CASE("cores are read in thousandths") {
    CHECK(parse_cpu("0.5").value() == 500);
    CHECK(parse_cpu("2").value() == 2000);
    CHECK(parse_cpu("250m").value() == 250);
    CHECK(parse_cpu("0.001").value() == 1);
    CHECK(parse_cpu("1000000").value() == 1'000'000'000);
    CHECK_FALSE(parse_cpu("0.0001"));
    CHECK_FALSE(parse_cpu("1000001"));
    CHECK_FALSE(parse_cpu("two"));
}

TEST_CASE("quantities are written for people") {
    CHECK(format_size(0) == "0 B");
    CHECK(format_size(1023) == "1023 B");
    CHECK(format_size(64 << 20) == "64 MiB");
    CHECK(format_size(1'610'612'736) == "1.5 GiB");
    CHECK(format_size((1 << 20) - 1) == "1 MiB");
    CHECK(format_duration(milliseconds(350)) == "350 ms");
    CHECK(format_duration(milliseconds(1234)) == "1.2 s");
    CHECK(format_duration(seconds(185)) == "3 min 5 s");
    CHECK(format_duration(seconds(7200)) == "2 h");
    CHECK(format_duration(seconds(90'000)) == "1 d 1 h");
    CHECK(format_duration(milliseconds(-5)) == "-5 ms");
    CHECK(format_duration(Duration(0)) == "0 s");
}

TEST_CASE("names may be in any script but not invisible, empty or paths") {
    for (const char* name : {"axis_server", "陀螺仪", "a", "node-1.site", "émile"}) {
        INFO(name);
        CHECK(check_name(name, "service"));
    }
    for (const char* name : {"", ".", "..", "a/b", "a b", "a\tb", "a\xc2\xa0z", "a\xe3\x80\x80z", "a\xe2\x80\xae",
                             "x?y", "50%", "#1", "\"", "\xff", "a\x7f"}) {
        INFO(name);
        CHECK_FALSE(check_name(name, "service"));
    }
    CHECK(check_name(std::string(63, 'a'), "service"));
    CHECK(check_name(std::string(64, 'a'), "service").error().message == "service has 64 bytes, expected at most 63");
}

TEST_CASE("UTF-8 is told from what only looks like it") {
    CHECK(valid_utf8("aé陀😀"));
    for (const char* text :
         {"\x80", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe9\x99", "\xf8\x88\x80\x80\x80"})
        CHECK_FALSE(valid_utf8(text));
}

TEST_CASE("wide characters take two columns and combining ones none") {
    CHECK(display_width("axis") == 4);
    CHECK(display_width("陀螺仪") == 6);
    CHECK(display_width("かなカナ") == 8);
    CHECK(display_width("한국어") == 6);
    CHECK(display_width("ＡＢ") == 4);
    CHECK(display_width("，。") == 4);
    CHECK(display_width("e\xcc\x81") == 1);
    CHECK(display_width("😀") == 2);
    CHECK(display_width("👍🏽") == 2);
    CHECK(display_width("┌─┐") == 3);
    CHECK(display_width("\xff") == 1);
    CHECK(display_width("") == 0);
}
