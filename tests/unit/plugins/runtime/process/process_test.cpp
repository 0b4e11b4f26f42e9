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

TEST_CASE("Another user than the daemon's needs root, and folders that he can get through") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "$B id -u; $B id -g; $B id -G");
    spec.user = "worker";
    auto answer = f.driver().create(spec).wait();
    REQUIRE_FALSE(answer.ok());
    CHECK(answer.code == Code::kInvalid);
    if (answer.text.find("needs root") != std::string::npos) {
        // An ordinary user, or root of a namespace that does not have that user.
        CHECK((::geteuid() != 0 || image_builder::slurp("/proc/self/uid_map").find("4294967295") == std::string::npos));
        return;
    }
    CHECK(answer.text.find(f.scratch().string() + " is shut") != std::string::npos);
    CHECK(answer.text.find("runtime/oci") != std::string::npos);
    // One after the other, as the words say.
    for (int folders = 0; !answer.ok() && folders < 10; ++folders) {
        const std::size_t at = answer.text.find(": /tmp/");
        REQUIRE(at != std::string::npos);
        const std::string shut = answer.text.substr(at + 2, answer.text.find(" is shut") - at - 2);
        INFO(answer.text);
        std::filesystem::permissions(shut, std::filesystem::perms(0711));
        answer = f.driver().create(spec).wait();
    }
    CHECK(answer.text == "");
    f.run(spec);
    f.wait_exit("c1");
    CHECK(f.logs("c1") == "1234\n1235\n1235 1300\n");
    // The group counts where the user is the daemon's too.
    spec.name = "c2";
    spec.user = "0:100";
    f.run(spec);
    f.wait_exit("c2");
    CHECK(f.logs("c2") == "0\n100\n100\n");
}

TEST_CASE("The daemon's own user is always possible") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1", "$B id -u; $B id -g");
    const std::string ids = std::to_string(::geteuid()) + ":" + std::to_string(::getegid());
    spec.user = ids;
    f.run(spec);
    f.wait_exit("c1");
    CHECK(f.logs("c1") == std::to_string(::geteuid()) + "\n" + std::to_string(::getegid()) + "\n");
}

TEST_CASE("A program has the usual umask and signals, and the monitor none of its environment") {
    Fixture f;
    gantry::ContainerSpec spec = f.script("c1",
                                          "umask; $B grep -E 'Sig(Blk|Ign)' /proc/self/status; echo $SECRET; echo "
                                          "$LD_PRELOAD; exec $B sleep 60");
    spec.env = {{"SECRET", "word"}, {"LD_PRELOAD", "/nonexistent/evil.so"}};
    f.run(spec);
    REQUIRE(f.logged("c1", "evil.so\n"));
    const std::string text = f.logs("c1");
    CHECK((text == "0022\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nword\n/nonexistent/evil.so\n"));
    const std::int64_t monitor = runtime_test::parent_of(f.find("c1").pid);
    CHECK(image_builder::slurp("/proc/" + std::to_string(monitor) + "/environ").find("SECRET") == std::string::npos);
    CHECK(image_builder::slurp("/proc/" + std::to_string(monitor) + "/cmdline").find("word") == std::string::npos);
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
