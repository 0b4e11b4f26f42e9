// SPDX-License-Identifier: Apache-2.0
//
// Further processes in a container. One is begun by a job, watched on the loop, and ended by a job: with everything it
// made, which its mark tells from the container's own.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

using gantry::Code;
using gantry::Operation;
using gantry::Status;

namespace {

constexpr auto kLook = std::chrono::milliseconds(50);  // whether anybody still waits

bool hung_up(const gantry::Fd& fd) {
    pollfd item{fd.get(), 0, 0};
    return ::poll(&item, 1, 0) == 1 && (item.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

void MonitoredRuntime::exec(Operation<gantry::ExecResult> op, gantry::ExecRequest request) {
    const Shared container = find(request.name);
    if (!container || container->state == State::kBroken) return op.fail(Code::kNotFound, no_container(request.name));
    if (container->state != State::kRunning)
        return op.fail(Code::kConflict, "container \"" + request.name + "\" does not run");
    if (request.args.empty() || request.args.front().empty())
        return op.fail(Code::kInvalid, "exec: no program is named");
    if (request.terminal) return op.fail(Code::kUnsupported, "this runtime offers no terminals");
    const auto exec = std::make_shared<Exec>();
    exec->op = std::move(op);
    exec->request = std::move(request);
    exec->record = container->record;
    exec->mark = exec->record.name + "." + std::to_string(::getpid()) + "." + std::to_string(++last_exec_);
    const Status taken = in_pool([this, exec] {
        Status status;
        try {
            Command command = backend_->exec(home(exec->record.name), exec->record, exec->request.args, exec->mark);
            const int fd = exec->request.fd.get();
            command.fds = {{0, fd}, {1, fd}, {2, fd}};
            exec->child = spawn(command);
        } catch (const gantry::Failure& failure) {
            status = failure.status();
        }
        if (!status) {
            exec->request.fd.reset();
            return exec->op.fail(status);
        }
        if (host().post([this, exec] { watch_exec(exec); })) return;
        (void)::kill(exec->child.pid, SIGKILL);
        (void)reap(exec->child);
        backend_->end_exec(exec->record, exec->mark);
    });
    if (!taken) exec->op.fail(taken.code(), "too much work waits on this node: " + std::string(taken.text()));
}

void MonitoredRuntime::watch_exec(const SharedExec& exec) {
    execs_.insert(exec);
    exec->end_watch =
        host().watch(exec->child.process.get(), gantry::kReadable, [this, exec](std::uint32_t) { exec_ended(exec); });
    exec->look = host().timer(
        kLook, [this, exec] { look_at_exec(exec); }, kLook);
}

// Nobody waits any more, or reads: then it ends by force, and exec_ended sees that. An engine that waits for what a
// process left behind is waited for no longer than that.
void MonitoredRuntime::look_at_exec(const SharedExec& exec) {
    if (!exec->over && backend_->exec_over(home(exec->record.name), exec->mark))
        exec->over = static_cast<bool>(in_pool([this, exec] { backend_->end_exec(exec->record, exec->mark); }));
    if (exec->ending || (!exec->op.cancelled() && !hung_up(exec->request.fd))) return;
    exec->ending = static_cast<bool>(in_pool([this, exec] {
        backend_->end_exec(exec->record, exec->mark);
        (void)::kill(exec->child.pid, SIGKILL);
        backend_->end_exec(exec->record, exec->mark);
    }));
}

void MonitoredRuntime::exec_ended(const SharedExec& exec) {
    if (execs_.erase(exec) == 0) return;
    host().unwatch(exec->end_watch);
    host().cancel(exec->look);
    const int code = reap(exec->child);
    const auto answer = [this, exec, code] {
        const auto failure = backend_->exec_failure(home(exec->record.name), exec->mark, code);
        backend_->end_exec(exec->record, exec->mark);
        exec->request.fd.reset();
        if (failure)
            exec->op.fail(*failure);
        else
            exec->op.done({code});
    };
    if (!in_pool(answer)) answer();
}

// The runtime stops: nobody will wait for them.
void MonitoredRuntime::end_execs() {
    for (const SharedExec& exec : std::exchange(execs_, {})) {
        host().unwatch(exec->end_watch);
        host().cancel(exec->look);
        backend_->end_exec(exec->record, exec->mark);
        (void)::kill(exec->child.pid, SIGKILL);
        (void)reap(exec->child);
        backend_->end_exec(exec->record, exec->mark);
        exec->op.fail(Code::kCancelled, "the runtime is stopping");
    }
}

}  // namespace monitored
