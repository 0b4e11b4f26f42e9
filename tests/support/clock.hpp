// SPDX-License-Identifier: Apache-2.0
//
// Clock: what instruments of the tests wait on. The virtual one moves only when a test moves it, and runs what is due
// in order of time, then of request; tests/support/asio_clock.hpp follows the machine's.
#pragma once

#include <functional>
#include <map>

#include "kernel/base/time.hpp"

namespace gantry::test {

class Clock {
  public:
    virtual ~Clock() = default;
    virtual Instant now() const = 0;
    // Runs fn once, in a later turn even if delay is zero.
    virtual void after(Duration delay, std::function<void()> fn) = 0;
};

class VirtualClock final : public Clock {
  public:
    Instant now() const override { return now_; }
    void after(Duration delay, std::function<void()> fn) override {
        due_.emplace(now_ + std::max(delay, Duration::zero()), std::move(fn));
    }

    // Moves to the next thing that is due and runs it. False: nothing is left before `until`.
    bool step(Instant until = kNever) {
        if (due_.empty() || due_.begin()->first > until) return false;
        now_ = std::max(now_, due_.begin()->first);
        const auto fn = std::move(due_.begin()->second);
        due_.erase(due_.begin());
        fn();
        return true;
    }
    void advance(Duration by) {
        const Instant until = now_ + by;
        while (step(until)) {
        }
        now_ = until;
    }
    // False if the condition does not hold within `limit`.
    bool run_until(const std::function<bool()>& condition, Duration limit) {
        const Instant until = now_ + limit;
        while (!condition()) {
            if (!step(until)) return false;
        }
        return true;
    }

  private:
    Instant now_{3'600'000'000'000};  // a machine that is up for an hour
    std::multimap<Instant, std::function<void()>> due_;
};

}  // namespace gantry::test
