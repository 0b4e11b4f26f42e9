// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/remote.hpp"

#include <gantry/abi/frontend.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "kernel/base/units.hpp"
#include "kernel/host/border.hpp"
#include "kernel/host/kept.hpp"
#include "kernel/isolation/launch.hpp"

namespace gantry::isolation {
namespace {

bool may_do_all(const elf::Note& note) { return std::ranges::find(note.permissions, "root") != note.permissions.end(); }

gantry_status told(gantry_error* error, std::int32_t status, std::string_view text) {
    if (error != nullptr && error->text != nullptr) {
        error->text_len = static_cast<std::uint32_t>(std::min<std::size_t>(text.size(), error->text_cap));
        std::memcpy(error->text, text.data(), error->text_len);
    }
    return status;
}

// Give or take a quarter, so that what fell together does not rise together.
Duration jittered(Duration pause) {
    thread_local std::minstd_rand random{std::random_device{}()};
    return pause * std::uniform_int_distribution<int>(75, 125)(random) / 100;
}

// Bytes of memory that a process has; 0 if it is gone.
std::int64_t resident(std::int64_t pid) {
    std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
    std::int64_t size = 0, pages = 0;
    return statm >> size >> pages ? pages * ::sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace

Remote::Remote(host::IsolatedPlugin plugin, std::filesystem::path program)
    : context_(std::move(plugin.context)),
      file_(std::move(plugin.file)),
      memory_max_(plugin.memory_max_bytes),
      survives_(std::move(plugin.survives)),
      program_(std::move(program)),
      role_(*find_role(elf::role_interface(file_->note.role))),
      watch_memory_(may_do_all(file_->note)),
      alone_(role_.interface == GANTRY_ROLE_TRANSPORT || role_.interface == GANTRY_ROLE_DIRECTORY ||
             role_.interface == GANTRY_ROLE_STORE || role_.interface == GANTRY_ROLE_FRONTEND),
      restart_timer_(context_->core->loop.io),
      tick_timer_(context_->core->loop.io) {}

gantry_plugin Remote::plugin() {
    const auto remote = [](void* self) { return static_cast<Remote*>(static_cast<Caller*>(self)); };
    static constexpr auto of = remote;
    return {
        sizeof(gantry_plugin),
        0,
        static_cast<Caller*>(this),
        [](void* self, const gantry_config* config, gantry_error* error) noexcept {
            return of(self)->init(*config, error);
        },
        [](void* self, gantry_error* error) noexcept { return of(self)->start(error); },
        [](void* self, std::int64_t deadline, gantry_error* error) noexcept { return of(self)->stop(deadline, error); },
        [](void* self) noexcept { of(self)->end(); },
        [](void* self, gantry_str id) noexcept { return of(self)->query(host::view(id)); }};
}

const void* Remote::query(std::string_view id) const { return id == role_.interface ? table_ : nullptr; }

host::IsolatedState Remote::state() const {
    const bool up = child_ != nullptr && !child_->process->over() && child_->phase == Phase::kRunning;
    return {up, child_ != nullptr && !child_->process->over() ? child_->process->pid() : 0, restarts_,
            up ? std::string() : reason_};
}

// --- life ------------------------------------------------------------------------------------------------------------

std::string Remote::init_message(const host::PluginFile& file, const gantry_config& config) const {
    return isolation::init_message({.title = context_->name,
                                    .interface = role_.interface,
                                    .memory_max_bytes = watch_memory_ ? 0 : memory_max_,
                                    .has_tree = context_->core->tree != nullptr,
                                    .file_size = file.identity.size,
                                    .file_modified_ns = file.identity.modified_ns,
                                    .permissions = file.note.permissions},
                                   config);
}

Result<std::shared_ptr<Remote::Child>> Remote::make_child(const std::shared_ptr<host::PluginFile>& file) {
    auto child = std::make_shared<Child>();
    child->began = host::boottime_now();
    Process::Events events;
    const std::weak_ptr<Remote> self = weak_from_this();
    const std::weak_ptr<Child> of = child;
    events.message = [self, of](const Head& head, Reader& rest) {
        const auto remote = self.lock();
        const auto said_by = of.lock();
        if (remote && said_by) remote->message(said_by, head, rest);
    };
    events.ended = [self, of](const std::string& why) {
        const auto remote = self.lock();
        const auto gone = of.lock();
        if (remote && gone) remote->ended(gone, why);
    };
    GANTRY_TRY(process, Process::spawn(context_->core->loop, program_, file->fd, std::move(events)));
    child->process = process;
    return child;
}

gantry_status Remote::init(const gantry_config& config, gantry_error* error) {
    init_ = init_message(*file_, config);
    auto child = make_child(file_);
    if (!child) return told(error, GANTRY_UNAVAILABLE, child.error().text());
    child_ = std::move(*child);
    send_init(*child_, init_);
    return wait_for(Phase::kReady, error);
}

// What is kept for it goes before: init may bind.
void Remote::send_init(Child& child, const std::string& init) const {
    const auto& kept = context_->core->options.kept;
    for (const int fd : kept ? kept->all_of(context_->name) : std::vector<int>()) {
        std::string message = open_message();
        seal(message, {.kind = Kind::kSocket});
        if (child.process->send(std::move(message), {fd}) != GANTRY_OK) ::close(fd);
    }
    child.process->send(init, {});
}

gantry_status Remote::start(gantry_error* error) {
    send_start(*child_);
    const gantry_status status = wait_for(Phase::kRunning, error);
    if (status != GANTRY_OK) return status;
    begun_ = true;
    child_->process->listen();
    tick();
    return GANTRY_OK;
}

void Remote::send_start(Child& child) {
    child.phase = Phase::kStarting;
    tell(child, {.kind = Kind::kStart});
}

gantry_status Remote::wait_for(Phase phase, gantry_error* error) {
    const auto child = child_;
    const auto there = [&] { return child->phase == phase || child->phase == Phase::kFailed; };
    if (!child->process->pump(there, host::boottime_now() + kStartLimit)) {
        const std::string why = child->process->over() ? "its process ended: " + reason_
                                                       : "no answer within " + format_duration(kStartLimit);
        child->process->drop();
        return told(error, GANTRY_FAILED, why);
    }
    if (child->phase == phase) return GANTRY_OK;
    return told(error, child->error_status, child->error);
}

// The loop stands meanwhile; everything that messages lead to here may be done on any thread.
gantry_status Remote::stop(std::int64_t deadline_ns, gantry_error* error) {
    stopping_ = true;
    const auto child = child_;
    if (child == nullptr || child->process->over()) return GANTRY_OK;
    if (child->phase == Phase::kIniting || child->phase == Phase::kReady) {  // one that was being started again
        child->process->kill("it was stopped");
        child->process->pump([] { return false; }, Instant{deadline_ns});
        return GANTRY_OK;
    }
    tell(*child, {.kind = Kind::kStop, .deadline_ns = deadline_ns});
    child->phase = Phase::kStopping;
    const auto there = [&] { return child->phase == Phase::kStopped; };
    const bool back = child->process->pump(there, Instant{deadline_ns});
    if (!back && !child->process->over()) {
        child->process->kill("it did not stop before its deadline");
        child->process->pump([] { return false; }, host::boottime_now() + seconds(1));
        return told(error, GANTRY_DEADLINE, "it did not stop before its deadline and was killed");
    }
    if (!back) return told(error, GANTRY_FAILED, "its process ended: " + reason_);
    child->process->pump([] { return false; }, Instant{deadline_ns});
    return child->error.empty() ? GANTRY_OK : told(error, child->error_status, child->error);
}

void Remote::end() {
    stopping_ = true;
    restart_timer_.reset();
    tick_timer_.reset();
    leaving_.push_back(child_);
    leaving_.push_back(next_);
    for (const auto& child : leaving_) {
        if (child != nullptr) child->process->drop();
    }
    leaving_.clear();
}

void Remote::ended(const std::shared_ptr<Child>& child, const std::string& why) {
    let_go(*child, why);
    std::erase(leaving_, child);
    if (child == next_) {
        next_.reset();
        if (!making_way_) exchanged(fail(Code::kFailed, "the new process ended: " + why));
    }
    if (child != child_) return;
    reason_ = why;
    if (auto done = std::exchange(finished_, nullptr)) done();
    if (!begun_ || stopping_) return;
    if (std::exchange(making_way_, false) && next_ != nullptr) return take_over();
    let_held_go();
    if (child->newcomer || next_ == nullptr)
        exchanged(fail(Code::kFailed, "the new process ended: " + why + "; the old file is started again"));
    given_up_ = survives_ && !child->process->killed_from_outside() && !survives_(why);
    if (!given_up_) restart_later(why);
}

void Remote::revive() {
    if (!std::exchange(given_up_, false) || stopping_) return;
    failures_ = 0;
    restart();
}

// What it still owed ends here.
void Remote::let_go(Child& child, const std::string& why) {
    const std::string text = "its process ended: " + why;
    for (const auto& [id, slot] : std::exchange(child.operations, {}))
        context_->core->operations.complete(context_->handle, id, GANTRY_OUTCOME_UNKNOWN, text, nullptr);
    if (role_.interface == GANTRY_ROLE_TRANSPORT && sink_ != nullptr) {
        const auto& sink = *static_cast<const gantry_transport_sink*>(sink_);
        for (const auto& [peer, window] : child.window.peers())
            sink.down(context_->handle, peer, GANTRY_DOWN_RESET, host::str(text));
    }
    while (!child.followed.empty()) unfollow(child, child.followed.begin()->first);
}

void Remote::restart_later(const std::string& why) {
    if (host::boottime_now() - child_->began >= kStableAfter) failures_ = 0;
    const Duration pause = jittered(std::min(kRestartMax, kRestartMin * (1 << std::min(failures_++, 10u))));
    reason_ = why;
    const std::string text = "its process ended: " + why + "; started again in " +
                             format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(pause));
    context_->log(host::LogLevel::kWarn, text);
    (void)context_->event("plugin-ended", context_->name + ": " + text, {{"plugin", context_->name}, {"reason", why}});
    restart_timer_->expires_after(pause);
    restart_timer_->async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (!error && !self->stopping_) self->context_->timed("a restart", [&] { self->restart(); });
    });
}

void Remote::restart() {
    auto child = make_child(file_);
    if (!child) return restart_later(child.error().text());
    child_ = std::move(*child);
    child_->unattended = true;
    ++restarts_;
    send_init(*child_, init_);
    child_->process->listen();
}

void Remote::take_over() {
    child_ = std::exchange(next_, nullptr);
    if (!take_facts(*child_)) return child_->process->kill("it broke the rules: its facts cannot be read");
    if (!alone_) return;
    tell_again(*child_, Lasting::kBeforeStart);
    send_start(*child_);
    for (Held& held : std::exchange(held_, {})) {
        child_->operations[held.id] = held.slot;
        child_->process->send(std::move(held.message), {});
    }
}

void Remote::let_held_go() {
    for (const Held& held : std::exchange(held_, {}))
        context_->core->operations.complete(context_->handle, held.id, GANTRY_UNAVAILABLE, "it does not run now",
                                            nullptr);
}

void Remote::retire(Child& child) {
    child.phase = Phase::kStopping;
    tell(child, {.kind = Kind::kStop, .deadline_ns = (host::boottime_now() + kLeaveLimit).ns});
}

void Remote::exchanged(Result<void> result) {
    if (auto done = std::exchange(exchanged_, nullptr)) done(std::move(result));
}

void Remote::started(const std::shared_ptr<Child>& child) {
    if (child == next_) {
        const auto old = child_;
        take_over();
        old->began = host::boottime_now();
        leaving_.push_back(old);
        if (old->operations.empty()) retire(*old);
    }
    if (std::exchange(child->newcomer, false)) {
        file_ = std::exchange(next_file_, nullptr);
        init_ = std::exchange(next_init_, {});
        exchanged({});
    }
    reason_.clear();
    tell_again(*child, Lasting::kAfterStart);
    context_->log(host::LogLevel::kInfo, "runs again as process " + std::to_string(child->process->pid()));
    // What it did not see meanwhile: a list tells.
    if (role_.interface == GANTRY_ROLE_RUNTIME && sink_ != nullptr)
        static_cast<const gantry_runtime_sink*>(sink_)->changed(context_->handle);
}

void Remote::tell_again(Child& child, Lasting when) {
    for (const auto& [number, message] : lasting_) {
        const Slot& slot = role_.slots[number];
        if (slot.lasting != when) continue;
        Head head;
        std::memcpy(&head, message.data(), sizeof(head));
        if (slot.operation) {
            host::Operations::Call call;
            call.handle = context_->handle;
            call.deadline = host::boottime_now() + kStartLimit;
            call.pending = context_->pending;
            call.ended = [context = context_, name = slot.name](gantry_status status, const std::string& text) {
                if (status == GANTRY_OK) return;
                context->log(host::LogLevel::kError,
                             std::string(name) +
                                 " failed again: " + (text.empty() ? std::string(host::status_text(status)) : text));
            };
            head.deadline_ns = call.deadline.ns;
            head.id = context_->core->operations.begin(std::move(call));
            child.operations[head.id] = &slot;
        }
        tell(child, head, message);
    }
}

void Remote::tick() {
    for (const auto& child : {child_, next_}) {
        if (child != nullptr && !child->process->over()) look_after(*child);
    }
    for (const auto& child : leaving_) {
        const Duration left = host::boottime_now() - child->began;
        if (left > kLeaveLimit && child->phase != Phase::kStopping) retire(*child);
        if (left > 2 * kLeaveLimit) child->process->kill("it was exchanged and did not stop");
    }
    tick_timer_->expires_after(kTick);
    tick_timer_->async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (!error && !self->stopping_) self->tick();
    });
}

void Remote::look_after(Child& child) {
    Process& process = *child.process;
    const Instant now = host::boottime_now();
    if (child.phase == Phase::kRunning) {
        tell(child, {.kind = Kind::kPing});
        // Counted in ticks: neither the machine's sleep nor our own loop's standing is the process's silence.
        child.silent = process.heard() == child.heard ? child.silent + 1 : 0;
        child.heard = process.heard();
        if (child.silent * kTick >= kSilenceLimit)
            process.kill("its loop did not answer for " + format_duration(kSilenceLimit));
    } else if (child.phase == Phase::kStopping) {
        if (now - process.heard() > 2 * kLeaveLimit) process.kill("it did not stop");
    } else if (now - child.began > kStartLimit) {
        process.kill("it did not start within " + format_duration(kStartLimit));
    }
    if (!watch_memory_) return;
    const std::int64_t bytes = resident(process.pid());
    if (bytes > memory_max_)
        process.kill("it used " + format_size(bytes) + " of memory, allowed are " + format_size(memory_max_));
}

void Remote::exchange(std::shared_ptr<host::PluginFile> file, const gantry_config& config, host::Done<void> done) {
    if (taking_calls() == nullptr) return done(fail(Code::kUnavailable, "it does not run now, try again"));
    if (next_ != nullptr || exchanged_) return done(fail(Code::kConflict, "it is being exchanged already, try again"));
    auto child = make_child(file);
    if (!child) return done(std::unexpected(std::move(child).error()));
    next_ = std::move(*child);
    next_->unattended = next_->newcomer = true;
    next_file_ = std::move(file);
    next_init_ = init_message(*next_file_, config);
    exchanged_ = std::move(done);
    send_init(*next_, next_init_);
    next_->process->listen();
}

void Remote::finish(std::function<void()> done) {
    if (taking_calls() == nullptr) return done();
    stopping_ = true;
    finished_ = std::move(done);
    retire(*child_);
}

// --- calls -----------------------------------------------------------------------------------------------------------

Remote::Child* Remote::taking_calls() const {
    if (child_ == nullptr || child_->process->over()) return nullptr;
    const Phase phase = child_->phase;
    const bool takes =
        phase == Phase::kRunning || phase == Phase::kStarting || (phase == Phase::kReady && !child_->unattended);
    return takes ? child_.get() : nullptr;
}

gantry_status Remote::call(const Call& call, std::string message, const Writer& arguments) noexcept {
    try {
        const Slot& slot = role_.slots[call.slot];
        if (arguments.sink != nullptr) sink_ = arguments.sink;
        seal(message, {.kind = Kind::kCall,
                       .table = call.table,
                       .slot = call.slot,
                       .id = call.op.id,
                       .deadline_ns = call.op.deadline_ns});
        if (slot.lasting != Lasting::kNo) lasting_[call.slot] = message;
        Child* const child = taking_calls();
        if (child == nullptr && making_way_ && slot.operation && arguments.fds.empty()) {
            held_.push_back({call.op.id, &slot, std::move(message)});
            return GANTRY_OK;
        }
        if (child == nullptr) return slot.lasting != Lasting::kNo && !slot.operation ? GANTRY_OK : GANTRY_UNAVAILABLE;
        if (slot.operation) child->operations[call.op.id] = &slot;
        if (role_.interface == GANTRY_ROLE_TRANSPORT && call.slot == kTransportClose)
            child->window.close(peer_of(message));
        const gantry_status status = child->process->send(std::move(message), arguments.fds);
        if (!slot.operation) return status;
        if (status != GANTRY_OK) {
            child->operations.erase(call.op.id);
            return status;
        }
        // The operations of an instance end before this object does.
        context_->core->operations.on_cancel(call.op.id, [this, id = call.op.id] { cancel(id); });
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

void Remote::cancel(std::uint64_t id) {
    const auto owes = [id](const std::shared_ptr<Child>& child) { return child && child->operations.contains(id); };
    if (owes(child_)) return tell(*child_, {.kind = Kind::kCancel, .id = id});
    const auto old = std::ranges::find_if(leaving_, owes);
    if (old != leaving_.end()) tell(**old, {.kind = Kind::kCancel, .id = id});
}

gantry_status Remote::transport_send(void* self, std::uint64_t peer, std::uint32_t channel,
                                     gantry_bytes bytes) noexcept {
    Remote& remote = *static_cast<Remote*>(static_cast<Caller*>(self));
    Child* const child = remote.taking_calls();
    if (child == nullptr) return GANTRY_NOT_FOUND;
    const gantry_status room = child->window.take(peer, bytes.len);
    if (room != GANTRY_OK) return room;
    const gantry_status status = remote.send_slot_(self, peer, channel, bytes);
    if (status != GANTRY_OK) child->window.give_back(peer, bytes.len);
    return status;
}

// A message that the other end does not take is one too many: it does not read.
void Remote::tell(Child& child, const Head& head, std::string message) {
    seal(message, head);
    if (child.process->send(std::move(message), {}) == GANTRY_FULL)
        child.process->kill("it did not read its messages: " + format_size(kQueueMax) + " wait");
}

}  // namespace gantry::isolation
