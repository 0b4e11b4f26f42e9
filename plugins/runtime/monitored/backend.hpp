// SPDX-License-Identifier: Apache-2.0
//
// Backend: what differs between runtimes whose containers live under a monitor process. Implemented by runtime/oci
// (runc under conmon) and runtime/process (plain processes under gantry-process-monitor).
//
// A monitor outlives the daemon, writes the container's output to <dir>/log in the format that conmon calls k8s-file,
// and at the end the exit status as decimal text to <exits>/<name>, in one step (by rename). A full log is replaced by
// a new file; the one before it is then <dir>/log.1.
//
// Threads: everything without another tag is called on pool threads, for different containers at once, for one
// container one at a time. Errors are thrown as gantry::Failure.
#pragma once

#include <filesystem>
#include <gantry/runtime.hpp>
#include <optional>
#include <string>

#include "plugins/runtime/image-store/store.hpp"
#include "plugins/runtime/monitored/process.hpp"
#include "plugins/runtime/monitored/record.hpp"

namespace monitored {

// Folders of one container.
struct Home {
    std::filesystem::path dir;    // its own, exists, empty at create
    std::filesystem::path exits;  // where the exit file <name> goes
    std::filesystem::path log() const { return dir / "log"; }
    // checkpoint.cpp: what lies on disk instead of in memory, while it is written, and once it is used up.
    std::filesystem::path checkpoint() const { return dir / "checkpoint"; }
    std::filesystem::path checkpoint_new() const { return dir / "checkpoint.new"; }
    std::filesystem::path checkpoint_used() const { return dir / "checkpoint.used"; }
};

class Backend {
  public:
    virtual ~Backend() = default;

    // Prepares the container and fills record.process and record.monitor as far as they exist now. What it throws is
    // followed by kill() and clean(). kInvalid: the spec or the image cannot be run.
    virtual void create(const gantry::ContainerSpec& spec, const image_store::Image& image, const Home& home,
                        Record& record, gantry::Instant deadline) = 0;
    // Lets the first process run; fills what create could not.
    virtual void start(const Home& home, Record& record, gantry::Instant deadline) = 0;
    // After a daemon died between start and writing it down: does the first process run already? Fills what start
    // would have. [loop]
    virtual bool was_started(const Home& home, Record& record) = 0;
    // SIGKILL to all processes. Does not wait for their end: answers one that is still there, 0 if none is; called
    // again until then. record may hold a name only.
    virtual pid_t kill(const Home& home, const Record& record) = 0;
    // Undoes create except for the folders, when kill() found nothing left. Idempotent; record may hold a name only.
    virtual void clean(const Home& home, const Record& record, gantry::Instant deadline) = 0;
    // What is known of the end beyond its code, or "". [loop]
    virtual std::string exit_detail(const Home& home, const Record& record, int exit_code) = 0;
    // The log may have been replaced since the last call (or is new), or be full: sees to it that those before it stay
    // as log.1 and so on. Only where the monitor does not do that itself. `asked` is the backend's, one of each
    // container, 0 at first. Quick, never throws. [loop]
    virtual void keep_log(const Home&, std::uint64_t& asked) { (void)asked; }
    // How often keep_log is called of each container that runs; 0: only when its log was replaced.
    virtual gantry::Duration log_pause() const { return {}; }
    // How a further process is run in it, with GANTRY_EXEC=mark among its variables. The file exec-<mark> of its
    // folder, made empty, exec-<mark>.pid and exec-<mark>.json are the backend's while it runs. Errors: kUnsupported,
    // kNotFound (the program, where that is known before).
    virtual Command exec(const Home& home, const Record& record, const std::vector<std::string>& args,
                         const std::string& mark, bool terminal) = 0;
    // Why there was no such process: its command ended with `code`. Nothing: it ran, and that is its own code.
    virtual std::optional<gantry::Status> exec_failure(const Home&, const std::string& mark, int code) {
        return (void)mark, (void)code, std::nullopt;
    }
    // The process has ended, though its command may still wait for what it left behind. [loop]
    virtual bool exec_over(const Home&, const std::string& mark) { return (void)mark, false; }
    // Looked at often while it runs: an engine that makes a terminal of its own may leave its size to us. [loop]
    virtual void pass_size(const Home&, const std::string& mark, int terminal) { (void)mark, (void)terminal; }
    // SIGKILL to what an exec made and left, known by its mark (has_mark), until nothing is left. Gives up after a
    // second.
    virtual void end_exec(const Record& record, const std::string& mark) = 0;
    // Has all its processes stand still, or go on.
    virtual void pause(const Record&, bool on, gantry::Instant deadline) {
        (void)on, (void)deadline;
        throw gantry::Failure(gantry::Code::kUnsupported, "this runtime cannot pause");
    }
    // Whether an earlier daemon left it so. Quick, never throws. [loop]
    virtual bool paused(const Record&) { return false; }
    // Why checkpoints are not offered, and what to do; empty: they are. [any]
    virtual std::string no_checkpoints() const { return "this runtime writes no checkpoints"; }
    // Has its processes stand still, writes what they have in memory into the folder `into`, which is empty, and leaves
    // them so. What it throws leaves them going on, but for kDeadline: then who knows in what state they are. Errors:
    // kUnsupported, kFull, kFailed.
    virtual void checkpoint(const Home&, const Record&, const std::filesystem::path& into, gantry::Instant deadline) {
        (void)into, (void)deadline;
        throw gantry::Failure(gantry::Code::kUnsupported, no_checkpoints());
    }
    // After such processes were killed: what else is there only while a container runs goes, the rest stays.
    virtual void rest(const Home&, const Record&, gantry::Instant deadline) { (void)deadline; }
    // Has it go on from what is in `from`, under a new monitor; fills record.process and record.monitor. What it throws
    // is followed by kill(); kDeadline: it may have gone on for a moment.
    virtual void restore(const Home&, Record&, const std::filesystem::path& from, gantry::Instant deadline) {
        (void)from, (void)deadline;
        throw gantry::Failure(gantry::Code::kUnsupported, no_checkpoints());
    }
    // Nothing if not offered.
    virtual std::optional<gantry::ContainerStats> stats(const Record& record) = 0;
};

}  // namespace monitored
