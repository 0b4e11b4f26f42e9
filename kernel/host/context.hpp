// SPDX-License-Identifier: Apache-2.0
//
// Context: what stands behind the number that an instance calls its host by. A number is never used twice; once the
// instance is stopped it leads nowhere and every service answers GANTRY_STALE.
#pragma once

#include <gantry/abi/host.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "kernel/crash/crumb.hpp"
#include "kernel/host/core.hpp"

namespace gantry::host {

inline constexpr Duration kSlowCall = milliseconds(5);       // on the loop: counted
inline constexpr Duration kVerySlowCall = milliseconds(50);  // logged

class Context : public std::enable_shared_from_this<Context> {
  public:
    // name: "placement.least-loaded"; digest: of its file.
    static std::shared_ptr<Context> make(std::shared_ptr<Core> core, std::string name, std::string_view digest = {});
    // The living context of that number, or nullptr. [any]
    static std::shared_ptr<Context> find(std::uint64_t handle);
    ~Context();

    // Ends it: the number leads nowhere, timers and watches are gone, its operations end as unknown. [loop]
    void end(const std::string& why);
    bool alive() const { return alive_.load(std::memory_order_acquire); }

    // Calls into the plugin on the loop, with the clock running.
    template <class F>
    auto timed(const char* slot, F&& call) {
        const Stopwatch watch(*this, slot);
        return call();
    }

    // clock/1 and io/1. [any]
    gantry_status add_timer(Duration delay, Duration period, gantry_timer_fn fn, void* arg, std::uint64_t& id);
    gantry_status cancel_timer(std::uint64_t id);
    gantry_status add_watch(int fd, std::uint32_t events, gantry_io_fn fn, void* arg, std::uint64_t& id);
    gantry_status change_watch(std::uint64_t id, std::uint32_t events);
    gantry_status end_watch(std::uint64_t id);
    gantry_status work(gantry_work_fn fn, void* arg);
    void post(const char* slot, std::function<void()> call);

    // Adds to the log of events, on the loop. GANTRY_FULL: limits::kPluginEvents wait already. [any]
    gantry_status event(std::string kind, std::string text, json::object fields);

    // control/1: the tree's number of each watch of events.
    std::mutex control_mutex;
    std::map<std::uint64_t, std::uint64_t> control_watches;
    std::uint64_t last_control_watch = 0;

    void log(LogLevel level, std::string_view text) { core->log(level, name, text); }

    const std::shared_ptr<Core> core;
    const std::string name;
    const crash::Subject subject;  // the same for a dying process
    const std::uint64_t handle;
    const std::shared_ptr<std::atomic<std::uint64_t>> pending;  // operations
    std::atomic<std::uint64_t> calls{0}, slow_calls{0};
    // Who gets what the instance reports: its adapter, on the loop.
    std::atomic<void*> sink_target{nullptr};
    std::mutex metrics_mutex;
    std::map<std::string, double> metrics;

  private:
    struct Timer;
    struct Watch;
    class Stopwatch {
      public:
        Stopwatch(Context& context, const char* slot)
            : context_(context), slot_(slot), begin_(boottime_now()), crumbs_(context.subject, slot) {}
        ~Stopwatch() { context_.count(slot_, boottime_now() - begin_); }
        Stopwatch(const Stopwatch&) = delete;
        Stopwatch& operator=(const Stopwatch&) = delete;

      private:
        Context& context_;
        const char* slot_;
        Instant begin_;
        crash::Crumbs crumbs_;
    };

    Context(std::shared_ptr<Core> with, std::string called, std::string_view digest, std::uint64_t number);
    void count(const char* slot, Duration took);
    void arm(const std::shared_ptr<Timer>& timer, std::uint64_t id);
    void fire(std::uint64_t id);
    void wait(const std::shared_ptr<Watch>& watch, std::uint64_t id);
    void ready(std::uint64_t id, std::uint32_t event);
    std::shared_ptr<Watch> watch_of(std::uint64_t id);

    std::atomic<bool> alive_{true};
    std::atomic<std::size_t> events_waiting_{0};
    std::mutex mutex_;
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, std::shared_ptr<Timer>> timers_;
    std::map<std::uint64_t, std::shared_ptr<Watch>> watches_;
};

// The table of a host service by its id, or nullptr.
const void* service_table(std::string_view id);
const gantry_host_control* control_table();

}  // namespace gantry::host
