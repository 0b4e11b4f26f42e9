// SPDX-License-Identifier: Apache-2.0
//
// Further processes in a container. One is begun by a job, watched on the loop, and ended by a job: with everything it
// made, which its mark tells from the container's own.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Fd;
using gantry::Operation;
using gantry::Status;

namespace {

constexpr auto kLook = std::chrono::milliseconds(50);  // whether anybody still waits
constexpr auto kForce = std::chrono::seconds(2);       // for the engine to see the end of what it runs

constexpr std::string_view kFile = "exec-";
constexpr const char* kBeside[] = {".pid", ".json"};  // what a backend may put beside it

fs::path file_of(const Home& home, const std::string& mark) { return home.dir / (std::string(kFile) + mark); }

bool hung_up(const Fd& fd) {
    pollfd item{fd.get(), 0, 0};
    return ::poll(&item, 1, 0) == 1 && (item.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

void MonitoredRuntime::exec(Operation<gantry::ExecResult> op, gantry::ExecRequest request) {
    const Shared container = find(request.name);
    if (!container || container->state == State::kBroken) return op.fail(Code::kNotFound, no_container(request.name));
    if (container->state != State::kRunning)
        return op.fail(Code::kConflict, "container \"" + request.name + "\" does not run");
    if (container->paused)
        return op.fail(Code::kConflict,
                       "container \"" + request.name + "\" is " + (container->rests() ? "checkpointed" : "paused"));
    if (request.args.empty() || request.args.front().empty())
        return op.fail(Code::kInvalid, "exec: no program is named");
    if (request.terminal && ::isatty(request.fd.get()) == 0)
        return op.fail(Code::kInvalid, "exec: a terminal is asked for, and the descriptor is none");
    const auto exec = std::make_shared<Exec>();
    exec->op = std::move(op);
    exec->request = std::move(request);
    exec->record = container->record;
    exec->mark = exec->record.name + "." + std::to_string(::getpid()) + "." + std::to_string(++last_exec_);
    const Status taken = in_pool([this, exec] {
        Status status;
        try {
            // A daemon that dies meanwhile leaves this file, and the next one knows what to end.
            if (!Fd(::open(file_of(home(exec->record.name), exec->mark).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)))
                file_failed("make", file_of(home(exec->record.name), exec->mark), errno);
            Command command = backend_->exec(home(exec->record.name), exec->record, exec->request.args, exec->mark,
                                             exec->request.terminal);
            command.terminal = exec->request.terminal;
            const int fd = exec->request.fd.get();
            command.fds = {{0, fd}, {1, fd}, {2, fd}};
            exec->child = spawn(command);
        } catch (const gantry::Failure& failure) {
            status = failure.status();
        }
        if (!status) {
            forget_exec(exec->record.name, exec->mark);
            exec->request.fd.reset();
            return exec->op.fail(status);
        }
        if (host().post([this, exec] { watch_exec(exec); })) return;
        end_by_force(*exec);
        (void)reap(exec->child);
        forget_exec(exec->record.name, exec->mark);
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

// Nobody waits any more, or reads, or the container ended: then it ends by force, and exec_ended sees that. An engine
// that waits for what a process left behind is waited for no longer than that.
void MonitoredRuntime::look_at_exec(const SharedExec& exec) {
    if (!exec->over && backend_->exec_over(home(exec->record.name), exec->mark))
        exec->over = static_cast<bool>(in_pool([this, exec] { backend_->end_exec(exec->record, exec->mark); }));
    if (exec->request.terminal && !exec->ending)
        backend_->pass_size(home(exec->record.name), exec->mark, exec->request.fd.get());
    const Shared container = find(exec->record.name);
    const bool runs = container && container->state == State::kRunning;
    if (exec->ending || (runs && !exec->op.cancelled() && !hung_up(exec->request.fd))) return;
    exec->ending = static_cast<bool>(in_pool([this, exec] { end_by_force(*exec); }));
}

// The engine's command is the parent of what it runs and has to see its end: killed before that it would leave a dead
// process behind, for which the container's own end would wait. One that is only about to begin has no mark yet.
void MonitoredRuntime::end_by_force(const Exec& exec) {
    const gantry::Instant last = now() + kForce;
    do {
        backend_->end_exec(exec.record, exec.mark);
    } while (!wait_end(exec.child.process, now() + kLook) && now() < last);
    (void)::syscall(SYS_pidfd_send_signal, exec.child.process.get(), SIGKILL, nullptr, 0);
    backend_->end_exec(exec.record, exec.mark);
}

void MonitoredRuntime::exec_ended(const SharedExec& exec) {
    if (execs_.erase(exec) == 0) return;
    host().unwatch(exec->end_watch);
    host().cancel(exec->look);
    const int code = reap(exec->child);
    const auto answer = [this, exec, code] {
        const auto failure = backend_->exec_failure(home(exec->record.name), exec->mark, code);
        backend_->end_exec(exec->record, exec->mark);
        forget_exec(exec->record.name, exec->mark);
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
        end_by_force(*exec);
        (void)reap(exec->child);
        forget_exec(exec->record.name, exec->mark);
        exec->op.fail(Code::kCancelled, "the runtime is stopping");
    }
}

void MonitoredRuntime::forget_exec(const std::string& name, const std::string& mark) {
    std::error_code ignored;
    fs::remove(file_of(home(name), mark), ignored);
    for (const char* suffix : kBeside) fs::remove(file_of(home(name), mark).string() + suffix, ignored);
}

// What ran when an earlier daemon died: nobody waits for it.
void MonitoredRuntime::end_left_execs(const Record& record) {
    std::vector<std::string> marks;
    std::error_code error;
    for (fs::directory_iterator it(home(record.name).dir, error), end; !error && it != end; it.increment(error)) {
        const std::string file = it->path().filename().string();
        const bool beside = std::ranges::any_of(kBeside, [&](const char* suffix) { return file.ends_with(suffix); });
        if (file.starts_with(kFile) && !beside) marks.push_back(file.substr(kFile.size()));
    }
    if (marks.empty()) return;
    const Status taken = in_pool([this, record, marks] {
        for (const std::string& mark : marks) {
            backend_->end_exec(record, mark);
            forget_exec(record.name, mark);
        }
    });
    if (!taken) host().warn("processes that were run in " + record.name + " are left: " + std::string(taken.text()));
}

}  // namespace monitored
