#include "sdk/vsoa/src/json.hpp"

#include <catch2/catch.hpp>
#include <random>

using namespace vsoa::json;

namespace {

bool valid(std::string_view text) {
    Reader reader(text);
    Value value;
    return reader.value(value) && reader.finished();
}

std::string string_of(std::string_view text) {
    Reader reader(text);
    Value value;
    REQUIRE((reader.value(value) && reader.finished()));
    REQUIRE(value.kind == Value::Kind::kString);
    return value.text;
}

}  // namespace

TEST_CASE("JSON texts are told from others") {
    for (const char* text : {"{}", "[]", " [ 1 , -2.5e+3 , true , false , null ] ", R"({"a":{"b":[{}]},"c":"d"})", "0",
                             "\"\"", R"("\u00e9\n\"\\\/")"}) {
        CAPTURE(text);
        CHECK(valid(text));
    }
    for (const char* text :
         {"",  " ",  "{",  "[1,]",    "{\"a\"}",     "{\"a\":}",    "{a:1}",  "[1 2]", "tru",  "01",         "1.",
          "-", "+1", "\"", "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\n\"", "{}{}",  "[1]]", "{\"a\":1,}", "nullx"}) {
        CAPTURE(text);
        CHECK_FALSE(valid(text));
    }
}

TEST_CASE("JSON strings are decoded and encoded") {
    CHECK(string_of(R"("a\"b\\c\/d\b\f\n\r\t")") == "a\"b\\c/d\b\f\n\r\t");
    CHECK(string_of(R"("\u9640\u87ba\ud83d\ude00")") == "陀螺😀");
    std::string out;
    append_string(out, std::string_view("陀\"\\\x01\n", 7));
    CHECK(out == "\"陀\\\"\\\\\\u0001\\u000a\"");
    CHECK(string_of(out) == std::string("陀\"\\\x01\n"));
}

TEST_CASE("JSON nested beyond the limit is refused without using the stack up") {
    CHECK(valid(std::string(30, '[') + std::string(30, ']')));
    CHECK_FALSE(valid(std::string(200000, '[')));
    CHECK_FALSE(valid(std::string(1000, '[') + std::string(1000, ']')));
}

TEST_CASE("an object's members come in order and nested ones are skipped") {
    std::string seen;
    CHECK(read_object(R"({"a":1,"b":{"x":[1,2]},"c":"t","d":9999999999999999999,"e":true})",
                      [&](std::string_view key, const Value& v) {
                          seen += std::string(key) + std::to_string(static_cast<int>(v.kind)) + ' ';
                      }));
    CHECK(seen == "a1 b5 c0 d2 e3 ");
    CHECK_FALSE(read_object("[]", [](auto, auto&) {}));
    std::vector<std::string> urls;
    CHECK(read_strings(R"(["/a","/b"])", urls));
    CHECK(urls == std::vector<std::string>{"/a", "/b"});
    CHECK_FALSE(read_strings(R"(["/a",1])", urls));
    CHECK_FALSE(read_strings(R"({"a":"/a"})", urls));
}

TEST_CASE("damaged JSON never breaks the reader") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const std::string sound = R"({"name":"axis\u00e9","domain":2,"list":[1,2.5,{"a":null}],"security":false})";
    for (int round = 0; round < 20000; ++round) {
        std::string text = sound;
        for (unsigned wrong = random() % 4; wrong > 0; --wrong)
            text[random() % text.size()] = "{}[]\",:\\u0a\x01"[random() % 12];
        text.resize(random() % (text.size() + 1));
        valid(text);
    }
}
