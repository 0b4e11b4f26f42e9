// SPDX-License-Identifier: Apache-2.0
//
// Runtime: runs containers on this node. Every operation is idempotent by the container's name: create of an
// existing, start of a running, stop of a stopped, remove of an absent container succeed and change nothing.
// Containers outlive gantryd: after a restart list_containers shows them, with the exit code of those that ended.
// What a runtime does not override answers kUnsupported.
#pragma once

#include <gantry/abi/runtime.h>

#include <gantry/runtime_types.hpp>

namespace gantry::inline v1 {

// Where a runtime reports to. Hints only: the truth is list_containers. [any]
class RuntimeEvents {
  public:
    // The container's first process ended.
    void exited(std::string_view name, int exit_code) const {
        if (GANTRY_HAS(sink, exited)) sink->exited(host, str(name), exit_code);
    }
    // Something was missed: list again.
    void changed() const {
        if (GANTRY_HAS(sink, changed)) sink->changed(host);
    }

  private:
    friend class Runtime;
    const gantry_runtime_sink* sink = nullptr;
    std::uint64_t host = 0;
};

class Runtime : public Plugin {
  public:
    static constexpr std::string_view kRole = "runtime/1";
    static constexpr std::string_view kInterface = GANTRY_ROLE_RUNTIME;

    // Asked once, after init.
    virtual RuntimeFacts facts() const = 0;

    // Everything below: [loop].
    // Make the image ready for create: verify digests, unpack; half-unpacked is never used. kInvalid (broken or
    // hostile: which layer, what), kFull.
    virtual void ensure_image(Operation<> op, ImageSource source) { (void)source, unsupported(op); }
    // Digests that create_container accepts at once.
    virtual void images(Operation<ImageList> op) { unsupported(op); }
    virtual void remove_image(Operation<> op, std::string image) { (void)image, unsupported(op); }
    // Prepare, do not run. kNotFound (image), kInvalid (mount source missing ...); a failure leaves nothing behind.
    virtual void create_container(Operation<> op, ContainerSpec spec) = 0;
    // Ends when the first process runs.
    virtual void start_container(Operation<> op, std::string name) = 0;
    // Stop signal, after grace SIGKILL; ends when no process is left.
    virtual void stop_container(Operation<> op, std::string name, Duration grace) = 0;
    // SIGKILL to all its processes; ends when none is left.
    virtual void kill_container(Operation<> op, std::string name) = 0;
    virtual void pause_container(Operation<> op, std::string name) { (void)name, unsupported(op); }
    virtual void resume_container(Operation<> op, std::string name) { (void)name, unsupported(op); }
    // Forget a stopped container: files, cgroup, mounts. kConflict while it runs.
    virtual void remove_container(Operation<> op, std::string name) = 0;
    // Every container of this instance.
    virtual void list_containers(Operation<ContainerList> op) = 0;
    virtual void stats(Operation<ContainerStats> op, std::string name) { (void)name, unsupported(op); }
    // Write the container's output to request.fd, close it, answer. End when nobody reads or op.cancelled().
    virtual void logs(Operation<> op, LogRequest request) { (void)request, unsupported(op); }
    virtual void exec(Operation<ExecResult> op, ExecRequest request) { (void)request, unsupported(op); }
    // Write what its processes have in memory to disk, then end them; it is listed as paused until it is restored.
    virtual void checkpoint_container(Operation<> op, std::string name) { (void)name, unsupported(op); }
    // Let it go on from there; the checkpoint is used up.
    virtual void restore_container(Operation<> op, std::string name) { (void)name, unsupported(op); }

  protected:
    Runtime() = default;
    const RuntimeEvents& events() const noexcept { return events_; }

  private:
    template <class R>
    static void unsupported(Operation<R>& op) {
        op.fail(Code::kUnsupported, "this runtime does not offer that");
    }
    const void* role_table() const noexcept override { return &table_; }
    void publish_facts() override {
        published_ = facts();
        architectures_ = detail::lower(published_.architectures);
        facts_ = {sizeof(facts_), published_.capabilities(), str(published_.system), architectures_.data(),
                  architectures_.size()};
    }
    static Runtime& of(void* self) noexcept { return *static_cast<Runtime*>(static_cast<Plugin*>(self)); }

    static gantry_status on_bind(void* self, const gantry_runtime_sink* sink) noexcept {
        of(self).events_.sink = sink;
        of(self).events_.host = of(self).host().handle();
        return GANTRY_OK;
    }
    static gantry_status on_ensure_image(void* self, gantry_op op, const gantry_image_source* source) noexcept {
        return detail::operate<void>(of(self).host(), op, [&](Operation<> o) {
            of(self).ensure_image(std::move(o), {text(source->image), text(source->layout_dir),
                                                 (source->flags & GANTRY_IMAGE_URGENT) != 0});
        });
    }
    static gantry_status on_create(void* self, gantry_op op, const gantry_container_spec* spec) noexcept {
        return detail::operate<void>(
            of(self).host(), op, [&](Operation<> o) { of(self).create_container(std::move(o), ContainerSpec(*spec)); });
    }
    static gantry_status on_stop(void* self, gantry_op op, gantry_str name, std::int64_t grace_ns) noexcept {
        return detail::operate<void>(of(self).host(), op, [&](Operation<> o) {
            of(self).stop_container(std::move(o), text(name), Duration(grace_ns));
        });
    }
    static gantry_status on_logs(void* self, gantry_op op, const gantry_log_request* r) noexcept {
        return detail::operate<void>(of(self).host(), op, [&](Operation<> o) {
            Fd fd(r->fd);
            const bool since = r->struct_size >= offsetof(gantry_log_request, since_ns) + sizeof(r->since_ns);
            of(self).logs(std::move(o),
                          {text(r->name), r->follow != 0, r->tail_lines, std::move(fd), since ? r->since_ns : 0});
        });
    }
    static gantry_status on_exec(void* self, gantry_op op, const gantry_exec_request* r) noexcept {
        return detail::operate<ExecResult>(of(self).host(), op, [&](Operation<ExecResult> o) {
            Fd fd(r->fd);
            of(self).exec(std::move(o), {text(r->name), texts(r->args, r->arg_count), r->terminal != 0, std::move(fd)});
        });
    }
    // Slots that take nothing, and those that take a name.
    template <class R, void (Runtime::*Method)(Operation<R>)>
    static gantry_status on_plain(void* self, gantry_op op) noexcept {
        return detail::operate<R>(of(self).host(), op, [&](Operation<R> o) { (of(self).*Method)(std::move(o)); });
    }
    template <class R, void (Runtime::*Method)(Operation<R>, std::string)>
    static gantry_status on_named(void* self, gantry_op op, gantry_str name) noexcept {
        return detail::operate<R>(of(self).host(), op,
                                  [&](Operation<R> o) { (of(self).*Method)(std::move(o), text(name)); });
    }

    RuntimeFacts published_;
    std::vector<gantry_str> architectures_;
    gantry_runtime_facts facts_{};
    gantry_runtime table_{sizeof(gantry_runtime),
                          0,
                          &facts_,
                          &on_bind,
                          &on_ensure_image,
                          &on_plain<ImageList, &Runtime::images>,
                          &on_named<void, &Runtime::remove_image>,
                          &on_create,
                          &on_named<void, &Runtime::start_container>,
                          &on_stop,
                          &on_named<void, &Runtime::kill_container>,
                          &on_named<void, &Runtime::pause_container>,
                          &on_named<void, &Runtime::resume_container>,
                          &on_named<void, &Runtime::remove_container>,
                          &on_plain<ContainerList, &Runtime::list_containers>,
                          &on_named<ContainerStats, &Runtime::stats>,
                          &on_logs,
                          &on_exec,
                          &on_named<void, &Runtime::checkpoint_container>,
                          &on_named<void, &Runtime::restore_container>};
    RuntimeEvents events_;
};

}  // namespace gantry::inline v1
