// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/json.hpp"

#include <catch2/catch.hpp>

#include "kernel/base/limits.hpp"

using namespace gantry;
using Catch::Matchers::Contains;

namespace {

json::value good(std::string_view text) {
    auto value = parse_json(text);
    INFO((value ? "" : value.error().text()));
    REQUIRE(value);
    return *value;
}

Error bad(std::string_view text, std::size_t max = 1 << 20) {
    const auto value = parse_json(text, max);
    REQUIRE_FALSE(value);
    CHECK(value.error().code == Code::kInvalid);
    return value.error();
}

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("a document survives being written and read again") {
    const std::string text = R"({"a":[1,-2,true,null],"b":{"c":"陀螺仪"}})";
    CHECK(to_text(good(text)) == text);
}

TEST_CASE("a broken document is refused with the place of the first error") {
    CHECK(bad("{\n \"a\": 1,\n \"b\": x\n}").where == "line 3, column 7");
    CHECK_THAT(bad("{} {}").message, Contains("more text"));
    bad("");
    bad("{\"a\":");
    bad("[1,]");
}

TEST_CASE("a document above a limit is refused") {
    good(nested(limits::kJsonDepth));
    CHECK_THAT(bad(nested(limits::kJsonDepth + 1)).message, Contains("nested deeper than 32"));
    bad(nested(100'000));
    CHECK_THAT(bad("[1,2,3]", 6).message, Contains("7 bytes, expected at most 6"));
}

TEST_CASE("a text that is not UTF-8 is refused") {
    bad("\"\xff\"");
    bad("\"\xc0\xaf\"");
    bad("\"\xed\xa0\x80\"");
}

TEST_CASE("a key that is there twice is refused") {
    CHECK_THAT(bad(R"({"a":1,"a":2})").message, Contains("same key twice"));
    bad(R"([{"x":{"a":1,"a":1}}])");
    good(R"({"a:b":":\":","c":{"a":1},"d":{"a":1}})");
}

TEST_CASE("fields are read with defaults where they are absent or null") {
    const auto value =
        good(R"({"name":"axis","count":3,"on":true,"list":["a","b"],"map":{"z":"1","a":"2"},"none":null})");
    Fields f(&value, "service");
    CHECK(f.text("name").value() == "axis");
    CHECK(f.text("other", "x").value() == "x");
    CHECK(f.integer("count").value() == 3);
    CHECK(f.integer("count", 1, 1, 10).value() == 3);
    CHECK(f.integer("absent", 7, 1, 10).value() == 7);
    CHECK(f.boolean("on", false).value());
    CHECK(f.texts("list").value() == std::vector<std::string>{"a", "b"});
    CHECK(f.text_map("map").value().front().first == "a");
    CHECK(f.text("none", "default").value() == "default");
    CHECK_FALSE(f.has("none"));
    CHECK(f.member("absent") == nullptr);
    CHECK(f.finish());
}

TEST_CASE("a field of the wrong type or range is named by its path") {
    const auto value =
        good(R"({"name":5,"count":1.5,"big":99999999999999999999,"list":["a",1],"map":{"k":1},"items":[{},2]})");
    Fields f(&value, "service");
    CHECK(f.text("name").error().text() == "service.name: expected a text, got 5");
    CHECK(f.text("missing").error().text() == "service.missing: is missing, expected a text");
    CHECK_THAT(f.integer("count", 1, 1, 10).error().text(),
               Contains("service.count: expected a whole number from 1 to 10"));
    CHECK_FALSE(f.integer("big"));
    CHECK(f.texts("list").error().where == "service.list[1]");
    CHECK(f.text_map("map").error().where == "service.map.k");
    CHECK(f.list("items").error().where == "service.items[1]");
    CHECK(f.boolean("name", true).error().text() == "service.name: expected true or false, got 5");
    CHECK(Fields(&value, "").text("name").error().where == "name");
}

TEST_CASE("a key that nobody asked for is refused with a guess at what was meant") {
    const auto value = good(R"({"instnaces":2})");
    Fields f(&value, "service");
    (void)f.integer("instances", 1, 1, 10);
    (void)f.text("image", "");
    CHECK(f.finish().error().text() == "service.instnaces: unknown key `instnaces`, did you mean `instances`?");
    Fields alone(&value, "");
    (void)alone.text("image", "");
    CHECK(alone.finish().error().message == "unknown key `instnaces`");
}

TEST_CASE("a value that is no object fails at every read, an absent one reads as empty") {
    const auto value = good("[1]");
    Fields f(&value, "service");
    CHECK(f.text("name", "x").error().text() == "service: expected an object");
    CHECK_FALSE(f.texts("name"));
    CHECK_FALSE(f.finish());
    Fields none(nullptr, "service");
    CHECK(none.text("name", "x").value() == "x");
    CHECK(none.list("items").value().empty());
    CHECK(none.finish());
}

TEST_CASE("the nearest word is found only when it is near") {
    constexpr std::string_view kWords[] = {"image", "instances", "env", "mode"};
    CHECK(nearest("imgae", kWords) == "image");
    CHECK(nearest("instance", kWords) == "instances");
    CHECK(nearest("evn", kWords) == "env");
    CHECK_FALSE(nearest("zzzzz", kWords));
    CHECK_FALSE(nearest("", kWords));
    CHECK_FALSE(nearest(std::string(100'000, 'a'), kWords));
}
