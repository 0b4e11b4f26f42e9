// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/elf/note.hpp>
#include <gantry/elf/quantity.hpp>

using namespace gantry::elf;

namespace {

std::string refusal(std::string_view text) {
    Note note;
    std::string error;
    return parse_note(text, note, error) ? "" : error;
}

constexpr const char* kHead = "gantry-note 1\nabi: 1.0\nid: a.b\nversion: 1.0.0\nrole: probe/1\n";

}  // namespace

TEST_CASE("a note survives being written and read") {
    Note note;
    note.abi_major = 1;
    note.kernel = "0.9.0";
    note.id = "org.example.x";
    note.version = "1.0.0";
    note.role = "probe/1";
    note.name = "back\\slash\nand line";
    note.description = " leading blank: and colon";
    note.permissions = {"a", ""};
    note.isolated = true;
    ConfigKey key;
    key.name = "k";
    key.type = ValueType::kList;
    key.default_list = std::vector<std::string>{"", "x\\n"};
    key.choices = {"", "x\\n"};
    note.config = {key};
    key.name = "empty";
    key.default_list->clear();
    note.config.push_back(key);
    Note back;
    std::string error;
    REQUIRE(parse_note(write_note(note), back, error));
    CHECK(write_note(back) == write_note(note));
    CHECK(back.name == note.name);
    CHECK(back.kernel == "0.9.0");
    CHECK(back.config.at(0).default_list == note.config.at(0).default_list);
    CHECK(back.config.at(1).default_list == std::vector<std::string>{});
}

TEST_CASE("a note that is not whole is refused with a reason") {
    CHECK(refusal("") == "the first line is not 'gantry-note 1'");
    CHECK(refusal("gantry-note 2\n") == "the first line is not 'gantry-note 1'");
    CHECK(refusal("gantry-note 1\n") == "no line 'abi'");
    CHECK(refusal("gantry-note 1\nabi: 1.0x\n") == "'abi' is not MAJOR.MINOR");
    CHECK(refusal("gantry-note 1\nabi: 1.0\nid: a\n") == "no line 'version'");
    CHECK(refusal(std::string(kHead) + "nonsense\n") == "a line without ':'");
    CHECK(refusal(std::string(kHead) + "config.type: list\n") == "a config line before any 'config'");
    CHECK(refusal(std::string(kHead) + "config: a\nconfig: a\n") == "configuration key 'a' is empty or repeated");
    CHECK(refusal(std::string(kHead) + "config: a\nconfig.type: colour\n") == "'a' is of the unknown type 'colour'");
    CHECK(refusal(std::string(70'000, 'x')) == "longer than 64 KiB");
}

TEST_CASE("values of a schema that are not of their type are refused") {
    const auto with = [](const std::string& lines) { return refusal(std::string(kHead) + "config: a\n" + lines); };
    CHECK(with("config.type: integer\nconfig.default: x\n") == "'a' has the value 'x', which is no integer");
    CHECK_FALSE(with("config.type: duration\nconfig.min: 1s\n").empty());
    CHECK_FALSE(with("config.type: number\nconfig.max: inf\n").empty());
    CHECK_FALSE(with("config.type: size\nconfig.default: 99999999999999999999\n").empty());
    CHECK_FALSE(with("config.type: boolean\nconfig.default: yes\n").empty());
    CHECK(with("config.type: string\nconfig.min: 1\n") == "'a' has no range");
    CHECK(with("config.type: number\nconfig.default: 0.5\nconfig.min: -1\n").empty());
    CHECK(with("config.type: boolean\nconfig.default: true\n").empty());
}

TEST_CASE("a note may hold lines that this reader does not know") {
    CHECK(refusal(std::string(kHead) + "colour: blue\nconfig: a\nconfig.unit: metre\n").empty());
}

TEST_CASE("a note from the future still tells its border's version") {
    Note note;
    std::string error;
    CHECK_FALSE(parse_note("gantry-note 1\nabi: 3.1\nid: a\nconfig: c\nconfig.type: colour\n", note, error));
    CHECK(note.abi_major == 3);
    CHECK(note.abi_minor == 1);
}

TEST_CASE("roles are spelled NAME/NUMBER or draft.NAME") {
    CHECK(valid_role("placement/1"));
    CHECK(valid_role("draft.store"));
    for (const char* wrong :
         {"", "placement", "placement/", "placement/0", "/1", "draft.", "Store/1", "store/x", "a/12345"}) {
        CHECK_FALSE(valid_role(wrong));
    }
    CHECK(role_interface("placement/1") == "gantry.role.placement/1");
    CHECK(role_interface("draft.store") == "gantry.draft.store");
    CHECK(role_folder("placement/1") == "placement");
    CHECK(role_folder("draft.store") == "store");
}

TEST_CASE("quantities are exact") {
    CHECK(parse_duration_ns("1.5s") == 1'500'000'000);
    CHECK(parse_duration_ns("0.1ns") == std::nullopt);
    CHECK(parse_duration_ns("5") == std::nullopt);
    CHECK(parse_duration_ns("99999999h") == std::nullopt);
    CHECK(parse_duration_ns("1.s") == std::nullopt);
    CHECK(parse_size_bytes("64MiB") == 64 << 20);
    CHECK(parse_size_bytes("512") == 512);
    CHECK(parse_size_bytes("1.5kB") == 1'500);
    CHECK(parse_size_bytes("99999999999999999999") == std::nullopt);
    CHECK(parse_size_bytes("-1") == std::nullopt);
}
