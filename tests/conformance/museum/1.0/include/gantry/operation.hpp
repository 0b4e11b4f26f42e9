// SPDX-License-Identifier: Apache-2.0
//
// Operation<Result>: one thing the host asked for and waits to hear the end of. Move it to where the answer becomes
// known (a job, a member), on any thread; exactly one completion leaves it:
//
//     void check(gantry::Operation<gantry::ProbeResult> op, gantry::ProbeRequest request) override {
//         op.answer_by_job(host(), [request] { return ask(request); });
//     }
//
// The first of done, fail, answer counts; later ones do nothing. An operation that is destroyed unanswered ends as
// kFailed "dropped". An exception that leaves the method ends it with the exception's text. The host ends it as
// unknown after deadline(); cancelled() says that nobody waits any more, which may be ignored.
#pragma once

#include <atomic>
#include <gantry/host.hpp>
#include <memory>
#include <thread>
#include <type_traits>

namespace gantry::inline v1 {
namespace detail {

// The border's form of a result, borrowing from it; each role specialises it for its results.
template <class Result>
struct Lowered;

struct OperationCore {
    OperationCore(const Host& host, gantry_op raw)
        : handle(host.handle()), ops(host.ops()), op(raw), slot_thread(std::this_thread::get_id()) {}

    void complete(gantry_status status, std::string_view text, const void* result) noexcept {
        if (ended.exchange(true)) return;
        if (GANTRY_HAS(ops, complete)) ops->complete(handle, op.id, status, str(text), result);
    }

    const std::uint64_t handle;
    const gantry_host_ops* const ops;
    const gantry_op op;
    std::atomic<bool> ended{false};
    std::atomic<std::thread::id> slot_thread;  // while the slot runs: its thread
};

// Runs an operation's slot.
template <class Result, class F>
gantry_status operate(const Host& host, gantry_op op, F&& call) noexcept;

}  // namespace detail

template <class Result = void>
class Operation {
  public:
    Operation() = default;
    Operation(Operation&&) noexcept = default;
    Operation& operator=(Operation&& other) noexcept {
        if (this != &other) {
            drop();
            core_ = std::move(other.core_);
        }
        return *this;
    }
    ~Operation() { drop(); }

    // There is one, and it was not moved away.
    explicit operator bool() const noexcept { return core_ != nullptr; }
    std::uint64_t id() const noexcept { return core_ ? core_->op.id : 0; }
    Instant deadline() const noexcept { return Instant(core_ ? core_->op.deadline_ns : 0); }
    bool cancelled() const noexcept {
        return core_ && GANTRY_HAS(core_->ops, cancelled) && core_->ops->cancelled(core_->handle, core_->op.id) != 0;
    }

    void done() requires std::is_void_v<Result> {
        if (core_) core_->complete(GANTRY_OK, {}, nullptr);
    }
    template <class R = Result>
    requires(!std::is_void_v<R>) void done(const std::type_identity_t<R>& result) {
        if (!core_) return;
        const detail::Lowered<R> lowered(result);
        core_->complete(GANTRY_OK, {}, lowered.get());
    }
    void fail(Code code, std::string_view text) {
        if (core_) core_->complete(static_cast<gantry_status>(code == Code::kOk ? Code::kFailed : code), text, nullptr);
    }
    void fail(const Status& status) { fail(status.code(), status.text()); }
    // Ends with what fn() returns, or with what it throws.
    template <class F>
    void answer(F&& fn) {
        try {
            if constexpr (std::is_void_v<Result>) {
                fn();
                done();
            } else {
                done(fn());
            }
        } catch (...) {
            detail::describe_exception([this](Code code, std::string_view text) { fail(code, text); });
        }
    }

    // The same, with fn() run on a thread of the host's pool: kFull at once if the pool takes no more jobs. Leaves this
    // operation empty.
    template <class F>
    void answer_by_job(Host& host, F fn) {
        auto mine = std::make_shared<Operation>(std::move(*this));
        const Status taken = host.work([mine, fn = std::move(fn)]() mutable { mine->answer(fn); });
        if (!taken) mine->fail(taken.code(), "the host's pool takes no more jobs; try again");
    }

  private:
    template <class R, class F>
    friend gantry_status detail::operate(const Host& host, gantry_op op, F&& call) noexcept;

    explicit Operation(std::shared_ptr<detail::OperationCore> core) : core_(std::move(core)) {}

    void drop() noexcept {
        if (!core_) return;
        // An exception on its way out of the slot: operate() ends the operation with its text.
        const bool unwinding =
            std::uncaught_exceptions() > 0 && core_->slot_thread.load() == std::this_thread::get_id();
        if (!unwinding) core_->complete(GANTRY_FAILED, "dropped: the plugin forgot this operation", nullptr);
        core_.reset();
    }

    std::shared_ptr<detail::OperationCore> core_;
};

template <class Result, class F>
gantry_status detail::operate(const Host& host, gantry_op op, F&& call) noexcept {
    std::shared_ptr<OperationCore> core;
    try {
        core = std::make_shared<OperationCore>(host, op);
    } catch (...) {
        return GANTRY_FAILED;
    }
    try {
        call(Operation<Result>(core));
    } catch (...) {
        core->slot_thread.store({});
        describe_exception([&](Code code, std::string_view text) {
            core->complete(static_cast<gantry_status>(code == Code::kOk ? Code::kFailed : code), text, nullptr);
        });
        return GANTRY_OK;
    }
    core->slot_thread.store({});
    // Given up during an exception that the method itself caught.
    if (core.use_count() == 1) core->complete(GANTRY_FAILED, "dropped: the plugin forgot this operation", nullptr);
    return GANTRY_OK;
}

}  // namespace gantry::inline v1
