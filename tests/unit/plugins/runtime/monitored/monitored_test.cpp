// SPDX-License-Identifier: Apache-2.0
//
// MonitoredRuntime over a backend that does what the test says: what real ones do only in bad moments.
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>
#include <gantry/testing/fake_host.hpp>

#include "plugins/runtime/image-store/layer.hpp"
#include "plugins/runtime/monitored/runtime.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace fs = std::filesystem;
using gantry::Code;
using gantry::ContainerState;
using gantry::Failure;
using namespace image_builder;
using namespace std::chrono_literals;

namespace {

// What the backend does; set by the test while nothing runs.
struct Script {
    std::atomic<bool> create_fails{false}, clean_fails{false}, kill_in_vain{false}, with_monitor{false};
    std::atomic<int> kills{0}, cleans{0}, created{0};
    std::atomic<bool> unpack_waits{false}, unpacking{false};
    std::atomic<Code> checkpoint_ends{Code::kOk}, restore_ends{Code::kOk};
    std::atomic<int> restores{0};
};
Script* current = nullptr;

// The first process is a child of this program.
class ScriptedBackend : public monitored::Backend {
  public:
    void create(const gantry::ContainerSpec&, const image_store::Image&, const monitored::Home& home,
                monitored::Record& record, gantry::Instant) override {
        ++current->created;
        spill(home.dir / "something", "made");
        if (current->create_fails) throw Failure(Code::kFailed, "the backend has no wish to");
        record.process = monitored::identify(begin_process());
        if (current->with_monitor) record.monitor = monitored::identify(::getpid());  // it says nothing, but lives
    }
    void start(const monitored::Home&, monitored::Record&, gantry::Instant) override {}
    bool was_started(const monitored::Home&, monitored::Record&) override { return false; }
    pid_t kill(const monitored::Home&, const monitored::Record& record) override {
        ++current->kills;
        if (current->kill_in_vain) return 4711;
        const gantry::Fd process = monitored::open_process(record.process);
        if (!process) return 0;
        ::kill(record.process.pid, SIGKILL);
        ::waitpid(record.process.pid, nullptr, 0);
        return 0;
    }
    void clean(const monitored::Home&, const monitored::Record&, gantry::Instant) override {
        ++current->cleans;
        if (current->clean_fails) throw Failure(Code::kFailed, "the mount is busy");
    }
    std::string exit_detail(const monitored::Home&, const monitored::Record&, int) override { return {}; }
    monitored::Command exec(const monitored::Home&, const monitored::Record&, const std::vector<std::string>&,
                            const std::string&, bool) override {
        throw Failure(Code::kUnsupported, "the backend runs nothing");
    }
    void end_exec(const monitored::Record&, const std::string&) override {}
    std::optional<gantry::ContainerStats> stats(const monitored::Record&) override { return std::nullopt; }
    std::string no_checkpoints() const override { return {}; }
    void checkpoint(const monitored::Home&, const monitored::Record& record, const fs::path& into,
                    gantry::Instant) override {
        ::kill(record.process.pid, SIGSTOP);
        spill(into / "memory", "what it had");
        if (const Code code = current->checkpoint_ends; code != Code::kOk) {
            if (code != Code::kDeadline) ::kill(record.process.pid, SIGCONT);
            throw Failure(code, "the backend wrote half of it");
        }
    }
    void restore(const monitored::Home&, monitored::Record& record, const fs::path& from, gantry::Instant) override {
        ++current->restores;
        if (slurp(from / "memory") != "what it had") throw Failure(Code::kFailed, "it had something else");
        if (const Code code = current->restore_ends; code != Code::kOk) throw Failure(code, "the backend woke nobody");
        record.process = monitored::identify(begin_process());
    }

  private:
    static pid_t begin_process() {
        const pid_t pid = ::fork();
        if (pid != 0) return pid;
        ::pause();
        ::_exit(0);
    }
};

void unpack(const image_store::UnpackJob& job, const image_store::Cancelled& cancelled) {
    current->unpacking = true;
    while (current->unpack_waits && !cancelled()) ::poll(nullptr, 0, 1);
    current->unpacking = false;
    image_store::unpack_layer(job, cancelled);
}

class ScriptedRuntime : public monitored::MonitoredRuntime {
  public:
    void init(const gantry::Config& config) override {
        configure(config, std::make_unique<ScriptedBackend>(),
                  {{}, image_store::TreeForm::kFlat, false, 64 << 20, &unpack});
    }
    gantry::RuntimeFacts facts() const override { return {}; }
};

const gantry_entry kEntry = {sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,
                             GANTRY_ABI_MAJOR,     GANTRY_ABI_MINOR,
                             "test.scripted",      "0.9.0",
                             "runtime/1",          &gantry::PluginEntry<ScriptedRuntime>::create};

class World {
  public:
    World() {
        current = &script_;
        fs::create_directories(state());
        begin();
        Layout layout(scratch_.path() / "layout");
        layout.layer({file("a", "1")});
        layout.config = {{"Cmd", {"/a"}}};
        image_ = layout.finish();
        REQUIRE(driver().ensure_image({image_, layout.dir().string()}).wait().ok());
    }
    ~World() {
        script_.kill_in_vain = script_.clean_fails = false;
        for (const char* name : {"c1", "c2"}) {
            if (!host_) break;
            (void)driver().kill(name).wait();
            (void)driver().remove(name).wait();
        }
        end();
        while (::waitpid(-1, nullptr, WNOHANG) > 0) continue;
        CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
    }
    // Throws what the start of the plugin throws.
    void begin() {
        gantry::testing::Options options;
        options.real_time = true;
        host_ = std::make_unique<gantry::testing::FakeHost>(options);
        gantry::testing::Settings settings;
        settings.state_dir(state().string());
        auto& instance = host_->load(kEntry, settings);
        driver_ = std::make_unique<gantry::testing::RuntimeDriver>(instance);
        instance.start();
    }
    void end() {
        driver_.reset();
        host_.reset();
    }
    gantry::ContainerSpec spec(const std::string& name) const {
        gantry::ContainerSpec out;
        out.name = name;
        out.image = image_;
        return out;
    }
    void run(const std::string& name) {
        REQUIRE_THAT(driver().create(spec(name)).wait().text, Catch::Equals(""));
        REQUIRE_THAT(driver().start(name).wait().text, Catch::Equals(""));
    }
    std::vector<gantry::Container> list() { return driver().list().wait().result.containers; }

    fs::path state() const { return scratch_.path() / "state"; }
    fs::path folder(const std::string& name) const { return state() / "containers" / name; }
    Script& script() { return script_; }
    gantry::testing::FakeHost& host() { return *host_; }
    gantry::testing::RuntimeDriver& driver() { return *driver_; }

  private:
    Scratch scratch_;
    Script script_;
    std::unique_ptr<gantry::testing::FakeHost> host_;
    std::unique_ptr<gantry::testing::RuntimeDriver> driver_;
    std::string image_;
};

// Replaces `from` in the record of c1.
void edit(const fs::path& dir, const std::string& from, const std::string& to) {
    std::string text = slurp(dir / "record.json");
    REQUIRE(text.find(from) != std::string::npos);
    text.replace(text.find(from), from.size(), to);
    spill(dir / "record.json", text);
}

}  // namespace

TEST_CASE("What could not be cleaned away stays known and is cleaned away later") {
    World w;
    w.script().create_fails = w.script().clean_fails = true;
    const auto failed = w.driver().create(w.spec("c1")).wait();
    CHECK(failed.code == Code::kFailed);
    CHECK_THAT(failed.text, Catch::Contains("no wish"));
    CHECK(fs::exists(w.folder("c1") / "something"));
    CHECK(w.list().empty());

    // Nobody gets it as his, and a new one is not made on top of it.
    const auto again = w.driver().create(w.spec("c1")).wait();
    CHECK(again.code == Code::kUnavailable);
    CHECK_THAT(again.text, Catch::Contains("the mount is busy"));
    CHECK(w.driver().start("c1").wait().code == Code::kNotFound);
    CHECK(w.driver().remove("c1").wait().code == Code::kFailed);
    CHECK(w.driver().kill("c1").wait().code == Code::kFailed);
    CHECK(w.script().created == 1);

    const int before = w.script().cleans;
    CHECK(w.host().run_until([&] { return w.script().cleans > before; }));  // by itself
    CHECK(fs::exists(w.folder("c1")));
    w.script().create_fails = w.script().clean_fails = false;
    CHECK(w.host().run_until([&] { return !fs::exists(w.folder("c1")); }));
    w.run("c1");
    CHECK(w.list().size() == 1);
}

TEST_CASE("A folder that an earlier daemon left half-made is not forgotten either") {
    World w;
    w.end();
    fs::create_directories(w.folder("c1"));
    w.script().clean_fails = true;
    w.begin();
    CHECK(w.host().run_until([&] { return w.script().cleans >= 2; }));
    CHECK(fs::exists(w.folder("c1")));
    CHECK(w.list().empty());
    w.script().clean_fails = false;
    CHECK(w.host().run_until([&] { return !fs::exists(w.folder("c1")); }));
}

TEST_CASE("Containers that cannot be killed hold up nobody else") {
    World w;
    std::vector<gantry::testing::Pending<void>> kills;
    const std::vector<std::string> stuck{"a", "b", "c"};  // more than there are workers
    for (const std::string& name : stuck) w.run(name);
    w.script().kill_in_vain = true;
    for (const std::string& name : stuck) kills.push_back(w.driver().kill(name));
    CHECK(w.host().run_until([&] { return w.script().kills >= 9; }));
    const gantry::Instant from = w.host().now();
    w.run("c1");
    CHECK(w.host().now() - from < 5s);
    for (const auto& kill : kills) CHECK_FALSE(kill.ended());
    w.script().kill_in_vain = false;
    for (auto& kill : kills) CHECK(kill.wait().ok());
    for (const std::string& name : stuck) CHECK(w.driver().remove(name).wait().ok());
}

TEST_CASE("A list that waits for a monitor's word is answered when the container is removed") {
    World w;
    w.script().with_monitor = true;
    REQUIRE(w.driver().create(w.spec("c1")).wait().ok());
    const auto pid = static_cast<pid_t>(w.list().at(0).pid);
    ::kill(pid, SIGKILL);
    REQUIRE(::waitpid(pid, nullptr, 0) == pid);
    auto list = w.driver().list();
    auto remove = w.driver().remove("c1");
    CHECK(remove.wait().ok());
    const auto answer = list.wait();
    CHECK(answer.ok());
    CHECK(answer.result.containers.empty());
}

TEST_CASE("A container whose record is from another version goes on") {
    World w;
    w.run("c1");
    const gantry::Container before = w.list().at(0);
    w.end();
    SECTION("members are missing") {
        edit(w.folder("c1"), "\"labels\":[],", "");
        edit(w.folder("c1"), "\"stop_signal\":15,", "");
        edit(w.folder("c1"), "\"name\":\"c1\",", "");
        edit(w.folder("c1"), "\"version\":1,", "");
    }
    SECTION("there are more") { edit(w.folder("c1"), "\"version\":1,", "\"version\":2,\"colour\":\"red\","); }
    w.begin();
    REQUIRE(w.list().size() == 1);
    CHECK(w.list()[0].state == ContainerState::kRunning);
    CHECK(w.list()[0].pid == before.pid);
    CHECK(w.script().kills == 0);
}

TEST_CASE("What cannot be read or understood stops the start, and no container") {
    World w;
    w.run("c1");
    const gantry::Container before = w.list().at(0);
    w.end();
    const fs::path record = w.folder("c1") / "record.json";
    const std::string good = slurp(record);
    SECTION("unreadable") {
        fs::remove(record);
        fs::create_symlink("/nonexistent/record", record);  // ELOOP: links are not followed
    }
    SECTION("no processes") { edit(w.folder("c1"), "\"process\":", "\"other\":"); }
    SECTION("another type") { edit(w.folder("c1"), "\"image\":\"", "\"image\":7,\"was\":\""); }
    CHECK_THROWS_WITH(w.begin(), Catch::Contains("record.json"));
    w.end();
    CHECK(w.script().kills == 0);
    CHECK(w.script().cleans == 0);
    fs::remove(record);
    spill(record, good);
    w.begin();
    REQUIRE(w.list().size() == 1);
    CHECK(w.list()[0].pid == before.pid);
    CHECK(w.list()[0].state == ContainerState::kRunning);
}

TEST_CASE("A record that was cut short is as good as none") {
    World w;
    w.end();
    fs::create_directories(w.folder("c1"));
    spill(w.folder("c1") / "record.json",
          GENERATE(as<std::string>{}, "", "{\"name\":\"c1\",\"im", std::string(3, '\0')));
    w.begin();
    CHECK(w.list().empty());
    CHECK(w.host().run_until([&] { return !fs::exists(w.folder("c1")); }));
}

TEST_CASE("An exit that is being written while the daemon starts is not swept away") {
    World w;
    w.run("c1");
    w.end();
    const fs::path exits = w.state() / "exits";
    for (const char* name : {"c1.new", "c1.X7Q2AB", "gone", "gone.new"}) spill(exits / name, "5");
    w.begin();
    CHECK(fs::exists(exits / "c1.new"));
    CHECK(fs::exists(exits / "c1.X7Q2AB"));
    CHECK_FALSE(fs::exists(exits / "gone"));
    CHECK_FALSE(fs::exists(exits / "gone.new"));
    fs::rename(exits / "c1.new", exits / "c1");
    CHECK(w.host().run_until([&] { return w.list().at(0).state == ContainerState::kExited; }));
    CHECK(w.list().at(0).exit_code == 5);
    fs::remove(exits / "c1.X7Q2AB");
}

TEST_CASE("A mount source is looked for on a worker, not on the loop") {
    World w;
    gantry::ContainerSpec spec = w.spec("c1");
    spec.mounts = {{"/nonexistent/source", "/mnt", false}};
    auto create = w.driver().create(spec);
    CHECK_FALSE(create.ended());  // a look on the loop would have answered at once
    const auto answer = create.wait();
    CHECK(answer.code == Code::kInvalid);
    CHECK_THAT(answer.text, Catch::Contains("/nonexistent/source"));
    CHECK(w.script().created == 0);
    CHECK_FALSE(fs::exists(w.folder("c1")));
}

TEST_CASE("What a container waits for is unpacked first, also if it was asked for without haste before") {
    World w;
    const Scratch scratch;
    std::vector<std::string> images, ended;
    for (const char* name : {"first", "lazy", "raised", "urgent"}) {
        Layout layout(scratch.path());
        layout.layer({file(name, name)});
        layout.config = {{"Cmd", {name}}};
        images.push_back(layout.finish());
    }
    const auto ask = [&](std::size_t which, bool urgent) {
        return w.driver().ensure_image({images[which], scratch.path().string(), urgent});
    };
    w.script().unpack_waits = true;
    auto first = ask(0, false);
    CHECK(w.host().run_until([&] { return w.script().unpacking.load(); }, 10s));
    auto lazy = ask(1, false), raised = ask(2, false), urgent = ask(3, true), again = ask(2, true);
    const std::vector<std::pair<const char*, gantry::testing::Pending<void>*>> all = {
        // several may end between two looks
        {"first", &first},
        {"urgent", &urgent},
        {"raised", &raised},
        {"again", &again},
        {"lazy", &lazy}};
    w.script().unpack_waits = false;
    CHECK(w.host().run_until(
        [&] {
            for (const auto& [name, one] : all) {
                if (one->ended() && std::ranges::find(ended, name) == ended.end()) ended.emplace_back(name);
            }
            return ended.size() == all.size();
        },
        10s));
    CHECK(w.driver().images().wait().result.images.size() == 5);
    CHECK(ended.front() == "first");
    CHECK(ended[1] == "urgent");
    CHECK(ended.back() == "lazy");
}

namespace {

// One that has ended and is not reaped yet is not.
bool there(const gantry::Container& container) {
    return static_cast<bool>(monitored::identify(static_cast<pid_t>(container.pid)));
}

// Which of the folders of a checkpoint there are.
std::string lies(const World& w) {
    std::string out;
    for (const char* name : {"checkpoint", "checkpoint.new", "checkpoint.used"}) {
        if (fs::exists(w.folder("c1") / name)) out += std::string(out.empty() ? "" : " ") + name;
    }
    return out;
}

}  // namespace

TEST_CASE("A container rests on disk, over a restart of the daemon, and goes on from there once") {
    World w;
    w.run("c1");
    const auto before = w.list().at(0);
    for (int i = 0; i < 2; ++i) REQUIRE_THAT(w.driver().checkpoint("c1").wait().text, Catch::Equals(""));
    for (int i = 0; i < 2; ++i) {
        const auto rests = w.list().at(0);
        CHECK(rests.state == ContainerState::kPaused);
        CHECK(rests.pid == 0);
        CHECK(rests.detail == "checkpointed, 0.1 MiB on disk");
        CHECK_FALSE(there(before));
        CHECK(lies(w) == "checkpoint");
        CHECK(w.driver().stats("c1").wait().code == Code::kConflict);
        CHECK(w.driver().remove("c1").wait().code == Code::kConflict);
        w.end();
        w.begin();
    }
    REQUIRE_THAT(w.driver().restore("c1").wait().text, Catch::Equals(""));
    const auto after = w.list().at(0);
    CHECK(after.state == ContainerState::kRunning);
    CHECK(after.detail.empty());
    CHECK(there(after));
    CHECK(lies(w).empty());
    const auto again = w.driver().restore("c1").wait();
    CHECK(again.code == Code::kConflict);
    CHECK_THAT(again.text, Catch::Contains("is not checkpointed"));
    w.end();
    w.begin();
    CHECK(w.list().at(0).pid == after.pid);
    CHECK(w.script().restores == 1);
    CHECK(w.driver().checkpoint("none").wait().code == Code::kNotFound);
    CHECK(w.driver().restore("none").wait().code == Code::kNotFound);
    REQUIRE(w.driver().create(w.spec("c2")).wait().ok());
    CHECK(w.driver().checkpoint("c2").wait().code == Code::kConflict);
}

TEST_CASE("A checkpoint that fails leaves the container going on; one that hangs ends it, for nobody knows its state") {
    World w;
    w.run("c1");
    const auto before = w.list().at(0);
    const Code code = GENERATE(Code::kFailed, Code::kDeadline);
    w.script().checkpoint_ends = code;
    const auto failed = w.driver().checkpoint("c1").wait();
    CHECK(failed.code == code);
    CHECK_THAT(failed.text, Catch::Contains("half of it"));
    CHECK(lies(w).empty());
    if (code == Code::kFailed) {
        CHECK(w.list().at(0).state == ContainerState::kRunning);
        CHECK(w.list().at(0).pid == before.pid);
        w.script().checkpoint_ends = Code::kOk;
        CHECK(w.driver().checkpoint("c1").wait().ok());
    } else {
        CHECK(w.host().run_until([&] { return w.list().at(0).state == ContainerState::kExited; }));
        CHECK_FALSE(there(before));
    }
}

TEST_CASE("What could not be restored rests on, unless it may have gone on for a moment") {
    World w;
    w.run("c1");
    REQUIRE(w.driver().checkpoint("c1").wait().ok());
    w.script().restore_ends = Code::kFailed;
    CHECK(w.driver().restore("c1").wait().code == Code::kFailed);
    CHECK(w.list().at(0).state == ContainerState::kPaused);
    CHECK(lies(w) == "checkpoint");
    w.script().restore_ends = Code::kDeadline;
    CHECK(w.driver().restore("c1").wait().code == Code::kDeadline);
    CHECK(w.list().at(0).state == ContainerState::kExited);
    CHECK(w.list().at(0).exit_code == 137);
    w.script().restore_ends = Code::kOk;
    CHECK(w.driver().restore("c1").wait().code == Code::kConflict);
    w.end();
    w.begin();
    CHECK(w.list().at(0).state == ContainerState::kExited);
    CHECK(w.driver().restore("c1").wait().code == Code::kConflict);
    CHECK(w.script().restores == 2);
    CHECK(w.driver().remove("c1").wait().ok());
    CHECK_FALSE(fs::exists(w.folder("c1")));
}

TEST_CASE("A container that rests is stopped and killed where it lies") {
    World w;
    w.run("c1");
    REQUIRE(w.driver().checkpoint("c1").wait().ok());
    CHECK((GENERATE(false, true) ? w.driver().kill("c1") : w.driver().stop("c1", 10s)).wait().ok());
    for (int i = 0; i < 2; ++i) {
        CHECK(w.list().at(0).state == ContainerState::kExited);
        CHECK(w.list().at(0).exit_code == 137);
        CHECK(w.driver().restore("c1").wait().code == Code::kConflict);
        w.end();
        w.begin();
    }
    CHECK(w.driver().remove("c1").wait().ok());
}

TEST_CASE("Nothing goes on from a checkpoint that is half-written, used up or of an earlier boot") {
    World w;
    w.run("c1");
    const auto before = w.list().at(0);
    SECTION("the daemon died while it was written") {
        w.end();
        fs::create_directory(w.folder("c1") / GENERATE(as<std::string>{}, "checkpoint.new", "checkpoint"));
        w.begin();
        CHECK(w.host().run_until([&] { return w.list().at(0).state == ContainerState::kExited; }));
        CHECK_FALSE(there(before));
    }
    SECTION("the daemon died before the processes were ended") {
        ::kill(static_cast<pid_t>(before.pid), SIGSTOP);
        w.end();
        fs::create_directory(w.folder("c1") / "checkpoint");
        spill(w.folder("c1") / "checkpoint" / "memory", "what it had");
        edit(w.folder("c1"), "\"checkpoint_bytes\":0", "\"checkpoint_bytes\":11");
        w.begin();
        CHECK(w.driver().restore("c1").wait().ok());
        CHECK_FALSE(there(before));
        CHECK(there(w.list().at(0)));
    }
    SECTION("the daemon died while it was restored") {
        REQUIRE(w.driver().checkpoint("c1").wait().ok());
        w.end();
        fs::rename(w.folder("c1") / "checkpoint", w.folder("c1") / "checkpoint.used");
        w.begin();
        CHECK(w.list().at(0).state == ContainerState::kExited);
        CHECK(w.driver().restore("c1").wait().code == Code::kConflict);
    }
    SECTION("the node was booted") {
        REQUIRE(w.driver().checkpoint("c1").wait().ok());
        w.end();
        edit(w.folder("c1"), monitored::current_boot(), "another");
        w.begin();
        CHECK(w.list().at(0).state == ContainerState::kExited);
        CHECK(w.driver().restore("c1").wait().code == Code::kConflict);
    }
    SECTION("the daemon died after it was restored") {
        w.end();
        fs::create_directory(w.folder("c1") / "checkpoint.used");
        w.begin();
        CHECK(w.host().run_until([&] { return lies(w).empty(); }));
        CHECK(w.list().at(0).pid == before.pid);
    }
}
