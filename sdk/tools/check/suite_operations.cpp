// SPDX-License-Identifier: Apache-2.0
//
// operations: how they end.
#include <algorithm>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> unanswered(Exercise& exercise) {
    std::vector<std::string> out;
    for (const Ongoing& operation : exercise.ongoing()) {
        if (!operation.ended() || operation.answer().first == Code::kUnknown) out.push_back(operation.slot);
    }
    return out;
}

void need_operations(Exercise& exercise) {
    if (exercise.ongoing().empty()) throw Skipped{"the role has no operations", false};
}

void answer(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.use();
    need_operations(*used.exercise);
    const std::vector<std::string> open = unanswered(*used.exercise);
    expect(open.empty(), "an answer to every operation before its deadline of 30 s", "none to " + listed(open));
    used.end();
}

void answer_once(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.use();
    need_operations(*used.exercise);
    const std::size_t asked = used.exercise->ongoing().size();
    // Second answers come late: from a timer, from a thread.
    rig.host.run_until([&] { return !rig.recorder.completed_again().empty(); }, 100ms);
    rig.host.advance(1min);
    used.end();
    const auto again = rig.recorder.completed_again().size();
    expect(again == 0, "one completion for each operation",
           std::to_string(again) + " of " + std::to_string(asked) + " were completed more than once");
}

void give_up(Trial& trial) {
    Rig rig(trial);
    Used used(rig);
    used.exercise->use();
    need_operations(*used.exercise);
    for (Ongoing& operation : used.exercise->ongoing()) operation.cancel();
    expect(used.exercise->settle(), "every cancelled operation ends", "one does not");
    // Nobody waits for these from the beginning.
    used.exercise->ongoing().clear();
    used.instance.limit = Duration::zero();
    used.exercise->use();
    used.exercise->settle();
    used.exercise->ongoing().clear();
    used.instance.limit = 30s;
    used.use();
    const std::vector<std::string> open = unanswered(*used.exercise);
    expect(open.empty(), "operations are answered as before after others were cancelled or came too late",
           "no answer to " + listed(open));
    used.end();
}

}  // namespace

void add_operations(std::vector<Check>& out) {
    out.push_back({"operations.answered",
                   "Every accepted operation is answered before its deadline.",
                   "Answer on every path, also of errors; keep a timer for what depends on somebody else.",
                   {"lifecycle.use"},
                   &answer,
                   30});
    out.push_back({"operations.once",
                   "An operation is completed once, never again.",
                   "Forget the operation where you complete it; in C++ Operation sees to it.",
                   {"lifecycle.use"},
                   &answer_once});
    out.push_back({"operations.cancel",
                   "Operations that are cancelled or too late harm no other.",
                   "Treat cancelled() as a wish: stop early or finish, but free what the operation held.",
                   {"operations.answered"},
                   &give_up,
                   30});
}

}  // namespace gantry::check
