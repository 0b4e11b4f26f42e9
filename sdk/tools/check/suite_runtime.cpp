// SPDX-License-Identifier: Apache-2.0
//
// runtime: containers of an image of the world.
#include <algorithm>
#include <filesystem>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 20s;

std::string_view name_of(ContainerState state) {
    constexpr std::string_view kNames[] = {"unknown", "created", "running", "paused", "exited"};
    const auto i = static_cast<std::size_t>(state);
    return i < 5 ? kNames[i] : kNames[0];
}

// One run of the runtime; the next one in the same check finds its containers.
class Running {
  public:
    explicit Running(Trial& trial)
        : rig(trial, true), instance(rig.make(settings(trial))), driver(instance), trial_(trial) {
        instance.start();
        const World& world = trial.subject.world;
        const auto ready =
            driver.ensure_image({world.text("runtime.image"), placed(trial, world.text("runtime.layout")), true})
                .wait(kPatience);
        expect(ready.ok(), "ensure_image takes the image of runtime.layout", ready.text);
    }
    // Kills and removes what is left, so that nothing outlives the check.
    ~Running() {
        try {
            if (!done_) clean();
        } catch (...) {
            // The check has failed already, or the runner kills what is left.
        }
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    static testing::Settings settings(Trial& trial) {
        if (trial.subject.world.text("runtime.image").empty()) {
            throw Skipped{
                "no image: give runtime.layout, image, sleeps, exits and ignores_stop in a file for --config"};
        }
        const std::string state = trial.folder() + "/state";
        std::filesystem::create_directories(state);
        return settings_of(trial).state_dir(state);
    }

    ContainerSpec spec(const std::string& name, const char* program) const {
        ContainerSpec out;
        out.name = name;
        out.image = trial_.subject.world.text("runtime.image");
        out.args = trial_.subject.world.list(program);
        return out;
    }
    void must(const std::string& what, testing::Pending<void> pending) {
        const auto answer = pending.wait(kPatience);
        expect(answer.ok(), what + " succeeds", answer.text);
    }
    void begin(const std::string& name, const char* program) {
        must("create", driver.create(spec(name, program)));
        must("start", driver.start(name));
    }
    std::vector<Container> list() {
        const auto answer = driver.list().wait(kPatience);
        expect(answer.ok(), "list succeeds", answer.text);
        return answer.result.containers;
    }
    std::optional<Container> find(const std::string& name) {
        for (const Container& container : list()) {
            if (container.name == name) return container;
        }
        return std::nullopt;
    }
    void expect_state(const std::string& name, ContainerState state) {
        const auto found = find(name);
        expect(found && found->state == state, "list shows " + name + " as " + std::string(name_of(state)),
               found ? std::string(name_of(found->state)) : "it is not listed");
    }
    Container wait_exit(const std::string& name) {
        std::optional<Container> found;
        for (const Instant until = rig.host.now() + kPatience; rig.host.now() < until;) {
            found = find(name);
            if (found && found->state == ContainerState::kExited) return *found;
            rig.host.run_until([] { return false; }, 10ms);
        }
        throw Failed{"list shows " + name + " as exited", found ? std::string(name_of(found->state)) : "not at all"};
    }
    void clean() {
        for (const Container& container : list()) {
            driver.kill(container.name).wait(kPatience);
            driver.remove(container.name).wait(kPatience);
        }
    }
    // The daemon ends, its containers do not.
    void leave() { done_ = true; }

    Rig rig;
    testing::Instance& instance;
    testing::RuntimeDriver driver;

  private:
    Trial& trial_;
    bool done_ = false;
};

void list_the_truth(Trial& trial) {
    Running runtime(trial);
    expect(runtime.list().empty(), "a new runtime lists nothing", std::to_string(runtime.list().size()));
    ContainerSpec spec = runtime.spec("c1", "runtime.sleeps");
    spec.labels = {{"gantry.epoch", "7"}, {"gantry.service", "axis"}};
    runtime.must("create", runtime.driver.create(spec));
    runtime.expect_state("c1", ContainerState::kCreated);
    expect(runtime.find("c1")->labels == spec.labels, "the labels of create in list", "others");
    runtime.must("start", runtime.driver.start("c1"));
    runtime.expect_state("c1", ContainerState::kRunning);
    runtime.must("kill", runtime.driver.kill("c1"));
    runtime.expect_state("c1", ContainerState::kExited);
    expect(runtime.find("c1")->exit_code == 137, "exit code 137 of a killed container",
           std::to_string(runtime.find("c1")->exit_code));
    runtime.must("remove", runtime.driver.remove("c1"));
    expect(runtime.list().empty(), "a removed container is not listed", "it is");
}

void repeat(Trial& trial) {
    Running runtime(trial);
    const ContainerSpec spec = runtime.spec("c1", "runtime.sleeps");
    runtime.must("create", runtime.driver.create(spec));
    runtime.must("create of a container that is there", runtime.driver.create(spec));
    runtime.must("start", runtime.driver.start("c1"));
    const auto first = runtime.find("c1");
    runtime.must("start of a running container", runtime.driver.start("c1"));
    runtime.must("create of a running container", runtime.driver.create(spec));
    const auto second = runtime.find("c1");
    expect(first && second && first->pid == second->pid && runtime.list().size() == 1,
           "a repeated create or start changes nothing", "another process");
    runtime.must("kill", runtime.driver.kill("c1"));
    runtime.must("kill of an ended container", runtime.driver.kill("c1"));
    runtime.must("stop of an ended container", runtime.driver.stop("c1", 1s));
    runtime.must("remove", runtime.driver.remove("c1"));
    runtime.must("remove of an absent container", runtime.driver.remove("c1"));
}

// A runtime that cannot be told by any program of its own leaves it out of the world, and the check is skipped.
void need(Trial& trial, const char* program) {
    if (trial.subject.world.list(program).empty()) throw Skipped{std::string("no ") + program + " in the world"};
}

void tell_exit(Trial& trial) {
    Running runtime(trial);
    need(trial, "runtime.exits");
    runtime.begin("c1", "runtime.exits");
    const Container ended = runtime.wait_exit("c1");
    expect(ended.exit_code == 7, "the exit code 7 of the program of runtime.exits", std::to_string(ended.exit_code));
    const auto told = [&] {
        return std::ranges::any_of(runtime.driver.exits, [](const auto& exit) { return exit.name == "c1"; });
    };
    expect(runtime.rig.host.run_until(told, 5s), "exited is reported", "nothing");
    expect(runtime.driver.exits.front().exit_code == 7, "exited with the code 7",
           std::to_string(runtime.driver.exits.front().exit_code));
}

void stop_with_grace(Trial& trial) {
    constexpr Duration kGrace = 500ms;
    Running runtime(trial);
    need(trial, "runtime.ignores_stop");
    runtime.begin("c1", "runtime.ignores_stop");
    // It must have come so far that it ignores the signal.
    runtime.rig.host.run_until([] { return false; }, 500ms);
    const Instant before = runtime.rig.host.now();
    runtime.must("stop of a container that ignores the signal", runtime.driver.stop("c1", kGrace));
    const Duration took = runtime.rig.host.now() - before;
    expect(took >= kGrace, "the grace of 500 ms is given", std::to_string(took.count() / 1'000'000) + " ms");
    runtime.expect_state("c1", ContainerState::kExited);
    expect(runtime.find("c1")->exit_code == 137, "exit code 137 after the grace",
           std::to_string(runtime.find("c1")->exit_code));
}

void name_errors(Trial& trial) {
    Running runtime(trial);
    const auto expect_code = [](const std::string& what, testing::Pending<void> pending, Code code, const char* name) {
        const auto answer = pending.wait(kPatience);
        expect(answer.code == code, std::string(name) + " for " + what,
               "status " + std::to_string(static_cast<int>(answer.code)) + " " + answer.text);
        expect(!answer.text.empty() && answer.text != "the slot refused", "a text with " + std::string(name), "none");
    };
    expect_code("start of an absent container", runtime.driver.start("none"), Code::kNotFound, "NOT_FOUND");
    ContainerSpec spec = runtime.spec("c1", "runtime.sleeps");
    spec.image = "sha256:" + std::string(64, '0');
    expect_code("create with an image that is not there", runtime.driver.create(spec), Code::kNotFound, "NOT_FOUND");
    spec = runtime.spec("c1", "runtime.sleeps");
    spec.mounts = {{"/nonexistent/source", "/mnt", false}};
    expect_code("create with a mount whose source is missing", runtime.driver.create(spec), Code::kInvalid, "INVALID");
    expect(runtime.list().empty(), "a failed create leaves nothing", "a container");
    runtime.begin("c1", "runtime.sleeps");
    expect_code("remove of a running container", runtime.driver.remove("c1"), Code::kConflict, "CONFLICT");
    runtime.expect_state("c1", ContainerState::kRunning);
}

void adopt(Trial& trial) {
    std::optional<Container> before;
    {
        Running runtime(trial);
        runtime.begin("c1", "runtime.sleeps");
        before = runtime.find("c1");
        runtime.leave();
    }
    Running runtime(trial);
    runtime.expect_state("c1", ContainerState::kRunning);
    const auto after = runtime.find("c1");
    expect(before && after && before->pid == after->pid, "the same process after a restart of the daemon", "another");
    runtime.must("kill of an adopted container", runtime.driver.kill("c1"));
    runtime.expect_state("c1", ContainerState::kExited);
}

}  // namespace

void add_runtime(std::vector<Check>& out) {
    const auto add = [&out](std::string_view name, std::string_view promise, std::string_view cure,
                            std::string_view need, void (*body)(Trial&)) {
        out.push_back({name, promise, cure, {need}, body, 120, "runtime"});
    };
    add("runtime.list", "list is the truth about every container, from create to remove.",
        "Look at the engine or at what you recorded, not at what you meant to do.", "operations.answered",
        &list_the_truth);
    add("runtime.idempotent", "create, start, stop, kill and remove may be repeated and change nothing then.",
        "Know containers by their name; succeed where the wanted state is there already.", "runtime.list", &repeat);
    add("runtime.exit", "The end of a container is reported, with its exit code.",
        "Wait for the first process and report exited from there; keep the code for list.", "runtime.list", &tell_exit);
    add("runtime.grace", "stop gives the grace, then kills, and ends when no process is left.",
        "Send the stop signal, set a timer for the grace, then SIGKILL; complete when the last process ended.",
        "runtime.list", &stop_with_grace);
    add("runtime.errors", "What cannot be done is refused with the right status, and leaves nothing behind.",
        "Check image, mounts and state before you make anything; undo what a failed create made.", "runtime.list",
        &name_errors);
    add("runtime.adoption", "Containers outlive the daemon and are found again.",
        "Record what you started in state_dir, with pid and start time, before you answer.", "runtime.list", &adopt);
}

}  // namespace gantry::check
