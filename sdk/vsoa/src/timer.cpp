#include "sdk/vsoa/src/timer.hpp"

#include <chrono>

#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/thread.hpp"

namespace vsoa {
namespace {

int64_t sum(int64_t a, int64_t b) {
    int64_t result;
    return __builtin_add_overflow(a, b, &result) ? kForever : result;
}

}  // namespace

TimerService& TimerService::instance() {
    static TimerService* const service = new TimerService;
    return *service;
}

bool TimerService::run() {
    const std::lock_guard guard(lock_);
    if (running_) return true;
    std::thread thread;
    if (!start_thread(thread, [this] { serve(); })) return false;
    thread_ = thread.get_id();
    thread.detach();
    return running_ = true;
}

void TimerService::enqueue(vsoa_timer& timer, int64_t when) {
    timer.when = when;
    timer.node.value() = {when, &timer};
    queue_.insert(std::move(timer.node));
}

void TimerService::dequeue(vsoa_timer& timer) {
    if (timer.node.empty()) timer.node = queue_.extract({timer.when, &timer});
}

void TimerService::start(vsoa_timer& timer, int64_t count_ns, int64_t interval_ns, vsoa_timer_ontime_func_t callback,
                         void* arg) {
    const int64_t when = sum(now_ns(), count_ns);
    const std::lock_guard guard(lock_);
    if (timer.ending) return;
    dequeue(timer);
    timer.interval_ns = interval_ns;
    timer.callback = callback;
    timer.arg = arg;
    enqueue(timer, when);
    if (queue_.begin()->second == &timer) earlier_.notify_one();
}

void TimerService::stop(vsoa_timer& timer) {
    const std::lock_guard guard(lock_);
    dequeue(timer);
}

bool TimerService::started(const vsoa_timer& timer) {
    const std::lock_guard guard(lock_);
    return timer.node.empty();
}

void TimerService::end(vsoa_timer* timer) {
    std::unique_lock held(lock_);
    timer->ending = true;
    dequeue(*timer);
    if (current_ == timer) {
        if (std::this_thread::get_id() == thread_) {
            timer->orphan = true;
            return;
        }
        returned_.wait(held, [&] { return current_ != timer; });
    }
    held.unlock();
    delete timer;
}

void TimerService::serve() {
    std::unique_lock held(lock_);
    for (;;) {
        if (queue_.empty()) {
            earlier_.wait(held);
            continue;
        }
        const auto [when, timer] = *queue_.begin();
        const int64_t now = now_ns();
        if (when > now) {
            earlier_.wait_until(held, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(when)));
            continue;
        }
        dequeue(*timer);
        if (const int64_t interval = timer->interval_ns; interval > 0) {
            enqueue(*timer, sum(when + (now - when) / interval * interval, interval));
        }
        current_ = timer;
        const auto callback = timer->callback;
        void* const arg = timer->arg;
        held.unlock();
        callback(arg, timer, timer->custom);
        held.lock();
        if (timer->orphan) delete timer;
        current_ = nullptr;
        returned_.notify_all();
    }
}

}  // namespace vsoa
