// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/runtime.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/own_program.hpp"
#include "plugins/runtime/monitored/unpack_program.hpp"

namespace monitored {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;
using gantry::Operation;
using gantry::Status;

namespace {

Status check_spec(const gantry::ContainerSpec& spec) {
    if (!valid_name(spec.name)) {
        return {Code::kInvalid,
                "container name \"" + spec.name.substr(0, 80) + "\" must match [a-z0-9][a-z0-9.-]{0,62}"};
    }
    for (const auto& [name, value] : spec.env) {
        if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos ||
            value.find('\0') != std::string::npos) {
            return {Code::kInvalid,
                    "container \"" + spec.name + "\": environment variable \"" + name + "\" is not possible"};
        }
    }
    for (const gantry::Mount& mount : spec.mounts) {
        if (mount.source.empty() || mount.source.front() != '/' || mount.target.size() < 2 ||
            mount.target.front() != '/' || (mount.target + "/").find("/../") != std::string::npos) {
            return {Code::kInvalid, "container \"" + spec.name + "\": mount \"" + mount.source + "\" at \"" +
                                        mount.target +
                                        "\": expected absolute paths, the target below / and without \"..\""};
        }
    }
    if (spec.stop_signal < 0 || spec.stop_signal > 64) {
        return {Code::kInvalid, "container \"" + spec.name + "\": no signal " + std::to_string(spec.stop_signal)};
    }
    if (spec.cpu_milli < 0 || spec.memory_bytes < 0 || spec.pids < 0) {
        return {Code::kInvalid, "container \"" + spec.name + "\": a limit is negative"};
    }
    return {};
}

// Not on the loop: a source may lie on a file system whose server does not answer.
void check_sources(const gantry::ContainerSpec& spec) {
    for (const gantry::Mount& mount : spec.mounts) {
        std::error_code error;
        if (fs::exists(mount.source, error)) continue;
        throw Failure(Code::kInvalid, "container \"" + spec.name + "\": mount source " + mount.source +
                                          " does not exist on this node; create it or correct the manifest");
    }
}

}  // namespace

std::string MonitoredRuntime::no_container(const std::string& name) { return "there is no container \"" + name + "\""; }

MonitoredRuntime::~MonitoredRuntime() {
    stopping_ = true;
    if (image_thread_.joinable()) image_thread_.join();
}

void MonitoredRuntime::configure(const gantry::Config& config, std::unique_ptr<Backend> backend,
                                 image_store::StoreOptions store) {
    state_dir_ = config.state_dir();
    for (const char* part : {"containers", "exits"}) {
        std::error_code error;
        fs::create_directories(state_dir_ / part, error);
        if (error) file_failed("make", state_dir_ / part, error.value());
    }
    store.dir = state_dir_ / "images";
    if (!store.unpack) {
        store.unpack = [program = find_own_program(config, "unpack_path", "gantry-unpack")](
                           const image_store::UnpackJob& job, const image_store::Cancelled& cancelled) {
            unpack_by(program, job, cancelled);
        };
    }
    store_ = std::make_unique<image_store::Store>(std::move(store));
    backend_ = std::move(backend);
}

Home MonitoredRuntime::home(const std::string& name) const {
    return {state_dir_ / "containers" / name, state_dir_ / "exits"};
}

MonitoredRuntime::Shared MonitoredRuntime::find(const std::string& name) const {
    auto it = containers_.find(name);
    return it == containers_.end() ? nullptr : it->second;
}

void MonitoredRuntime::start() {
    inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_) throw Failure(Code::kFailed, std::string("inotify_init: ") + std::strerror(errno));
    const fs::path exits = state_dir_ / "exits";
    if (::inotify_add_watch(inotify_.get(), exits.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        file_failed("watch", exits, errno);
    }
    inotify_watch_ = host().watch(inotify_.get(), gantry::kReadable, [this](std::uint32_t) { on_inotify(); });
    adopt_all();
    if (const gantry::Duration pause = backend_->log_pause(); pause > gantry::Duration::zero()) {
        const auto look = [this] {
            for (const auto& [name, container] : containers_) {
                if (container->state == State::kRunning) backend_->keep_log(home(name), container->log_asked);
            }
        };
        log_timer_ = host().timer(pause, look, pause);
    }
    on_image_thread({[this] { store_->sweep(); }});
}

// ---- images -----------------------------------------------------------------------------------------------------

void MonitoredRuntime::ensure_image(Operation<> op, gantry::ImageSource source) {
    if (store_->find(source.image) && !doomed_images_.contains(source.image)) return op.done();
    const std::string image = source.image;
    const bool urgent = source.urgent;
    Step unpack = [this, op = std::move(op), source = std::move(source)]() mutable {
        op.answer(
            [&] { store_->ensure(source.image, source.layout_dir, [&] { return stopping_ || op.cancelled(); }); });
    };
    on_image_thread({std::move(unpack), image, urgent, false});
}

void MonitoredRuntime::images(Operation<gantry::ImageList> op) {
    gantry::ImageList list{store_->images()};
    std::erase_if(list.images, [&](const std::string& image) { return doomed_images_.contains(image); });
    op.done(list);
}

void MonitoredRuntime::remove_image(Operation<> op, std::string image) {
    for (const auto& [name, container] : containers_) {
        if (container->record.image == image) {
            return op.fail(Code::kConflict, "image " + image + " is used by container \"" + name + "\"");
        }
    }
    // From now on no container may begin to use it.
    doomed_images_.insert(image);
    Step remove = [this, op = std::move(op), image]() mutable {
        op.answer([&] { store_->remove(image); });
        host().post([this, image] { doomed_images_.erase(image); });
    };
    on_image_thread({std::move(remove), std::move(image), false, true});
}

// ---- create, start, remove --------------------------------------------------------------------------------------

void MonitoredRuntime::create_container(Operation<> op, gantry::ContainerSpec spec) {
    if (const Status status = check_spec(spec); !status) return op.fail(status);
    Shared container = find(spec.name);
    if (container && container->busy) {
        container->waiting.push_back([this, op = std::move(op), spec = std::move(spec)]() mutable {
            create_container(std::move(op), std::move(spec));
        });
        return;
    }
    if (container && container->state == State::kBroken) {
        return op.fail(Code::kUnavailable, "an earlier container \"" + spec.name + "\" cannot be cleaned away yet: " +
                                               container->trouble + "; this is tried again by itself");
    }
    if (container) return op.done();
    const auto image = doomed_images_.contains(spec.image) ? std::nullopt : store_->find(spec.image);
    if (!image) return op.fail(Code::kNotFound, "image " + spec.image + " is not on this node");

    container = std::make_shared<Container>();
    Record& record = container->record;
    record.name = spec.name;
    record.image = spec.image;
    record.labels = spec.labels;
    record.stop_signal = spec.stop_signal != 0 ? spec.stop_signal : image->config.stop_signal;
    if (record.stop_signal == 0) record.stop_signal = SIGTERM;
    containers_[spec.name] = container;
    const gantry::Instant deadline = op.deadline();
    const auto made = std::make_shared<Made>(record);
    job(
        container,
        [this, made, spec = std::move(spec), image = *image, deadline] {
            const Home at = home(spec.name);
            check_sources(spec);
            if (::mkdir(at.dir.c_str(), 0700) != 0) file_failed("make", at.dir, errno);
            std::error_code error;
            fs::remove(at.exits / spec.name, error);
            backend_->create(spec, image, at, made->record, deadline);
            made->open();
            save(made->record, at.dir);
        },
        [this, container, made, op = std::move(op)](const Status& status) mutable {
            if (!status) {
                container->state = State::kBroken;
                container->record = made->record;
                return clean_away(container, now() + kCleanTime,
                                  [op = std::move(op), status](const Status&) mutable { op.fail(status); });
            }
            container->state = State::kCreated;
            take(container, *made);
            watch_log(container, false);
            op.done();
        });
}

// A job may not touch what the loop reads: it works on a copy, which is taken over here.
void MonitoredRuntime::take(const Shared& container, Made& made) {
    unwatch(*container);
    container->record = std::move(made.record);
    container->process = std::move(made.process);
    container->monitor = std::move(made.monitor);
    watch_processes(container);
}

void MonitoredRuntime::start_container(Operation<> op, std::string name) {
    const Shared container = find(name);
    if (!container || container->state == State::kBroken) return op.fail(Code::kNotFound, no_container(name));
    if (container->busy) {
        container->waiting.push_back(
            [this, op = std::move(op), name]() mutable { start_container(std::move(op), std::move(name)); });
        return;
    }
    if (container->state == State::kRunning) return op.done();
    if (container->state != State::kCreated) {
        return op.fail(Code::kConflict, "container \"" + name + "\" has run and ended; create one with a new name");
    }
    const gantry::Instant deadline = op.deadline();
    const auto made = std::make_shared<Made>(container->record);
    job(
        container,
        [this, made, deadline] {
            const Home at = home(made->record.name);
            backend_->start(at, made->record, deadline);
            made->record.started = now();
            try {
                made->open();
            } catch (...) {  // what cannot be watched must not run
                (void)backend_->kill(at, made->record);
                throw;
            }
            try {
                save(made->record, at.dir);
            } catch (const std::exception& error) {
                // It runs. A daemon that starts anew finds that out (Backend::was_started).
                host().warn("container \"" + made->record.name + "\" runs, but that cannot be noted: " + error.what());
            }
        },
        [this, container, made, op = std::move(op)](const Status& status) mutable {
            if (!status) {
                if (made->record.started != gantry::Instant::zero()) take(container, *made);
                check_exit(container);
                return op.fail(status);
            }
            if (container->state == State::kCreated) container->state = State::kRunning;
            take(container, *made);
            op.done();
        });
}

}  // namespace monitored
