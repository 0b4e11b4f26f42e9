// SPDX-License-Identifier: Apache-2.0
//
// faults: host services that fail at random.
#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

constexpr int kLives = 40;

// One life in which every n-th call into the host is refused; what it says does not matter, that it lives on does.
void faulty_life(Trial& trial, std::uint64_t seed, unsigned one_in, std::uint64_t& refused) {
    testing::Options options;
    options.seed = seed;
    options.workers = 0;  // jobs run in turns: the same seed, the same order
    Rig rig(trial, options);
    rig.recorder.refuse(seed, one_in);
    try {
        Used used(rig);
        used.exercise->use();
        used.exercise->settle(50ms);
        used.end();
    } catch (const Failure&) {
        // Its right: init or start may fail where the host does.
    }
    refused += rig.recorder.refused();
    rig.recorder.deaf = true;
}

void survive(Trial& trial) {
    std::uint64_t refused = 0;
    for (int life = 0; life < kLives; ++life) {
        const std::uint64_t seed = trial.random();
        faulty_life(trial, seed, 1 + static_cast<unsigned>(seed % 8), refused);
    }
    trial.remark(std::to_string(refused) + " calls refused in " + std::to_string(kLives) + " lives");
    Rig rig(trial);
    Used used(rig);
    used.use();
    for (const Ongoing& operation : used.exercise->ongoing()) {
        expect(operation.ended() && operation.answer().first != Code::kUnknown,
               "a host that works again finds a plugin that does", operation.slot + " is not answered");
    }
    used.end();
}

}  // namespace

void add_faults(std::vector<Check>& out) {
    out.push_back({"faults.host",
                   "The plugin survives host services that fail at random.",
                   "Look at the status of every call into the host: a timer or watch may not have been made. "
                   "--reproduce SEED makes the same calls fail.",
                   {"operations.cancel", "lifecycle.again", "lifecycle.failed-start"},
                   &survive,
                   120});
}

}  // namespace gantry::check
