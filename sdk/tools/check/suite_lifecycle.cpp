// SPDX-License-Identifier: Apache-2.0
//
// lifecycle: create -> init -> start -> stop -> destroy, in every order that a host may take.
#include <gantry/abi/directory.h>
#include <gantry/abi/discovery.h>
#include <gantry/abi/frontend.h>
#include <gantry/abi/placement.h>
#include <gantry/abi/probe.h>
#include <gantry/abi/runtime.h>
#include <gantry/abi/store.h>
#include <gantry/abi/transport.h>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

// A host without any service, as far as create is concerned.
const gantry_host kBareHost{sizeof(gantry_host), 0, 1,
                            [](std::uint64_t, gantry_str) noexcept -> const void* { return nullptr; }};

// What a role's table must be: at least as long as the border said when the role was frozen (a draft: as today), with
// the slots without which it is of no use.
struct Shape {
    std::size_t least;
    bool useful;
};

using Look = Shape (*)(const void*);

template <class Table>
const Table& as(const void* raw) {
    return *static_cast<const Table*>(raw);
}

Shape placement(const void* raw) {
    const auto& t = as<gantry_placement>(raw);
    return {80, GANTRY_HAS(&t, score)};
}
Shape probe(const void* raw) {
    const auto& t = as<gantry_probe>(raw);
    return {16, GANTRY_HAS(&t, check)};
}
Shape runtime(const void* raw) {
    const auto& t = as<gantry_runtime>(raw);
    return {136, GANTRY_HAS(&t, create) && GANTRY_HAS(&t, start) && GANTRY_HAS(&t, stop) && GANTRY_HAS(&t, kill) &&
                     GANTRY_HAS(&t, remove) && GANTRY_HAS(&t, list)};
}
Shape transport(const void* raw) {
    const auto& t = as<gantry_transport>(raw);
    return {64, GANTRY_HAS(&t, bind) && GANTRY_HAS(&t, listen) && GANTRY_HAS(&t, dial) && GANTRY_HAS(&t, send) &&
                    GANTRY_HAS(&t, close)};
}
Shape discovery(const void* raw) {
    const auto& t = as<gantry_discovery>(raw);
    return {sizeof(t), GANTRY_HAS(&t, start)};
}
Shape directory(const void* raw) {
    const auto& t = as<gantry_directory>(raw);
    return {sizeof(t), GANTRY_HAS(&t, replace)};
}
Shape store(const void* raw) {
    const auto& t = as<gantry_store>(raw);
    return {sizeof(t), GANTRY_HAS(&t, load) && GANTRY_HAS(&t, commit)};
}
Shape frontend(const void* raw) {
    const auto& t = as<gantry_frontend>(raw);
    return {sizeof(t), GANTRY_HAS(&t, address)};
}

Shape shape_of(const std::string& role, const void* table) {
    static const std::map<std::string, Look> looks{
        {"placement", &placement}, {"probe", &probe},         {"runtime", &runtime}, {"transport", &transport},
        {"discovery", &discovery}, {"directory", &directory}, {"store", &store},     {"frontend", &frontend}};
    return looks.at(role)(table);
}

void create(Trial& trial) {
    const gantry_entry& entry = load_entry(trial.subject);
    gantry_plugin plugin{};
    plugin.struct_size = sizeof(plugin);
    char buffer[512];
    gantry_error error{sizeof(error), sizeof(buffer), buffer, 0, 0};
    const gantry_status status = entry.create(&kBareHost, &plugin, &error);
    expect(status == GANTRY_OK, "create succeeds",
           "status " + std::to_string(status) + ": " + std::string(buffer, std::min<std::size_t>(error.text_len, 512)));
    expect(plugin.struct_size >= 56, "an instance's table of at least 56 bytes",
           std::to_string(plugin.struct_size) + " bytes");
    for (const auto& [name, there] : {std::pair{"init", plugin.init != nullptr},
                                      {"start", plugin.start != nullptr},
                                      {"stop", plugin.stop != nullptr},
                                      {"destroy", plugin.destroy != nullptr},
                                      {"query", plugin.query != nullptr}}) {
        expect(there, std::string("a function ") + name + " in the instance's table", "NULL");
    }
    expect(plugin.query(plugin.self, str("gantry.role.unheard-of/9")) == nullptr, "NULL for a role that does not exist",
           "a table");
    const void* const table = plugin.query(plugin.self, str(trial.subject.interface));
    expect(table != nullptr, "a table for " + trial.subject.interface, "NULL");
    const std::uint32_t size = *static_cast<const std::uint32_t*>(table);
    const Shape shape = shape_of(trial.subject.role, table);
    expect(size >= shape.least, "a role's table of at least " + std::to_string(shape.least) + " bytes (struct_size)",
           std::to_string(size) + " bytes");
    expect(shape.useful, "the slots that make the role", "one of them is NULL");
    plugin.destroy(plugin.self);
}

void run(Trial& trial) {
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    instance.stop();
    rig.recorder.deaf = true;
    instance.destroy();
}

void use(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.use();
    used.end();
}

void again(Trial& trial) {
    for (int i = 0; i < 3; ++i) use(trial);
}

std::vector<std::string> answered(Exercise& exercise) {
    std::vector<std::string> out;
    for (const Ongoing& operation : exercise.ongoing()) {
        if (operation.ended() && operation.answer().first != Code::kUnknown) out.push_back(operation.slot);
    }
    exercise.ongoing().clear();
    return out;
}

void beside(Trial& trial) {
    Rig rig(trial);
    Used first(rig);
    first.use();
    const std::vector<std::string> before = answered(*first.exercise);
    try {
        // The same address or socket may be taken; then it says so, and that is an answer.
        Used second(rig);
        second.use();
        second.end();
    } catch (const Failure& refused) {
        expect(!std::string_view(refused.what()).empty(), "a sentence from an instance that is refused", "no text");
    }
    first.use();
    const std::vector<std::string> after = answered(*first.exercise);
    expect(after == before, "the first instance answers as before after a second one came and went: " + listed(before),
           listed(after));
    first.end();
}

void fail_where_the_host_does(Trial& trial) {
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    const auto exercise = Exercise::of(rig, instance);
    rig.recorder.refuse(trial.seed(), 1);
    try {
        instance.start();
        trial.remark("start needed nothing of the host");
    } catch (const Failure& refused) {
        trial.remark(std::string("start said: ") + refused.what());
    }
    rig.recorder.refuse(trial.seed(), 0);
    instance.stop();
    rig.recorder.deaf = true;
    instance.destroy();
}

void fail_to_start(Trial& trial) {
    if (!trial.isolated()) fail_where_the_host_does(trial);  // else its host is in its own process, and refuses nothing
    Rig second(trial);
    testing::Instance& unstarted = second.make();
    unstarted.stop();
    second.recorder.deaf = true;
    unstarted.destroy();
}

void stop_busy(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.exercise->use();
    used.instance.stop(2s);
    rig.host.turn();
    for (const Ongoing& operation : used.exercise->ongoing()) {
        expect(operation.ended(), "every operation under way has ended once stop returned", operation.slot);
    }
    rig.recorder.deaf = true;
    used.instance.destroy();
}

void fall_silent(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.use();
    used.end();
    rig.host.run_until([&] { return !rig.recorder.late_calls().empty(); }, 200ms);
    const std::vector<std::string> late = rig.recorder.late_calls();
    expect(late.empty(), "no call into the host after stop returned", listed(late));
}

}  // namespace

void add_lifecycle(std::vector<Check>& out) {
    out.push_back({"lifecycle.create",
                   "create makes whole tables, and destroy may follow at once.",
                   "Fill every slot, set struct_size to sizeof of your headers' struct; ask the host for nothing that "
                   "create cannot do without.",
                   {"load.entry"},
                   &create});
    out.push_back({"lifecycle.run",
                   "An instance is made, started, stopped and destroyed.",
                   "The text comes from the plugin. If it needs a file or an address, give them with --config.",
                   {"lifecycle.create"},
                   &run});
    out.push_back({"lifecycle.use",
                   "Every slot of the role can be called; nothing is thrown out of one.",
                   "Catch everything in a slot (the C++ layer does) and answer with a status.",
                   {"lifecycle.run"},
                   &use});
    out.push_back({"lifecycle.late-calls",
                   "After stop returned the plugin does not call its host.",
                   "Join every thread in stop() before it returns; end what they wait for first.",
                   {"lifecycle.use"},
                   &fall_silent});
    out.push_back({"lifecycle.again",
                   "One process can have instances one after the other.",
                   "Keep nothing in globals: what an instance needs belongs into the instance.",
                   {"lifecycle.use"},
                   &again});
    out.push_back({"lifecycle.beside",
                   "Two instances in one process do not disturb each other.",
                   "Keep nothing in globals; refuse in init or start, with a sentence, what only one can have.",
                   {"lifecycle.again"},
                   &beside});
    out.push_back({"lifecycle.failed-start",
                   "stop and destroy work after a start that failed, and without any start.",
                   "Let stop() undo only what start() did; a thread that was never made is not joined.",
                   {"lifecycle.use"},
                   &fail_to_start});
    out.push_back({"lifecycle.stop",
                   "stop returns before its deadline with operations under way.",
                   "Wake and join your threads in stop(); wait for no callback there: the loop stands.",
                   {"lifecycle.use"},
                   &stop_busy});
}

}  // namespace gantry::check
