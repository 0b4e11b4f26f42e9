// SPDX-License-Identifier: Apache-2.0
//
// Named volumes, as the resource tree of their node has them.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/unit/kernel/control/scene.hpp"

using namespace gantry;
using test::Scene;

namespace {

struct Volumes : Scene {
    Volumes() {
        start_controller();
        start_node("SNode1");
        add_image("axis:1.0", "layer");
        REQUIRE(until([&] { return liveness("SNode1") == "ready"; }));
    }
    void deploy_with(const std::string& volume, const std::string& argument) {
        const auto answer =
            ask("PUT", "/v1/services/axis",
                R"({"service": {"name": "axis", "image": "axis:1.0"}, "placement": {"nodes": ["SNode1"]},
                "container": {"args": [")" +
                    argument + R"("]},
                "mount": [{"source": ")" +
                    volume + R"(", "target": "/data"}]})");
        INFO(answer.message());
        REQUIRE(answer.code == 200);
    }
    json::array listed() {
        const auto answer = ask("GET", "/v1/volumes");
        REQUIRE(answer.code == 200);
        return answer.document.as_object().at("items").as_array();
    }
    std::size_t users() {
        const auto all = listed();
        return all.size() == 1 ? all[0].as_object().at("used_by").as_array().size() : 99;
    }
    std::string user() { return std::string(listed().at(0).as_object().at("used_by").as_array().at(0).as_string()); }
    std::filesystem::path place() const { return folder.path / "SNode1" / "volumes" / "axis-data"; }
};

int mode(const std::filesystem::path& path) {
    struct stat st {};
    REQUIRE(::lstat(path.c_str(), &st) == 0);
    return st.st_mode & 07777;
}

}  // namespace

TEST_CASE_METHOD(Volumes,
                 "a volume is made when it is wanted, outlives updates and its service, and goes when it is told") {
    CHECK(listed().empty());
    CHECK_FALSE(std::filesystem::exists(place().parent_path()));
    deploy_with("axis-data", "one");
    REQUIRE(until([&] { return instance_state("axis") == "ready"; }));
    CHECK(mode(place()) == 01777);
    CHECK(mode(place().parent_path()) == 0700);
    std::ofstream(place() / "kept") << "what was written";
    CHECK(listed().at(0).as_object().at("name").as_string() == "axis-data");
    CHECK(listed().at(0).as_object().at("path").as_string() == place().string());
    CHECK(users() == 1);
    const auto refused = ask("DELETE", "/v1/volumes/axis-data");
    CHECK(refused.code == 409);
    CHECK(refused.message().find("is used by ") != std::string::npos);

    const auto first = user();
    deploy_with("axis-data", "two");
    REQUIRE(until([&] { return users() == 1 && user() != first; }));
    CHECK(std::filesystem::exists(place() / "kept"));

    REQUIRE(ask("DELETE", "/v1/services/axis").code == 200);
    REQUIRE(until([&] { return users() == 0; }));
    CHECK(std::filesystem::exists(place() / "kept"));
    const auto removed = ask("DELETE", "/v1/volumes/axis-data");
    INFO(removed.message());
    CHECK(removed.code == 200);
    CHECK_FALSE(std::filesystem::exists(place()));
    CHECK(listed().empty());
    CHECK(ask("DELETE", "/v1/volumes/axis-data").code == 404);
}

TEST_CASE_METHOD(Volumes, "no other folder goes by the name of a volume") {
    deploy_with("axis-data", "one");
    REQUIRE(until([&] { return instance_state("axis") == "ready"; }));
    std::filesystem::create_symlink(folder.path, place().parent_path() / "link");
    for (const char* name : {"..", ".", "link", "nothing", "..%2Fimages", "axis-data%2F.."}) {
        INFO(name);
        CHECK(ask("DELETE", "/v1/volumes/" + std::string(name)).code == 404);
    }
    CHECK(std::filesystem::exists(place()));
    stop_node("SNode1");
    CHECK(ask("GET", "/v1/volumes").code == 404);
    CHECK(ask("DELETE", "/v1/volumes/axis-data").code == 404);
}
