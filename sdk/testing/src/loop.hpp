// SPDX-License-Identifier: Apache-2.0
//
// Loop: what the instances of one FakeHost share: clock, timers, descriptors, jobs, operations, records.
#pragma once

#include <gantry/abi/host.h>

#include <condition_variable>
#include <deque>
#include <gantry/testing/fake_host.hpp>
#include <gantry/testing/monitor.hpp>
#include <mutex>
#include <optional>
#include <thread>

namespace gantry::testing {

class Loop {
  public:
    Loop(FakeHost& host, const Options& options);
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // The loop of a living instance; nullptr: stale.
    static Loop* of(std::uint64_t handle);
    std::uint64_t add_instance();
    // From now on everything this instance asks for is stale; waits a second for its running jobs: false if one runs
    // on.
    bool end_instance(std::uint64_t handle);
    static bool alive(std::uint64_t handle) { return of(handle) != nullptr; }

    Instant now() const;
    bool turn(Duration wait);
    void advance(Duration by);
    bool run_until(const std::function<bool()>& condition, Duration limit);

    // [any]
    void post(std::uint64_t handle, std::function<void()> fn);
    gantry_status work(std::uint64_t handle, gantry_work_fn fn, void* arg);
    std::uint64_t add_timer(std::uint64_t handle, Duration delay, Duration period, gantry_timer_fn fn, void* arg);
    gantry_status cancel_timer(std::uint64_t timer);
    // Watches a duplicate of fd, as the real host does: the plugin may close its own.
    gantry_status add_watch(std::uint64_t handle, int fd, std::uint32_t events, gantry_io_fn fn, void* arg,
                            std::uint64_t& id);
    gantry_status change_watch(std::uint64_t watch, std::uint32_t events);
    gantry_status end_watch(std::uint64_t watch);
    void random(void* bytes, std::size_t len);
    // Sockets outlive the instance that kept them: the next one of the same test inherits them. [any]
    gantry_status keep(int fd);
    void drop_kept();
    gantry_status inherit(const std::string& address, std::int32_t& fd);

    struct Operation {
        std::uint64_t handle = 0;
        Instant deadline{};
        bool cancelled = false;
        std::function<void(const void*)> decode;
        std::function<void(Code, std::string)> ended;
    };
    std::uint64_t add_operation(Operation operation);
    void drop_operation(std::uint64_t id);
    void cancel_operation(std::uint64_t id);
    gantry_status complete(std::uint64_t handle, std::uint64_t id, gantry_status status, std::string text,
                           const void* result);
    bool operation_over(std::uint64_t handle, std::uint64_t id) const;

    struct Watcher {
        std::uint64_t handle, after;
        gantry_control_event_fn fn;
        void* arg;
    };
    std::uint64_t add_watcher(Watcher watcher);
    gantry_status end_watcher(std::uint64_t id);
    void emit(std::uint64_t number, const std::string& document);

    FakeHost& host() { return host_; }
    std::uint64_t next_number();
    // Who receives what an instance reports (its driver); used on the loop.
    std::map<std::uint64_t, void*> targets;

    mutable std::mutex mutex;  // of everything below, and of the records
    std::vector<LogLine> logs;
    std::vector<EventLine> events;
    std::map<std::string, double> metrics;
    std::map<std::string, Fd> kept;  // by address

  private:
    struct Timer {
        std::uint64_t handle;
        Instant due;
        Duration period;
        gantry_timer_fn fn;
        void* arg;
    };
    struct Watch {
        std::uint64_t handle;
        int fd;
        std::shared_ptr<Fd> duplicate;
        std::uint32_t events;
        gantry_io_fn fn;
        void* arg;
    };
    struct Job {
        std::uint64_t handle;
        gantry_work_fn fn;
        void* arg;
    };

    bool run_posted();
    bool run_timers();
    bool run_descriptors(Duration wait);
    bool tell_ready(std::uint64_t watch, std::uint32_t event);
    bool run_job();
    void expire_operations();
    std::optional<Instant> next_due() const;
    void wake();
    void work_loop();

    FakeHost& host_;
    const Options options_;
    int wake_fd_ = -1;
    Instant virtual_now_{};
    std::uint64_t numbers_ = 0, random_state_;
    std::deque<std::pair<std::uint64_t, std::function<void()>>> posted_;
    std::map<std::uint64_t, Timer> timers_;
    std::map<std::uint64_t, Watch> watches_;
    std::map<std::uint64_t, Operation> operations_;
    std::map<std::uint64_t, Watcher> watchers_;
    std::deque<Job> jobs_;
    std::multimap<std::uint64_t, int> running_jobs_;  // by instance
    std::condition_variable job_ready_, job_done_;
    bool closing_ = false;
    std::vector<std::thread> threads_;
};

// What the process's monitor says to a call of a plugin; GANTRY_OK without one.
gantry_status tell_monitor(std::uint64_t handle, const char* service, const char* slot, std::uint64_t op = 0) noexcept;

// While it lives, the host is inside a [loop] slot of a plugin.
class InSlot {
  public:
    explicit InSlot(const char* slot) noexcept;
    ~InSlot();
    InSlot(const InSlot&) = delete;
    InSlot& operator=(const InSlot&) = delete;

  private:
    Monitor* const monitor_;
    const char* const slot_;
};

// The table of a host service, or nullptr.
const void* service_table(std::string_view id);
const gantry_host_control* control_table();

}  // namespace gantry::testing
