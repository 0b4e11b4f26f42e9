// SPDX-License-Identifier: Apache-2.0
//
// remains: what an instance leaves behind; and threads: for how long its slots hold the loop.
#include <algorithm>

#include "sdk/tools/check/exercise.hpp"
#include "sdk/tools/check/interposed.hpp"
#include "sdk/tools/check/puppet.hpp"
#include "sdk/tools/check/remains.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

void one_life(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.use();
    used.end();
}

void leave_no_thread(Trial& trial) {
    one_life(trial);  // what a library starts once for the process stays
    Rig rig(trial);
    const std::size_t before = thread_count();
    Used used(rig);
    used.use();
    used.end();
    expect(soon([&] { return thread_count() <= before; }), std::to_string(before) + " threads, as before create",
           std::to_string(thread_count()) + " after destroy");
}

void leave_no_descriptor(Trial& trial) {
    one_life(trial);
    Rig rig(trial);
    const std::set<std::string> before = open_descriptors();
    Used used(rig);
    used.use();
    used.end();
    rig.host.turn();
    rig.host.drop_kept();
    drop_puppet_sockets();
    expect(soon([&] { return open_descriptors() == before; }), "the descriptors that were open before create",
           "besides: " + new_descriptors(before, open_descriptors()));
}

// A leak grows with every life; what libraries make for the process does not.
void leave_no_memory(Trial& trial) {
    constexpr std::size_t kLives = 10, kRounds = 12;  // OpenSSL's pools take a hundred lives to be full
    constexpr std::size_t kEach = 16;                 // bytes: the smallest block that malloc gives
    const auto grown = [&] {
        const std::size_t before = bytes_allocated();
        for (std::size_t i = 0; i < kLives; ++i) one_life(trial);
        const std::size_t after = bytes_allocated();
        return after > before ? (after - before) / kLives : 0;
    };
    one_life(trial);
    std::string each;
    for (std::size_t round = 0; round < kRounds; ++round) {
        const std::size_t left = grown();
        each += (each.empty() ? "" : ", ") + std::to_string(left);
        if (left < kEach) return trial.remark(std::to_string(left) + " bytes left by each life");
    }
    throw Failed{"as much memory in use after 10 lives as before, at least once in 12 rounds",
                 each + " bytes more for each life"};
}

// A busy machine takes the processor away from a slot, and a cold one reads it from disk: what counts is time that
// the thread ran or slept, in the best of three lives.
void hold_the_loop_briefly(Trial& trial) {
    constexpr Duration kLimit = 5ms, kLogged = 50ms;
    constexpr int kLives = 3;
    std::map<std::string, Duration> best, worst;
    for (int life = 0; life < kLives; ++life) {
        Rig rig(trial);
        Used used(rig);
        used.use();
        used.end();
        for (const auto& [slot, held] : rig.recorder.held()) {
            best[slot] = life == 0 ? held : std::min(best[slot], held);
            worst[slot] = std::max(worst[slot], held);
        }
    }
    const auto micros = [](Duration held) {
        return std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(held).count()) + " us";
    };
    std::string longest;
    for (const auto& [slot, held] : best) {
        if (longest.empty() || held > best[longest]) longest = slot;
    }
    if (!longest.empty()) trial.remark("longest: " + longest + ", " + micros(best[longest]));
    expect(longest.empty() || best[longest] <= kLimit, "every [loop] slot returns within 5 ms",
           longest + " held the loop for " + micros(best[longest]));
    for (const auto& [slot, held] : worst) {
        if (held > kLogged)
            trial.warn("no call above 50 ms, which the kernel logs", slot + " once took " + micros(held));
    }
}

}  // namespace

void add_remains(std::vector<Check>& out) {
    out.push_back({"remains.threads",
                   "An instance leaves no thread behind.",
                   "Join every thread in stop(); never detach one.",
                   {"lifecycle.late-calls", "lifecycle.again", "operations.answered"},
                   &leave_no_thread});
    out.push_back({"remains.descriptors",
                   "An instance leaves no descriptor open.",
                   "Close what you open in stop() or the destructor (gantry::Fd does); unwatch before you close.",
                   {"remains.threads"},
                   &leave_no_descriptor});
    out.push_back({"remains.memory",
                   "An instance leaves no memory behind.",
                   "Free in destroy what create, init and start allocated; valgrind or -fsanitize=leak name the place.",
                   {"remains.descriptors"},
                   &leave_no_memory,
                   60});
    out.push_back(
        {"threads.loop",
         "Slots that are called on the loop return within 5 ms.",
         "Give what takes longer to host().work() or a thread of your own; never sleep, connect or read files "
         "of unknown size on the loop.",
         {"lifecycle.again", "operations.answered"},
         &hold_the_loop_briefly,
         60});
}

}  // namespace gantry::check
