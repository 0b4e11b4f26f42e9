// SPDX-License-Identifier: Apache-2.0
//
// Containers that rest: their memory lies on disk instead, and no process of theirs is left.
//
// What is written is used only when the record says so, which is saved when all of it is there; until then the
// processes stand still, and after it they are killed. It is taken up once: before a container wakes, its folder gets
// the name of what is used up, so that no daemon after this one begins again from an instant that has passed. A boot
// ends what rests, like everything else that the node ran.
#include <sys/wait.h>

#include <algorithm>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;
using gantry::Operation;
using gantry::Status;

namespace {

constexpr auto kEndTime = std::chrono::seconds(15);  // for killed processes and their monitor

std::int64_t bytes_in(const fs::path& dir) {
    std::int64_t out = 0;
    std::error_code error;
    for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
        const auto bytes = it->file_size(error);
        out += error ? 0 : static_cast<std::int64_t>(bytes);
    }
    return std::max<std::int64_t>(out, 1);
}

std::string words_of(std::int64_t bytes) {
    const auto tenths = (bytes * 10 + (1 << 20) - 1) >> 20;
    return "checkpointed, " + std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MiB on disk";
}

void make_empty(const fs::path& dir) {
    std::error_code error;
    fs::remove_all(dir, error);
    if (error) file_failed("delete", dir, error.value());
    fs::create_directory(dir, error);
    if (error) file_failed("make", dir, error.value());
}

}  // namespace

Status MonitoredRuntime::may_change_place(const Shared& container, const std::string& name) const {
    if (const std::string why = backend_->no_checkpoints(); !why.empty()) return {Code::kUnsupported, why};
    if (!container || container->state == State::kBroken) return {Code::kNotFound, no_container(name)};
    if (!container->busy && (container->state != State::kRunning || !container->stops.empty()))
        return {Code::kConflict, "container \"" + name + "\" does not run"};
    return {};
}

void MonitoredRuntime::checkpoint_container(Operation<> op, std::string name) {
    const Shared container = find(name);
    if (const Status status = may_change_place(container, name); !status) return op.fail(status);
    if (container->busy) {
        container->waiting.push_back(
            [this, op = std::move(op), name]() mutable { checkpoint_container(std::move(op), std::move(name)); });
        return;
    }
    if (container->rests()) return op.done();
    if (container->paused) return op.fail(Code::kConflict, "container \"" + name + "\" is paused; let it go on before");
    if (std::ranges::any_of(execs_, [&](const SharedExec& exec) { return exec->record.name == name; }))
        return op.fail(Code::kConflict, "a command runs in container \"" + name +
                                            "\" (gantry exec, or a probe), which would not outlive that; try again");
    const gantry::Instant deadline = op.deadline() - kEndTime;
    const auto made = std::make_shared<Made>(container->record);
    container->paused = true;
    events().changed();  // who asks its programs shall know that they stand still
    job(
        container,
        [this, made, deadline] {
            const Home at = home(made->record.name);
            make_empty(at.checkpoint_new());
            try {
                backend_->checkpoint(at, made->record, at.checkpoint_new(), deadline);
                made->record.checkpoint_bytes = bytes_in(at.checkpoint_new());
                fs::rename(at.checkpoint_new(), at.checkpoint());
                save(made->record, at.dir);
            } catch (const std::exception&) {
                std::error_code ignored;
                fs::remove_all(at.checkpoint_new(), ignored);
                fs::remove_all(at.checkpoint(), ignored);
                if (made->record.checkpoint_bytes > 0) backend_->pause(made->record, false, now() + kEndTime);
                throw;
            }
        },
        [this, container, made, op = std::move(op)](const Status& status) mutable {
            if (container->state != State::kRunning) {  // somebody killed it meanwhile
                std::error_code ignored;
                fs::rename(home(made->record.name).checkpoint(), home(made->record.name).checkpoint_used(), ignored);
                return op.fail(Code::kConflict, "container \"" + made->record.name + "\" ended meanwhile");
            }
            if (status) {
                container->record = made->record;
                return let_rest(container, [op = std::move(op)](const Status& ended) mutable {
                    ended ? op.done() : op.fail(ended);
                });
            }
            container->paused = false;
            if (status.code() == Code::kDeadline) kill_now(container);  // who knows what its processes would do
            check_exit(container);
            events().changed();
            op.fail(status);
        });
}

// The memory is on disk: the processes go. What of them is left when this fails is gone before the container wakes.
void MonitoredRuntime::let_rest(const Shared& container, Done then) {
    unwatch(*container);
    container->paused = true;
    container->detail = words_of(container->record.checkpoint_bytes);
    end_processes(container, now() + kEndTime, [this, container, then = std::move(then)](const Status& ended) mutable {
        if (!ended) return then(ended);
        job(
            container, [this, record = container->record] { clear_away(home(record.name), record); }, std::move(then));
    });
}

// In the pool. The monitor has told an end that is none.
void MonitoredRuntime::clear_away(const Home& at, const Record& record) {
    backend_->rest(at, record, now() + kEndTime);
    if (record.monitor) (void)::waitpid(record.monitor.pid, nullptr, WNOHANG);
    std::error_code error;
    fs::remove(at.exits / record.name, error);
    if (error) file_failed("delete", at.exits / record.name, error.value());
}

void MonitoredRuntime::restore_container(Operation<> op, std::string name) {
    const Shared container = find(name);
    if (const Status status = may_change_place(container, name); !status) return op.fail(status);
    if (container->busy) {
        container->waiting.push_back(
            [this, op = std::move(op), name]() mutable { restore_container(std::move(op), std::move(name)); });
        return;
    }
    if (!container->rests()) return op.fail(Code::kConflict, "container \"" + name + "\" is not checkpointed: it runs");
    const gantry::Instant deadline = op.deadline() - kEndTime;
    end_processes(container, deadline, [this, container, deadline, op = std::move(op)](const Status& ended) mutable {
        if (!ended) return op.fail(ended);
        const auto made = std::make_shared<Made>(container->record);
        job(
            container, [this, made, deadline] { wake(*made, deadline); },
            [this, container, made, op = std::move(op)](const Status& status) mutable {
                if (!status) return not_woken(container, status, std::move(op));
                container->paused = container->process_ended = false;
                container->detail.clear();
                take(container, *made);
                check_exit(container);
                events().changed();
                op.done();
            });
    });
}

// In the pool.
void MonitoredRuntime::wake(Made& made, gantry::Instant deadline) {
    const Home at = home(made.record.name);
    clear_away(at, made.record);
    std::error_code error;
    fs::remove_all(at.checkpoint_used(), error);
    fs::rename(at.checkpoint(), at.checkpoint_used(), error);
    if (error) file_failed("rename", at.checkpoint(), error.value());
    backend_->restore(at, made.record, at.checkpoint_used(), deadline);
    made.record.checkpoint_bytes = 0;
    try {
        made.open();
    } catch (const std::exception& trouble) {  // what cannot be watched must not run
        throw Failure(Code::kDeadline, trouble.what());
    }
    try {
        save(made.record, at.dir);
    } catch (const std::exception& trouble) {
        host().warn("container \"" + made.record.name +
                    "\" goes on, but that cannot be noted, and a daemon after this one will end it: " + trouble.what());
    }
    fs::remove_all(at.checkpoint_used(), error);
}

// It rests on, unless it may have gone on for a moment: then nothing goes back to before that.
void MonitoredRuntime::not_woken(const Shared& container, const Status& status, Operation<> op) {
    end_processes(container, now() + kEndTime, [this, container, status, op = std::move(op)](const Status&) mutable {
        const Home at = home(container->record.name);
        std::error_code error;
        if (status.code() != Code::kDeadline && !fs::exists(at.checkpoint(), error))
            fs::rename(at.checkpoint_used(), at.checkpoint(), error);
        if (!fs::exists(at.checkpoint(), error)) end_unstarted(container);
        op.fail(status);
    });
}

// What an earlier daemon left resting. False: it does not rest, or not any more.
bool MonitoredRuntime::adopt_resting(const Shared& container) {
    if (!container->rests()) return false;
    std::error_code error;
    const Record& record = container->record;
    if (record.process.boot == current_boot() && fs::exists(home(record.name).checkpoint(), error)) {
        let_rest(container, [this, name = record.name](const Status& ended) {
            if (!ended) host().warn("container \"" + name + "\" is checkpointed and does not end: " + ended.text());
        });
        return true;
    }
    // It ended there, or that daemon died while it woke: what of it may run is killed when it is removed.
    container->record.checkpoint_bytes = 0;
    container->paused = false;
    return false;
}

// An earlier daemon died while it wrote a checkpoint: the processes stand still, perhaps in the hands of who wrote it.
// What was used up only takes room.
void MonitoredRuntime::drop_unfinished(const Shared& container) {
    const Home at = home(container->record.name);
    std::error_code error;
    if (container->state != State::kRunning) return;
    if (fs::exists(at.checkpoint_new(), error) || fs::exists(at.checkpoint(), error)) {
        host().warn("container \"" + container->record.name +
                    "\" is ended: gantryd went while its checkpoint was written");
        kill_now(container);
    } else if (fs::exists(at.checkpoint_used(), error)) {
        const auto remove = [dir = at.checkpoint_used()] {
            std::error_code ignored;
            fs::remove_all(dir, ignored);
        };
        job(container, remove, [this, container](const Status&) { check_exit(container); });
    }
}

// Stopped or killed while it rests.
void MonitoredRuntime::end_resting(const Shared& container, Operation<> op) {
    container->stops.push_back(std::move(op));
    end_processes(container, now() + kEndTime, [this, container](const Status& ended) {
        if (ended) return end_unstarted(container);
        for (Operation<>& stop : std::exchange(container->stops, {})) stop.fail(ended);
    });
}

}  // namespace monitored
