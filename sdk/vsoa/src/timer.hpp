// The timers behind vsoa_timer.h: one thread, a queue ordered by time.
//
// Threads: one lock guards queue and timers; it is not held while a callback runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "sdk/vsoa/include/vsoa_timer.h"

namespace vsoa {

class TimerService {
  public:
    /// Of this process; lives until it ends, since its thread does.
    static TimerService& instance();

    /// False with errno EAGAIN.
    bool run();
    void start(vsoa_timer& timer, int64_t count_ns, int64_t interval_ns, vsoa_timer_ontime_func_t callback, void* arg);
    void stop(vsoa_timer& timer);
    bool started(const vsoa_timer& timer);
    /// Frees it, now or after its callback.
    void end(vsoa_timer* timer);

    /// Time of the next call, and whose.
    using Queue = std::set<std::pair<int64_t, vsoa_timer*>>;

  private:
    void serve();

    // Under the lock.
    void enqueue(vsoa_timer& timer, int64_t when);
    void dequeue(vsoa_timer& timer);

    std::mutex lock_;
    std::condition_variable earlier_;   // the first of the queue has changed
    std::condition_variable returned_;  // a callback has
    Queue queue_;
    bool running_ = false;
    vsoa_timer* current_ = nullptr;  // whose callback runs
    std::thread::id thread_;
};

}  // namespace vsoa

struct vsoa_timer {
    std::atomic<void*> custom{nullptr};
    // Guarded by the service's lock.
    vsoa::TimerService::Queue::node_type node;  // while it is not queued; empty while it is
    int64_t when = 0;
    int64_t interval_ns = 0;
    vsoa_timer_ontime_func_t callback = nullptr;
    void* arg = nullptr;
    bool ending = false;
    bool orphan = false;  // deleted by its own callback: the thread frees it
};
