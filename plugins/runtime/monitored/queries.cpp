// SPDX-License-Identifier: Apache-2.0
//
// What MonitoredRuntime answers without changing anything: list, stats, logs.
#include <sys/inotify.h>

#include <cerrno>
#include <cstring>

#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

using gantry::Code;
using gantry::Failure;
using gantry::Operation;
using gantry::Status;

void MonitoredRuntime::list_containers(Operation<gantry::ContainerList> op) {
    lists_.push_back(std::move(op));
    // finish() answers lists: look at a copy of the table's members.
    std::vector<Shared> all;
    for (const auto& [name, container] : containers_) all.push_back(container);
    for (const Shared& container : all) check_exit(container);
    answer_lists();
}

// A list waits for the monitors of containers whose process just ended: it must not say "code unknown" too early.
void MonitoredRuntime::answer_lists() {
    if (lists_.empty()) return;
    gantry::ContainerList out;
    for (const auto& [name, container] : containers_) {
        if (container->state == State::kMaking || container->state == State::kBroken) continue;
        if (container->process_ended && container->state != State::kExited) return;
        gantry::Container& item = out.containers.emplace_back();
        item.name = name;
        item.state = container->state == State::kCreated  ? gantry::ContainerState::kCreated
                     : container->state == State::kExited ? gantry::ContainerState::kExited
                     : container->paused                  ? gantry::ContainerState::kPaused
                                                          : gantry::ContainerState::kRunning;
        item.exit_code = container->exit_code;
        item.pid = container->state == State::kExited || container->rests() ? 0 : container->record.process.pid;
        item.started = container->record.started;
        item.detail = container->detail;
        item.labels = container->record.labels;
    }
    for (Operation<gantry::ContainerList>& op : std::exchange(lists_, {})) op.done(out);
}

void MonitoredRuntime::stats(Operation<gantry::ContainerStats> op, std::string name) {
    const Shared container = find(name);
    if (!container || container->state != State::kRunning) {
        return op.fail(Code::kNotFound, "no container \"" + name + "\" is running");
    }
    if (container->rests()) return op.fail(Code::kConflict, "container \"" + name + "\" is checkpointed");
    const auto shared = std::make_shared<Operation<gantry::ContainerStats>>(std::move(op));
    const Status status = in_pool([this, shared, record = container->record] {
        shared->answer([&] {
            const std::optional<gantry::ContainerStats> found = backend_->stats(record);
            if (!found) throw Failure(Code::kUnsupported, "this runtime does not measure containers");
            return *found;
        });
    });
    if (!status) shared->fail(status);
}

void MonitoredRuntime::logs(Operation<> op, gantry::LogRequest request) {
    if (!find(request.name)) return op.fail(Code::kNotFound, no_container(request.name));
    backend_->keep_log(home(request.name), find(request.name)->log_asked);
    LogFile log(home(request.name).log());
    if (request.tail_lines < 0 && request.since_ns <= 0) {
        return attach_stream(request.name, std::move(op), std::move(request.fd), std::move(log), request.follow);
    }
    log.gather();
    struct Seek {
        Operation<> op;
        gantry::LogRequest request;
        LogFile log;
    };
    const auto seek = std::make_shared<Seek>(std::move(op), std::move(request), std::move(log));
    const Status status = in_pool([this, seek] {
        seek->log.seek(seek->request.tail_lines, seek->request.since_ns);
        host().post([this, seek] {
            attach_stream(seek->request.name, std::move(seek->op), std::move(seek->request.fd), std::move(seek->log),
                          seek->request.follow);
        });
    });
    if (!status) seek->op.fail(status);
}

void MonitoredRuntime::attach_stream(const std::string& name, Operation<> op, gantry::Fd out, LogFile log,
                                     bool follow) {
    const Shared container = find(name);
    if (!container) return op.fail(Code::kNotFound, no_container(name));
    if (follow) {
        watch_log(container, true);
        if (container->log_watch < 0) {
            return op.fail(Code::kFailed, std::string("logs: cannot follow: ") + std::strerror(errno));
        }
    }
    auto stream = std::make_unique<LogStream>(host(), std::move(op), std::move(out), std::move(log), follow);
    if (!stream->finished()) container->streams.push_back(std::move(stream));
}

// Sees when the log is replaced; growth: and when it grows, which comes often, so only for those who follow.
void MonitoredRuntime::watch_log(const Shared& container, bool growth) {
    const Home at = home(container->record.name);
    const std::uint32_t mask = growth ? IN_MODIFY | IN_MOVED_TO | IN_CREATE : IN_MOVED_TO;
    container->log_watch = ::inotify_add_watch(inotify_.get(), at.dir.c_str(), mask);
    if (container->log_watch >= 0) {
        log_watches_[container->log_watch] = container;
    } else {
        const int error = errno;
        host().warn("container \"" + container->record.name + "\": its log cannot be watched: " + std::strerror(error));
        errno = error;
    }
    backend_->keep_log(at, container->log_asked);  // it may have been replaced before
}

// The streams of a container that is removed send what they have.
void MonitoredRuntime::part_streams(Container& container) {
    std::erase_if(parting_streams_, [](const auto& stream) { return stream->finished(); });
    for (std::unique_ptr<LogStream>& stream : std::exchange(container.streams, {})) {
        stream->last();
        if (!stream->finished()) parting_streams_.push_back(std::move(stream));
    }
    // The kernel's went with the folder.
    if (const int watch = std::exchange(container.log_watch, -1); watch >= 0) log_watches_.erase(watch);
}

}  // namespace monitored
