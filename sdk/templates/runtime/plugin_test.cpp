#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gantry/testing/drivers.hpp>
#include <sstream>

using namespace gantry::testing;
using gantry::Container;
using gantry::ContainerState;
using namespace std::chrono_literals;

namespace {

void expect(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}

constexpr const char* kImage = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

gantry::ContainerSpec shell(const char* name, const std::string& script) {
    gantry::ContainerSpec spec;
    spec.name = name;
    spec.image = kImage;
    spec.args = {"/bin/sh", "-c", script};
    spec.labels = {{"key", "value"}};
    return spec;
}

Container find(RuntimeDriver& driver, const std::string& name) {
    for (const Container& container : driver.list().wait().result.containers) {
        if (container.name == name) return container;
    }
    throw std::runtime_error("no container " + name + " in the list");
}

// True while a process of the group is more than a name that nobody has waited for yet.
bool any_lives(std::int64_t group) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::ifstream file(entry.path() / "stat");
        std::string text;
        std::getline(file, text);
        std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
        std::string state;
        std::int64_t parent = 0, own_group = 0;
        if (fields >> state >> parent >> own_group && own_group == group && state != "Z") return true;
    }
    return false;
}

void tells_how_a_container_ended(RuntimeDriver& driver, FakeHost& host) {
    expect(driver.create(shell("short", "exit 7")).wait().ok() && driver.start("short").wait().ok(), "it starts");
    expect(host.run_until([&] { return !driver.exits.empty(); }), "its end is told");
    const Container ended = find(driver, "short");
    expect(ended.state == ContainerState::kExited && ended.exit_code == 7, "the list says so too");
    expect(driver.remove("short").wait().ok() && driver.remove("short").wait().ok(), "removed, twice");
}

void ends_the_whole_group(RuntimeDriver& driver, FakeHost& host) {
    const std::string deaf = host.folder() + "/deaf";
    driver.create(shell("long", "trap '' TERM; sleep 1000 & : > " + deaf + "; while :; do sleep 1000; done")).wait();
    expect(driver.start("long").wait().ok() && driver.start("long").wait().ok(), "started, twice");
    const Container running = find(driver, "long");
    expect(host.run_until([&] { return std::filesystem::exists(deaf); }), "it does not hear SIGTERM any more");
    expect(running.labels.size() == 1 && driver.remove("long").wait().code == gantry::Code::kConflict, "it runs");
    expect(driver.stop("long", 100ms).wait().ok(), "it does not want to stop, and is killed after 100 ms");
    expect(!any_lives(running.pid), "no process is left");
    expect(find(driver, "long").exit_code == 128 + SIGKILL, "the list says how");
    driver.remove("long").wait();
}

void finds_what_runs_again(FakeHost& host, const std::string& folder) {
    {
        Instance& before = host.load(GANTRY_PLUGIN_FILE, Settings().state_dir(folder));
        RuntimeDriver driver(before);
        before.start();
        driver.ensure_image({kImage, folder, true}).wait();
        driver.create(shell("kept", "sleep 1000")).wait();
        driver.start("kept").wait();
        before.stop();
    }
    Instance& after = host.load(GANTRY_PLUGIN_FILE, Settings().name("after").state_dir(folder));
    RuntimeDriver driver(after);
    after.start();
    expect(find(driver, "kept").state == ContainerState::kRunning, "it outlived its runtime");
    expect(driver.kill("kept").wait().ok() && driver.remove("kept").wait().ok(), "and can be ended");
}

}  // namespace

int main() {
    try {
        Options options;
        options.real_time = true;
        FakeHost host(options);
        Instance& runtime = host.load(GANTRY_PLUGIN_FILE);
        RuntimeDriver driver(runtime);
        runtime.start();
        driver.ensure_image({kImage, host.folder(), true}).wait();
        tells_how_a_container_ended(driver, host);
        ends_the_whole_group(driver, host);
        const std::string folder = host.folder() + "/kept";
        std::filesystem::create_directory(folder);
        finds_what_runs_again(host, folder);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "failed: %s\n", failure.what());
        return 1;
    }
    return 0;
}
