// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

// Command lines of all processes that name this folder.
std::string processes_in(const std::string& folder) {
    std::string out;
    for (const auto& item : std::filesystem::directory_iterator("/proc")) {
        if (item.path().filename().string().find_first_not_of("0123456789") != std::string::npos) continue;
        const std::string line = image_builder::slurp(item.path() / "cmdline");
        if (line.find(folder) != std::string::npos) out += item.path().filename().string() + " ";
    }
    return out;
}

}  // namespace

const runtime_test::Traits& runtime_test::traits() {
    static const Traits traits{GANTRY_PLUGIN_FILE, nullptr, nullptr};
    return traits;
}

TEST_CASE("A plain process has no limits and is not fenceable, and says so") {
    Fixture f;
    CHECK_FALSE(f.driver().facts().limits);
    CHECK_FALSE(f.driver().facts().fenceable);
    CHECK(f.driver().facts().system == "linux");
    CHECK(f.driver().facts().architectures.size() == 1);
}

TEST_CASE("Mounts are refused with the way out") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "exit 0");
    spec.mounts = {{"/tmp", "/mnt", true}};
    const auto answer = f.driver().create(spec).wait();
    CHECK(answer.code == Code::kInvalid);
    CHECK(answer.text.find("runtime/oci") != std::string::npos);
}

TEST_CASE("A program is looked up in the image, never on the node") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "");
    spec.args = {"cat", "/etc/passwd"};
    CHECK(f.driver().create(spec).wait().code == Code::kInvalid);
    spec.args = {"../../../../../../bin/cat"};
    CHECK(f.driver().create(spec).wait().code == Code::kInvalid);
    spec.args = {"busybox", "true"};  // through PATH=/bin of the image
    f.run(spec);
    CHECK(f.wait_exit("c1").exit_code == 0);
    // A link that is absolute leads back into the image.
    spec = f.script("c2", "");
    spec.args = {"/bin/sh", "-c", "exit 4"};
    f.run(spec);
    CHECK(f.wait_exit("c2").exit_code == 4);
}

TEST_CASE("Another user than the daemon's needs root") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "$B id -u; $B id -g");
    spec.user = "1234:1235";
    std::filesystem::permissions(f.scratch(), std::filesystem::perms(0755));
    const auto answer = f.driver().create(spec).wait();
    if (!answer.ok()) {  // an ordinary user, or root of a namespace that does not have that user
        CHECK(answer.code == Code::kInvalid);
        CHECK(answer.text.find("root") != std::string::npos);
        return;
    }
    CHECK(::geteuid() == 0);
    f.run(spec);
    f.wait_exit("c1");
    CHECK(f.logs("c1") == "1234\n1235\n");
}

TEST_CASE("Neither monitor nor process is left after removal") {
    std::string folder;
    {
        Fixture f;
        folder = f.scratch().string();
        f.run(f.script("c1", "exec $B sleep 64"));
        CHECK(processes_in(folder) != "");
        REQUIRE(f.driver().kill("c1").wait().ok());
        REQUIRE(f.driver().remove("c1").wait().ok());
    }
    CHECK(processes_in(folder) == "");
}
