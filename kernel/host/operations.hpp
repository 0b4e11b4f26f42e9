// SPDX-License-Identifier: Apache-2.0
//
// Operations: what the kernel asked of plugins and waits to hear the end of. The host owns each: pending, then done,
// failed or unknown; the first transition wins, a later one is stale. The end is told in a later turn of the loop.
#pragma once

#include <gantry/abi/base.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "kernel/base/time.hpp"
#include "kernel/host/boot_clock.hpp"
#include "kernel/host/loop.hpp"

namespace gantry::host {

inline constexpr Duration kCancelGrace = seconds(1);

class Operations {
  public:
    explicit Operations(Loop& loop);
    ~Operations();
    Operations(const Operations&) = delete;
    Operations& operator=(const Operations&) = delete;

    struct Call {
        std::uint64_t handle = 0;  // of the instance that is asked
        Instant deadline = kNever;
        std::function<void(const void*)> decode;  // copies the result, on the completing thread
        std::function<void(gantry_status, std::string text)> ended;
        std::shared_ptr<std::atomic<std::uint64_t>> pending;  // the instance's count
        // Tells the end where it comes to pass, if that is the loop: for who only passes it on and calls nothing here.
        bool at_once = false;
    };

    // Registers a call; its id goes to the slot. [loop]
    std::uint64_t begin(Call call);
    // The slot refused it: nothing else will come. [loop]
    void refused(std::uint64_t id, gantry_status status);
    // Nobody waits for it any more: the plugin has kCancelGrace (or until its deadline) to end it. [loop]
    void cancel(std::uint64_t id);
    // Calls wish once when it is cancelled, unless it has ended. [loop]
    void on_cancel(std::uint64_t id, std::function<void()> wish);
    // No deadline is watched any more. [loop]
    void close() { timer_.reset(); }
    // Everything asked of this instance ends as unknown. [loop]
    void abandon(std::uint64_t handle, const std::string& why);

    // ops/1. [any]
    gantry_status complete(std::uint64_t handle, std::uint64_t id, gantry_status status, std::string text,
                           const void* result);
    bool over(std::uint64_t handle, std::uint64_t id) const;

  private:
    struct Entry {
        Call call;
        bool cancelled = false;
        std::function<void()> wish{};
    };

    void deliver(Call call, gantry_status status, std::string text);
    void arm();
    void expire();

    Loop& loop_;
    mutable std::mutex mutex_;
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, Entry> entries_;
    std::set<std::pair<Instant, std::uint64_t>> deadlines_;
    // The timer's handler may outlive this object in the loop's queue.
    std::shared_ptr<Operations*> alive_;
    std::optional<BootTimer> timer_;
    Instant armed_ = kNever;
};

}  // namespace gantry::host
