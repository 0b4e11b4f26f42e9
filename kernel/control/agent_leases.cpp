// SPDX-License-Identifier: Apache-2.0
//
// AgentLoop and the guard: which cgroup a container is in, and what of that the guard is told.
#include <algorithm>

#include "kernel/control/agent_loop.hpp"
#include "kernel/control/cgroup_of.hpp"

namespace gantry::control {

void AgentLoop::start_guard() {
    const auto guarded = [](const core::RuntimeHello& runtime) { return runtime.guarded; };
    if (std::ranges::none_of(facts_.runtimes, guarded)) return;
    guard_.emplace(LeaseGuard::Parts{parts_.io, parts_.guard, parts_.state_dir, parts_.log,
                                     [this](core::GuardState state) { turn(state); }});
    guard_->start();
}

// A container that is created has its first process, which waits, in its cgroup.
void AgentLoop::arm(const core::Arm& effect) {
    const auto answer = [this, id = effect.id](Result<void> result) { turn(core::Armed{id, std::move(result)}); };
    auto* runtime = parts_.host.runtime(effect.runtime);
    if (!guard_ || !runtime) return answer(fail(Code::kUnavailable, "runtime " + effect.runtime + " is not running"));
    if (auto folder = guard_->folder_of(effect.name); !folder.empty())
        return guard_->arm(effect.name, folder, effect.until, answer);
    runtime->list(kListLimit, [this, effect, answer](Result<std::vector<host::Container>> list) {
        if (!list) return answer(std::unexpected(list.error()));
        const auto at = std::ranges::find(*list, effect.name, &host::Container::name);
        if (at == list->end() || at->pid <= 0)
            return answer(fail(Code::kNotFound, "the container " + effect.name + " has no process"));
        const auto folder = cgroup_of(static_cast<pid_t>(at->pid));
        if (!folder) return answer(std::unexpected(folder.error()));
        guard_->arm(effect.name, *folder, effect.until, answer);
    });
}

}  // namespace gantry::control
