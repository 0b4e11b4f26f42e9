// SPDX-License-Identifier: Apache-2.0
#include <gantry/trust/list.hpp>

#include <catch2/catch.hpp>

namespace gantry::trust {

TEST_CASE("a list is what sha256sum writes") {
    const std::string zero(64, '0'), letters = std::string(62, 'A') + "0f";
    DigestList list;
    std::string error;
    REQUIRE(parse_list("", list, error));
    CHECK(list.empty());
    REQUIRE(parse_list(zero + "  probe/tcp.so\n" + letters + " *./store/a  b.so", list, error));
    CHECK(list.size() == 2);
    CHECK(list.at("probe/tcp.so") == Digest{});
    CHECK(hex(list.at("store/a  b.so")) == std::string(62, 'a') + "0f");
}

TEST_CASE("a line that is none of a list is refused with its number") {
    const std::string zero(64, '0');
    DigestList list;
    std::string error;
    const std::string form = "expected 64 hexadecimal digits, two spaces and a name, as sha256sum writes them";
    const auto wrong = [&](const std::string& line) {
        REQUIRE_FALSE(parse_list(zero + "  first\n" + line + "\n", list, error));
        return error;
    };
    for (const std::string& line :
         {std::string("x"), zero, zero + "  ", zero + " name", zero.substr(1) + "  name", zero.substr(1) + "g  name",
          zero.substr(2) + "-1  name", "\\" + zero + "  na\\nme", "SHA256 (name) = " + zero}) {
        CHECK(wrong(line) == "line 2: " + form);
    }
    CHECK(wrong(zero + "  /etc/passwd") == "line 2: expected a name below the list's folder");
    CHECK(wrong(zero + "  ./first") == "line 2: names a file a second time");
}

}  // namespace gantry::trust
