// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace {

struct Checked {
    int status = -1;
    std::string output;
};

// Runs gantry-note over a manifest; the folder's name is cut from what it says.
Checked check(const std::string& manifest) {
    std::string folder = (std::filesystem::temp_directory_path() / "gantry-note-XXXXXX").string();
    REQUIRE(::mkdtemp(folder.data()) != nullptr);
    std::ofstream(folder + "/plugin.toml") << manifest;
    Checked out;
    FILE* pipe = ::popen(("cd " + folder + " && " GANTRY_NOTE_TOOL " plugin.toml 2>&1").c_str(), "r");
    REQUIRE(pipe != nullptr);
    char buffer[512];
    while (const std::size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) out.output.append(buffer, n);
    out.status = WEXITSTATUS(::pclose(pipe));
    std::filesystem::remove_all(folder);
    return out;
}

const std::string kHead =
    "id = \"a.b\"\nname = \"n\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\nabi = \"1.1\"\n"
    "role = \"probe/1\"\ndescription = \"d\"\n";

}  // namespace

TEST_CASE("a right manifest passes in silence") {
    const Checked right = check(kHead + "[config.timeout]\ntype = \"duration\"\ndefault = \"1s\"\ndoc = \"d\"\n");
    CHECK(right.status == 0);
    CHECK(right.output == "");
}

TEST_CASE("a wrong manifest is told with file, line and column") {
    const auto wrong = [](const std::string& more) {
        const Checked result = check(kHead + more);
        CHECK(result.status == 1);
        return result.output;
    };
    CHECK(wrong("colour = 1\n").starts_with("plugin.toml:8:1: unknown key 'colour'; known here: id, name"));
    CHECK(wrong("[config.a]\ntype = \"colour\"\n").starts_with("plugin.toml:9:8: unknown type 'colour'"));
    CHECK(wrong("[config.a]\ntype = \"integer\"\ndoc = \"d\"\ndefault = \"x\"\n") ==
          "plugin.toml:11:11: 'default' must be a integer\n");
    CHECK(wrong("[config.a]\ntype = \"integer\"\ndoc = \"d\"\nmin = 3\ndefault = 2\n") ==
          "plugin.toml:12:11: the default lies outside min and max\n");
    CHECK(wrong("[config.a]\ntype = \"string\"\ndoc = \"d\"\nchoices = [\"x\"]\ndefault = \"y\"\n") ==
          "plugin.toml:12:11: the default 'y' is not among the choices\n");
    CHECK(wrong("[config.a]\ntype = \"string\"\ndoc = \"d\"\nmin = 1\n") ==
          "plugin.toml:11:7: a string has no range\n");
    CHECK(wrong("[config.required]\ntype = \"string\"\ndoc = \"d\"\n") ==
          "plugin.toml:8:9: 'required' is the kernel's own key in every table\n");
    CHECK(wrong("[config.a]\ntype = \"string\"\ndoc = \"d\"\nrequired = true\ndefault = \"x\"\n") ==
          "plugin.toml:12:11: a required key has no default\n");
    CHECK(wrong("= 3\n").starts_with("plugin.toml:8:1: "));
}

TEST_CASE("each of the first keys is needed and checked") {
    CHECK(check("").output.find("'id' is missing") != std::string::npos);
    const auto with = [](std::string from, const std::string& to) {
        std::string text = kHead;
        text.replace(text.find(from), from.size(), to);
        return check(text).output;
    };
    CHECK(with("\"1.1\"", "\"9.9\"") == "plugin.toml:5:7: 'abi' is 9.9, but this SDK builds for 1.1\n");
    CHECK(with("probe/1", "probe").starts_with("plugin.toml:6:8: 'role' must be NAME/NUMBER"));
    CHECK(with("1.0.0", "1.0").starts_with("plugin.toml:3:11: 'version' must be three numbers"));
    CHECK(with("a.b", "ab").starts_with("plugin.toml:1:6: 'id' is a name with dots"));
}
