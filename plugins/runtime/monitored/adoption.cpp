// SPDX-License-Identifier: Apache-2.0
//
// How MonitoredRuntime learns what is true: what an earlier daemon left behind, and how containers end.
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

namespace fs = std::filesystem;
using gantry::Operation;
using gantry::Status;

namespace {

constexpr auto kExitPatience = std::chrono::seconds(2);  // for a living monitor to write the exit file
constexpr int kUnknownExit = -1;

}  // namespace

void MonitoredRuntime::adopt_all() {
    for (const fs::directory_entry& item : fs::directory_iterator(state_dir_ / "containers")) {
        const std::string name = item.path().filename().string();
        if (!valid_name(name)) continue;
        if (std::optional<Record> record = load(item.path())) {
            adopt(std::move(*record));
        } else {
            discard(name);
        }
    }
    std::vector<fs::path> orphans;
    for (const fs::directory_entry& item : fs::directory_iterator(state_dir_ / "exits")) {
        const fs::path& path = item.path();
        // A monitor may be writing this very moment: NAME.SUFFIX, then it is renamed to NAME.
        const bool known = containers_.contains(path.filename().string()) || containers_.contains(path.stem().string());
        if (!known) orphans.push_back(path);
    }
    std::error_code error;
    for (const fs::path& path : orphans) fs::remove(path, error);
}

void MonitoredRuntime::adopt(Record record) {
    const Home at = home(record.name);
    const Shared container = std::make_shared<Container>();
    const bool noted = record.started != gantry::Instant::zero();
    const bool running = noted || backend_->was_started(at, record);
    containers_[record.name] = container;
    container->state = running ? State::kRunning : State::kCreated;
    container->process = open_process(record.process);
    container->monitor = open_process(record.monitor);
    container->record = std::move(record);
    container->paused = running && backend_->paused(container->record);
    end_left_execs(container->record);
    watch_log(container, false);
    if (adopt_resting(container)) return;
    watch_processes(container);
    check_exit(container);
    drop_unfinished(container);
}

// A container that was being made, or unmade, when the daemon died.
void MonitoredRuntime::discard(const std::string& name) {
    const Shared container = std::make_shared<Container>();
    container->state = State::kBroken;
    container->record.name = name;
    containers_[name] = container;
    clean_away(container, now() + kCleanTime, [](const Status&) {});
}

void MonitoredRuntime::watch_processes(const Shared& container) {
    if (!container->process || container->process_watch != 0 || container->state == State::kExited) return;
    container->process_watch = host().watch(container->process.get(), gantry::kReadable,
                                            [this, weak = std::weak_ptr(container)](std::uint32_t) {
                                                if (const Shared ended = weak.lock()) check_exit(ended);
                                            });
}

void MonitoredRuntime::unwatch(Container& container) {
    host().unwatch(std::exchange(container.process_watch, 0));
    host().unwatch(std::exchange(container.monitor_watch, 0));
    host().cancel(std::exchange(container.exit_patience, 0));
}

void MonitoredRuntime::on_inotify() {
    alignas(inotify_event) char buffer[8192];
    const ssize_t n = ::read(inotify_.get(), buffer, sizeof(buffer));
    for (ssize_t at = 0; at < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
        if ((event->mask & IN_Q_OVERFLOW) != 0) {
            std::vector<Shared> all;
            for (const auto& [name, container] : containers_) all.push_back(container);
            for (const Shared& container : all) check_exit(container);
            events().changed();
            continue;
        }
        if (auto it = log_watches_.find(event->wd); it != log_watches_.end()) {
            const Shared container = it->second.lock();
            if ((event->mask & IN_IGNORED) != 0) log_watches_.erase(it);
            if (!container) continue;
            if ((event->mask & IN_MOVED_TO) != 0 && event->name == std::string_view("log")) {
                backend_->keep_log(home(container->record.name), container->log_asked);
            }
            std::erase_if(container->streams, [](const auto& stream) { return stream->finished(); });
            for (const auto& stream : container->streams) stream->poke();
        } else if (event->len > 0) {
            if (const Shared container = find(event->name)) check_exit(container);
        }
    }
}

// Looks whether the container has ended and with which code. give_up: the monitor had its time.
void MonitoredRuntime::check_exit(const Shared& container, bool give_up) {
    if ((container->state != State::kCreated && container->state != State::kRunning) || container->rests()) return;
    const fs::path exit_file = state_dir_ / "exits" / container->record.name;
    const auto recorded = [&]() -> std::optional<long long> {
        const std::optional<std::string> text = read_file(exit_file, 64);
        return text ? parse_number(*text) : std::nullopt;
    };
    if (const auto code = recorded()) return finish(container, static_cast<int>(*code));
    if (container->busy && !container->killing) return;  // a start under way may bring the process only now
    if (!container->record.process || !has_ended(container->process)) return;

    container->process_ended = true;
    host().unwatch(std::exchange(container->process_watch, 0));
    if (has_ended(container->monitor)) {
        // It may have written the file after we looked for it and before it ended.
        const auto code = recorded();
        return finish(container, code ? static_cast<int>(*code) : kUnknownExit);
    }
    if (give_up) return finish(container, kUnknownExit);
    if (container->exit_patience != 0) return;
    const auto look = [this, weak = std::weak_ptr(container)](bool last) {
        if (const Shared ended = weak.lock()) check_exit(ended, last);
    };
    container->monitor_watch =
        host().watch(container->monitor.get(), gantry::kReadable, [look](std::uint32_t) { look(false); });
    container->exit_patience = host().timer(kExitPatience, [look] { look(true); });
}

void MonitoredRuntime::finish(const Shared& container, int exit_code) {
    const std::string& name = container->record.name;
    container->state = State::kExited;
    container->record.checkpoint_bytes = 0;
    container->exit_code = exit_code;
    container->detail = exit_code == kUnknownExit
                            ? "its end was not recorded: the node or the monitor went down with it"
                            : backend_->exit_detail(home(name), container->record, exit_code);
    unwatch(*container);
    host().cancel(std::exchange(container->patience, 0));
    container->process.reset();
    events().exited(name, exit_code);
    for (Operation<>& op : std::exchange(container->stops, {})) op.done();
    answer_lists();
}

}  // namespace monitored
