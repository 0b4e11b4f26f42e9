// SPDX-License-Identifier: Apache-2.0
//
// runtime/sylixos-ecs with a stand-in for ecs, on this machine or behind a real sshd (beside_board.py). No SylixOS
// exists here: docs/sylixos-ecs.md says what only a board can prove.
#include <signal.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <gantry/testing/drivers.hpp>
#include <gantry/testing/fake_host.hpp>
#include <set>

#include "tests/unit/plugins/runtime/image_builder.hpp"

using gantry::Code;
using gantry::ContainerState;
using gantry::testing::FakeHost;
using gantry::testing::RuntimeDriver;
using gantry::testing::Settings;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

// A board that is as if new, with the plugin before it.
class Fixture {
  public:
    Fixture() : board_(environment("GANTRY_BOARD")) {
        REQUIRE(fs::exists(board_ / "bin/ecs"));
        for (const char* part : {"bin/state", "apps", "bin/calls", "tmp", "oci"}) fs::remove_all(board_ / part);
        for (const char* verb : {"load", "start", "kill", "delete", "unreg"})
            for (const char* order : {"fail-", "hang-"}) fs::remove(board_ / "bin" / (std::string(order) + verb));
        fs::create_directories(board_ / "tmp");
        make_image();
        begin();
        REQUIRE(trouble(driver().ensure_image({image_, (board_ / "oci").string(), true})) == "");
    }

    void begin(const std::function<void(Settings&)>& change = {}) {
        driver_.reset();
        host_ = std::make_unique<FakeHost>(gantry::testing::Options{.real_time = true});
        fs::create_directories(scratch_.path() / "state");
        Settings settings = basics();
        if (change) change(settings);
        instance_ = &host_->load(GANTRY_PLUGIN_FILE, settings);
        driver_ = std::make_unique<RuntimeDriver>(*instance_);
        instance_->start();
    }
    Settings basics() const {
        Settings out;
        out.state_dir((scratch_.path() / "state").string())
            .string("architecture", "arm64")
            .string("ecs", (board_ / "bin/ecs").string())
            .string("folder", (board_ / "apps").string())
            .string("boot_folder", (board_ / "tmp").string())
            .duration("watch_interval", remote() ? 2s : 100ms);
        if (remote()) {
            out.string("ssh", environment("GANTRY_BOARD_SSH"))
                .integer("ssh_port", std::stoi(environment("GANTRY_BOARD_PORT")))
                .string("known_hosts", (board_ / "known_hosts").string())
                .string("identity", (board_ / "identity").string());
        }
        return out;
    }
    static bool remote() { return !environment("GANTRY_BOARD_SSH").empty(); }

    template <class Pending>
    static std::string trouble(Pending&& pending) {
        const auto answer = pending.wait(30s);
        return answer.ok() ? "" : "failed: " + answer.text;
    }
    gantry::ContainerSpec spec(const std::string& name) const {
        gantry::ContainerSpec out;
        out.name = name;
        out.image = image_;
        out.env = {{"MODE", "manifest"}};
        out.labels = {{"gantry.service", "axis"}};
        return out;
    }
    void run(const std::string& name) {
        REQUIRE(trouble(driver().create(spec(name))) == "");
        REQUIRE(trouble(driver().start(name)) == "");
    }
    std::vector<gantry::Container> list() {
        const auto answer = driver().list().wait(20s);
        REQUIRE(answer.text == "");
        return answer.result.containers;
    }
    std::string state(const std::string& name) const {
        std::string word;
        std::ifstream(board_ / "bin/state" / name) >> word;
        return word;
    }
    std::vector<std::string> calls() const {
        std::vector<std::string> out;
        std::ifstream file(board_ / "bin/calls");
        for (std::string line; std::getline(file, line);) out.push_back(line.substr(0, line.find(' ')));
        return out;
    }
    void order(const std::string& what) const { std::ofstream(board_ / "bin" / what) << "x"; }
    void reboot() const {
        fs::remove_all(board_ / "tmp");
        fs::create_directories(board_ / "tmp");
        // What ran has ended; what was registered is on the board's disk.
        for (const auto& item : fs::directory_iterator(board_ / "bin/state")) {
            std::string text = image_builder::slurp(item.path());
            if (text.starts_with("running")) image_builder::spill(item.path(), text.replace(0, 7, "killed"));
        }
    }

    RuntimeDriver& driver() { return *driver_; }
    FakeHost& host() { return *host_; }
    const fs::path& board() const { return board_; }
    const std::string& image() const { return image_; }

  private:
    // The layout that gantryd keeps of an image that ecsc packed: one layer, not compressed, below rootfs/.
    void make_image() {
        image_builder::Layout layout(board_ / "oci");
        layout.architecture = "arm64";
        layout.system = "sylixos";
        layout.layer({image_builder::folder("rootfs"), image_builder::folder("rootfs/apps"),
                      image_builder::file("rootfs/apps/axis_server",
                                          "\x7f"
                                          "ELF",
                                          0755)});
        layout.config = {{"Env", {"PATH=/usr/bin:/bin", "MODE=image"}},
                         {"Entrypoint", {"/apps/axis_server"}},
                         {"WorkingDir", "/rootfs"},
                         {"User", "0:0"},
                         {"Labels", {{"sylixos.resources.kernelObject.threadLimit", "300"}}}};
        image_ = layout.finish();
    }

    fs::path board_;
    image_builder::Scratch scratch_;
    std::unique_ptr<FakeHost> host_;
    gantry::testing::Instance* instance_ = nullptr;
    std::unique_ptr<RuntimeDriver> driver_;
    std::string image_;
};

}  // namespace

TEST_CASE("a container goes through the verbs in the board's order, and leaves nothing") {
    Fixture f;
    CHECK(f.driver().facts().system == "sylixos");
    CHECK(f.driver().facts().architectures == std::vector<std::string>{"arm64"});
    CHECK_FALSE(f.driver().facts().fenceable);
    CHECK(f.list().empty());
    REQUIRE(f.trouble(f.driver().create(f.spec("c1"))) == "");
    CHECK(f.state("c1") == "loaded");
    CHECK(f.list().at(0).state == ContainerState::kCreated);
    CHECK(f.list().at(0).labels == gantry::Labels{{"gantry.service", "axis"}});
    const json::value config = json::parse(image_builder::slurp(f.board() / "apps/bundles/c1/config.json"));
    CHECK(config.at("process").at("env") == json::array{"PATH=/usr/bin:/bin", "MODE=manifest"});
    CHECK(config.at("sylixos").at("resources").at("kernelObject").at("threadLimit") == 300);
    REQUIRE(f.trouble(f.driver().start("c1")) == "");
    CHECK(f.state("c1") == "running");
    CHECK(f.list().at(0).state == ContainerState::kRunning);
    CHECK(f.driver().remove("c1").wait(20s).code == Code::kConflict);
    REQUIRE(f.trouble(f.driver().stop("c1", 1s)) == "");
    CHECK(f.list().at(0).state == ContainerState::kExited);
    CHECK(f.list().at(0).exit_code == 137);
    CHECK(f.driver().start("c1").wait(20s).code == Code::kConflict);
    REQUIRE(f.trouble(f.driver().remove("c1")) == "");
    CHECK(f.calls() == std::vector<std::string>{"load", "start", "kill", "delete", "unreg"});
    CHECK(f.list().empty());
    CHECK(fs::is_empty(f.board() / "bin/state"));
    CHECK(fs::is_empty(f.board() / "apps/bundles"));
}

TEST_CASE("what is repeated changes nothing, and what is not there is said") {
    Fixture f;
    f.run("c1");
    CHECK(f.trouble(f.driver().create(f.spec("c1"))) == "");
    CHECK(f.trouble(f.driver().start("c1")) == "");
    CHECK(f.calls() == std::vector<std::string>{"load", "start"});
    CHECK(f.trouble(f.driver().kill("c1")) == "");
    CHECK(f.trouble(f.driver().kill("c1")) == "");
    CHECK(f.trouble(f.driver().remove("c1")) == "");
    CHECK(f.trouble(f.driver().remove("c1")) == "");
    CHECK(f.driver().start("c1").wait(20s).code == Code::kNotFound);
    CHECK(f.driver().kill("c1").wait(20s).code == Code::kNotFound);
    auto absent = f.spec("c2");
    absent.image = "sha256:" + std::string(64, '0');
    CHECK(f.driver().create(absent).wait(20s).code == Code::kNotFound);
    auto mounts = f.spec("c2");
    mounts.mounts = {{"/nonexistent/source", "/mnt", false}};
    CHECK(f.driver().create(mounts).wait(20s).code == Code::kInvalid);
    auto name = f.spec("c2; reboot");
    CHECK(f.driver().create(name).wait(20s).code == Code::kInvalid);
    CHECK(f.driver().logs("c1", gantry::Fd()).wait(20s).code == Code::kUnsupported);
    CHECK(f.list().empty());
}

TEST_CASE("each verb that fails once is told in ecs' own words, and works when it is tried again") {
    Fixture f;
    const auto fails = [&](const std::string& verb, auto pending) {
        const auto answer = pending.wait(20s);
        CHECK(answer.code == Code::kFailed);
        CHECK_THAT(answer.text, Contains("ecs " + verb) && Contains("no more memory in the kernel heap"));
    };
    f.order("fail-load");
    fails("load", f.driver().create(f.spec("c1")));
    CHECK(f.list().empty());
    CHECK_FALSE(fs::exists(f.board() / "apps/bundles/c1"));
    REQUIRE(f.trouble(f.driver().create(f.spec("c1"))) == "");
    f.order("fail-start");
    fails("start", f.driver().start("c1"));
    CHECK(f.list().at(0).state == ContainerState::kCreated);
    REQUIRE(f.trouble(f.driver().start("c1")) == "");
    f.order("fail-kill");
    fails("kill", f.driver().kill("c1"));
    CHECK(f.list().at(0).state == ContainerState::kRunning);
    REQUIRE(f.trouble(f.driver().kill("c1")) == "");
    for (const char* verb : {"delete", "unreg"}) {
        f.order(std::string("fail-") + verb);
        const auto answer = f.driver().remove("c1").wait(20s);
        CHECK(answer.code == Code::kFailed);
        CHECK(f.list().size() == 1);
    }
    REQUIRE(f.trouble(f.driver().remove("c1")) == "");
    CHECK(fs::is_empty(f.board() / "bin/state"));
    CHECK(f.list().empty());
}

TEST_CASE("a verb that hangs misses its deadline, and the board is used on") {
    Fixture f;
    f.begin([](Settings& settings) { settings.duration("timeout", Fixture::remote() ? 6s : 1500ms); });
    f.order("hang-load");
    const auto late = f.driver().create(f.spec("c1")).wait(20s);
    CHECK(late.code == Code::kDeadline);
    CHECK_THAT(late.text, Contains("did not end a call within"));
    REQUIRE(f.trouble(f.driver().create(f.spec("c1"))) == "");
    f.order("hang-start");
    CHECK(f.driver().start("c1").wait(20s).code == Code::kDeadline);
    // It may have been started or not: it counts as running until it is ended.
    CHECK(f.list().at(0).state == ContainerState::kRunning);
    REQUIRE(f.trouble(f.driver().start("c1")) == "");
    CHECK(f.state("c1") == "running");
    REQUIRE(f.trouble(f.driver().kill("c1")) == "");
    REQUIRE(f.trouble(f.driver().remove("c1")) == "");
}

TEST_CASE("containers are found again after a restart of gantryd, and a new boot of the board has ended them") {
    Fixture f;
    f.run("c1");
    REQUIRE(f.trouble(f.driver().create(f.spec("c2"))) == "");
    f.begin();
    CHECK(f.list().at(0).state == ContainerState::kRunning);
    CHECK(f.list().at(1).state == ContainerState::kCreated);
    CHECK(f.driver().exits.empty());
    f.reboot();
    CHECK(f.host().run_until([&] { return !f.driver().exits.empty(); }));
    CHECK(f.driver().exits.front().name == "c1");
    CHECK(f.driver().exits.front().exit_code == -1);
    CHECK(f.list().at(0).state == ContainerState::kExited);
    CHECK(f.list().at(0).detail == "the board was started anew");
    // The next one is told too, also while gantryd was away.
    REQUIRE(f.trouble(f.driver().start("c2")) == "");
    f.reboot();
    f.begin();
    CHECK(f.list().at(1).state == ContainerState::kExited);
    for (const char* name : {"c1", "c2"}) REQUIRE(f.trouble(f.driver().remove(name)) == "");
}

TEST_CASE("a bundle that somebody else made is left alone, and images are told apart by system and packing") {
    Fixture f;
    fs::create_directories(f.board() / "apps/bundles/c1");
    const auto refused = f.driver().create(f.spec("c1")).wait(20s);
    CHECK(refused.code == Code::kConflict);
    CHECK_THAT(refused.text, Contains("left alone"));
    CHECK(fs::exists(f.board() / "apps/bundles/c1"));
    image_builder::Layout linux_image(f.board() / "tmp/linux");
    linux_image.layer({image_builder::file("a", "text")});
    const auto foreign = f.driver().ensure_image({linux_image.finish(), linux_image.dir().string()}).wait(20s);
    CHECK(foreign.code == Code::kInvalid);
    CHECK_THAT(foreign.text, Contains("made for linux, this node runs sylixos"));
    image_builder::Layout packed(f.board() / "tmp/packed");
    packed.architecture = "arm64";
    packed.system = "sylixos";
    packed.layer({image_builder::file("rootfs/a", "text")}, image_builder::Packing::kGzip);
    const auto compressed = f.driver().ensure_image({packed.finish(), packed.dir().string()}).wait(20s);
    CHECK(compressed.code == Code::kInvalid);
    CHECK_THAT(compressed.text, Contains("ecsc pack"));
    CHECK(f.driver().images().wait(20s).result.images == std::vector<std::string>{f.image()});
    CHECK(f.trouble(f.driver().remove_image(f.image())) == "");
    CHECK(f.driver().images().wait(20s).result.images.empty());
    CHECK(fs::is_empty(f.board() / "apps/images"));
}

TEST_CASE("a board with another key, or none that answers, is named, and used again when it is back") {
    if (!Fixture::remote()) return;
    Fixture f;
    f.begin([&](Settings& settings) { settings.string("known_hosts", (f.board() / "other_hosts").string()); });
    const auto other = f.driver().list().wait(20s);
    CHECK(other.code == Code::kUnavailable);
    CHECK_THAT(other.text, Contains("cannot be reached") && Contains("Host key verification failed"));
    f.begin();
    f.run("c1");
    int pid = 0;
    std::ifstream(f.board() / "sshd.pid") >> pid;
    f.begin([](Settings& settings) { settings.duration("timeout", 800ms); });
    REQUIRE(::kill(pid, SIGSTOP) == 0);
    const auto away = f.driver().list().wait(20s);
    CHECK((away.code == Code::kDeadline || away.code == Code::kUnavailable));
    REQUIRE(::kill(pid, SIGCONT) == 0);
    CHECK(f.host().run_until([&] { return f.driver().list().wait(20s).ok(); }));
    CHECK(f.list().at(0).state == ContainerState::kRunning);
}

TEST_CASE("a configuration that cannot reach a board is refused with the key that is wrong") {
    Fixture f;
    const auto refused = [&](const std::function<void(Settings&)>& change) -> std::string {
        FakeHost host;
        Settings settings = f.basics();
        change(settings);
        try {
            host.load(GANTRY_PLUGIN_FILE, settings);
        } catch (const gantry::Failure& failure) {
            return failure.what();
        }
        return "";
    };
    CHECK_THAT(refused([](Settings& s) { s.string("architecture", "z80"); }),
               Contains("architecture: ECS has no word"));
    CHECK_THAT(refused([](Settings& s) { s.string("ecs", "ecs"); }), Contains("ecs: expected an absolute path"));
    CHECK_THAT(refused([](Settings& s) { s.string("folder", "/apps/a b"); }), Contains("folder: expected"));
    CHECK_THAT(refused([](Settings& s) { s.string("ssh", "10.0.0.7"); }), Contains("ssh: expected USER@HOST"));
    if (Fixture::remote()) {
        CHECK_THAT(refused([](Settings& s) { s.string("known_hosts", "/nowhere/hosts"); }), Contains("ssh-keyscan"));
        CHECK_THAT(refused([](Settings& s) { s.string("identity", "/nowhere/key"); }), Contains("ssh-keygen"));
    }
}
