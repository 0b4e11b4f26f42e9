// SPDX-License-Identifier: Apache-2.0
/**
 * @file vsoa_task.hpp
 * The coroutines of vsoa.hpp, which includes this.
 */
#ifndef VSOA_TASK_HPP
#define VSOA_TASK_HPP

#include <coroutine>
#include <exception>
#include <utility>
#include <variant>

namespace vsoa {

/** A coroutine that starts when it is awaited, spawned or run. Move only; one owner awaits it once. */
template <typename T = void>
class [[nodiscard]] Task {
  public:
    struct promise_type;
    using Handle = std::coroutine_handle<promise_type>;

    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    ~Task() {
        if (handle_) handle_.destroy();
    }

    auto operator co_await() && noexcept {
        struct Awaiter {
            Handle handle;
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
                handle.promise().continuation = waiting;
                return handle;
            }
            T await_resume() { return handle.promise().take(); }
        };
        return Awaiter{handle_};
    }

  private:
    explicit Task(Handle handle) : handle_(handle) {}

    struct Promise {
        std::coroutine_handle<> continuation;

        struct Final {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(Handle ended) noexcept {
                if (ended.promise().continuation) return ended.promise().continuation;
                return std::noop_coroutine();
            }
            void await_resume() const noexcept {}
        };
        std::suspend_always initial_suspend() const noexcept { return {}; }
        Final final_suspend() const noexcept { return {}; }
    };

    Handle handle_;
};

template <typename T>
struct Task<T>::promise_type : Task<T>::Promise {
    std::variant<std::monostate, T, std::exception_ptr> result;

    Task get_return_object() { return Task(Handle::from_promise(*this)); }
    void unhandled_exception() { result.template emplace<2>(std::current_exception()); }
    template <typename U>
    void return_value(U&& value) {
        result.template emplace<1>(std::forward<U>(value));
    }
    T take() {
        if (auto* error = std::get_if<2>(&result)) std::rethrow_exception(*error);
        return std::move(std::get<1>(result));
    }
};

template <>
struct Task<void>::promise_type : Task<void>::Promise {
    std::exception_ptr error;

    Task get_return_object() { return Task(Handle::from_promise(*this)); }
    void unhandled_exception() { error = std::current_exception(); }
    void return_void() const noexcept {}
    void take() const {
        if (error) std::rethrow_exception(error);
    }
};

namespace detail {

// Owns itself. What a spawned task throws ends the program: nobody is there to hear it.
struct Detached {
    struct promise_type {
        Detached get_return_object() const noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    };
};

inline Detached detach(Task<> task) { co_await std::move(task); }

}  // namespace detail

/** Starts a task that nobody awaits, at once and in this thread. An exception that leaves it ends the program. It must
 *  come to its end before the client or server that it waits for is closed. */
inline void spawn(Task<> task) { detail::detach(std::move(task)); }

}  // namespace vsoa

#endif
