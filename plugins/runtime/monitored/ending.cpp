// SPDX-License-Identifier: Apache-2.0
//
// How MonitoredRuntime ends containers and cleans them away. Nothing here occupies a thread while a process takes its
// time to end: that is looked after by timers of the loop, so that a node with one process that cannot be killed goes
// on starting others.
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Operation;
using gantry::Status;

namespace {

constexpr auto kKillTime = std::chrono::seconds(20);
constexpr auto kLongestPause = std::chrono::milliseconds(100);  // between two looks at what is to end
constexpr auto kMonitorPatience = std::chrono::seconds(1);      // for a monitor to end after its container
constexpr auto kFirstRetry = std::chrono::seconds(1);           // of cleaning away, then ever more seldom
constexpr auto kLastRetry = std::chrono::seconds(60);
constexpr auto kThawTime = std::chrono::seconds(2);  // of what is to hear that it shall end
constexpr int kKilled = 128 + SIGKILL;

}  // namespace

void MonitoredRuntime::stop_container(Operation<> op, std::string name, gantry::Duration grace) {
    const Shared container = find(name);
    if (!container) return op.fail(Code::kNotFound, no_container(name));
    if (container->state == State::kExited) return op.done();
    if (container->busy) {
        // A kill under way leads to the same end; anything else is waited for.
        if (container->killing) return container->stops.push_back(std::move(op));
        container->waiting.push_back([this, op = std::move(op), name, grace]() mutable {
            stop_container(std::move(op), std::move(name), grace);
        });
        return;
    }
    if (container->state == State::kBroken) return remove_container(std::move(op), std::move(name));
    check_exit(container);
    if (container->state == State::kExited) return op.done();
    if (container->rests()) return end_resting(container, std::move(op));
    if (!container->record.process) {
        end_unstarted(container);
        return op.done();
    }
    container->stops.push_back(std::move(op));
    if (container->state == State::kCreated || grace <= gantry::Duration::zero()) return kill_now(container);
    if (container->patience != 0) return;  // already asked to end
    const long sent =
        ::syscall(SYS_pidfd_send_signal, container->process.get(), container->record.stop_signal, nullptr, 0);
    if (sent != 0 && errno != ESRCH) return kill_now(container);
    if (std::exchange(container->paused, false)) {  // one that stands still hears no signal
        const Status taken = in_pool([this, record = container->record] {
            try {
                backend_->pause(record, false, now() + kThawTime);
            } catch (const std::exception& error) {
                host().warn("container \"" + record.name + "\" is to end and does not go on: " + error.what());
            }
        });
        if (!taken) return kill_now(container);
    }
    container->patience = host().timer(grace, [this, weak = std::weak_ptr(container)] {
        const Shared late = weak.lock();
        if (!late) return;
        late->patience = 0;
        if (late->state == State::kRunning) kill_now(late);
    });
}

void MonitoredRuntime::pause_container(Operation<> op, std::string name) {
    pause(std::move(op), std::move(name), true);
}

void MonitoredRuntime::resume_container(Operation<> op, std::string name) {
    pause(std::move(op), std::move(name), false);
}

void MonitoredRuntime::pause(Operation<> op, std::string name, bool on) {
    if (!facts().pause) return op.fail(Code::kUnsupported, "this runtime cannot pause containers");
    const Shared container = find(name);
    if (!container || container->state == State::kBroken) return op.fail(Code::kNotFound, no_container(name));
    if (container->busy) {
        container->waiting.push_back(
            [this, op = std::move(op), name, on]() mutable { pause(std::move(op), std::move(name), on); });
        return;
    }
    // One that was asked to end is not kept from it.
    if (container->state != State::kRunning || !container->stops.empty())
        return op.fail(Code::kConflict, "container \"" + name + "\" does not run");
    if (container->rests())
        return op.fail(Code::kConflict, "container \"" + name + "\" is checkpointed; restore it, or stop it");
    if (container->paused == on) return op.done();
    const gantry::Instant deadline = op.deadline();
    job(
        container, [this, record = container->record, on, deadline] { backend_->pause(record, on, deadline); },
        [this, container, on, op = std::move(op)](const Status& status) mutable {
            if (status) container->paused = on;
            check_exit(container);
            status ? op.done() : op.fail(status);
        });
}

void MonitoredRuntime::kill_container(Operation<> op, std::string name) {
    stop_container(std::move(op), std::move(name), gantry::Duration::zero());
}

// The stops that wait end when the exit is seen, not here.
void MonitoredRuntime::kill_now(const Shared& container) {
    if (container->killing || container->busy) return;
    container->killing = true;
    host().cancel(std::exchange(container->patience, 0));
    end_processes(container, now() + kKillTime, [this, container](const Status& status) {
        container->killing = false;
        check_exit(container);
        if (status) return;
        host().warn("container \"" + container->record.name + "\" cannot be killed: " + status.text());
        for (Operation<>& op : std::exchange(container->stops, {})) op.fail(status);
    });
}

// SIGKILL to all processes, again and again until none is left or the deadline has come; the container is busy.
void MonitoredRuntime::end_processes(const Shared& container, gantry::Instant deadline, Done then,
                                     gantry::Duration pause) {
    const auto left = std::make_shared<pid_t>(0);
    job(
        container, [this, container, left] { *left = backend_->kill(home(container->record.name), container->record); },
        [this, container, left, deadline, pause, then = std::move(then)](const Status& status) mutable {
            if (!status || *left == 0) return then(status);
            if (now() > deadline) {
                return then({Code::kDeadline, "container \"" + container->record.name + "\": process " +
                                                  std::to_string(*left) + " does not end although it was killed"});
            }
            container->busy = true;
            host().timer(pause, [this, container, deadline, pause, then = std::move(then)]() mutable {
                end_processes(container, deadline, std::move(then),
                              std::min<gantry::Duration>(2 * pause, kLongestPause));
            });
        });
}

// A container whose process is only made by start ends without ever having had one, and one that rests on disk ends
// there.
void MonitoredRuntime::end_unstarted(const Shared& container) {
    const Home at = home(container->record.name);
    std::error_code ignored;
    fs::rename(at.checkpoint(), at.checkpoint_used(), ignored);
    replace_file(at.exits / container->record.name, std::to_string(kKilled));
    finish(container, kKilled);
}

// ---- cleaning away ----------------------------------------------------------------------------------------------

void MonitoredRuntime::remove_container(Operation<> op, std::string name) {
    const Shared container = find(name);
    if (!container) return op.done();
    if (container->busy) {
        container->waiting.push_back(
            [this, op = std::move(op), name]() mutable { remove_container(std::move(op), std::move(name)); });
        return;
    }
    if (container->state == State::kRunning) {
        return op.fail(Code::kConflict, "container \"" + name + "\" is running; stop it first");
    }
    unwatch(*container);
    const gantry::Instant deadline = op.deadline();
    clean_away(container, deadline, [this, container, op = std::move(op)](const Status& status) mutable {
        if (status) return op.done();
        watch_processes(container);
        check_exit(container);
        op.fail(status);
    });
}

// Ends what still runs, undoes create and forgets the container, in this order: what may still exist stays known.
void MonitoredRuntime::clean_away(const Shared& container, gantry::Instant deadline, Done then) {
    host().cancel(std::exchange(container->retry, 0));
    const auto ended = [this, container](const Status& status, Done& done) {
        if (status) {
            part_streams(*container);
            containers_.erase(container->record.name);
            answer_lists();  // they may have waited for this one
        } else if (container->state == State::kBroken) {
            retry_later(container, status);
        }
        done(status);
    };
    end_processes(container, deadline,
                  [this, container, deadline, ended, then = std::move(then)](const Status& killed) mutable {
                      if (!killed) return ended(killed, then);
                      job(
                          container, [this, container, deadline] { unmake(*container, deadline); },
                          [ended, then = std::move(then)](const Status& status) mutable { ended(status, then); });
                  });
}

// Off the loop, which leaves record and monitor alone while the container is busy.
void MonitoredRuntime::unmake(const Container& container, gantry::Instant deadline) {
    const Home at = home(container.record.name);
    backend_->clean(at, container.record, deadline);
    // The monitor writes into the folder until it ends. One that was left to us by its parents is reaped.
    (void)wait_end(container.monitor, now() + kMonitorPatience);
    if (container.record.monitor) (void)::waitpid(container.record.monitor.pid, nullptr, WNOHANG);
    std::error_code error;
    fs::remove_all(at.dir, error);
    if (error) file_failed("delete", at.dir, error.value());
    fs::remove(at.exits / container.record.name, error);
}

void MonitoredRuntime::retry_later(const Shared& container, const Status& status) {
    if (container->trouble != status.text()) {
        host().warn("container \"" + container->record.name + "\" cannot be cleaned away: " + status.text() +
                    "; this is tried again");
    }
    container->trouble = status.text();
    container->retry_pause = std::clamp<gantry::Duration>(2 * container->retry_pause, kFirstRetry, kLastRetry);
    container->retry = host().timer(container->retry_pause, [this, weak = std::weak_ptr(container)] {
        const Shared broken = weak.lock();
        if (!broken) return;
        broken->retry = 0;
        if (!broken->busy) clean_away(broken, now() + kCleanTime, [](const Status&) {});
    });
}

}  // namespace monitored
