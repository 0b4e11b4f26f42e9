// SPDX-License-Identifier: Apache-2.0
//
// Timeline: what happens in a world, in order of true time; what is due at the same instant happens in the order in
// which it was asked for. Clock: what a machine of the world takes for the time.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "kernel/base/time.hpp"

namespace gantry::sim {

class Timeline {
  public:
    Instant now() const { return now_; }
    template <class F>
    void at(Instant when, F&& fn) {
        if (when == kNever) return;
        events_.push_back({std::max(when, now_), ++order_, std::forward<F>(fn)});
        std::push_heap(events_.begin(), events_.end(), later);
    }
    template <class F>
    void in(Duration delay, F&& fn) {
        at(now_ + delay, std::forward<F>(fn));
    }
    // Does the next thing that is due by `until`; false if there is none, and it is `until` then.
    bool step(Instant until) {
        if (events_.empty() || events_.front().at > until) {
            now_ = std::max(now_, until);
            return false;
        }
        std::pop_heap(events_.begin(), events_.end(), later);
        const auto fn = std::move(events_.back().fn);
        now_ = events_.back().at;
        events_.pop_back();
        fn();
        return true;
    }

  private:
    struct Event {
        Instant at;
        std::uint64_t order = 0;
        std::function<void()> fn;
    };
    static bool later(const Event& a, const Event& b) { return a.at != b.at ? a.at > b.at : a.order > b.order; }

    Instant now_{};
    std::uint64_t order_ = 0;
    std::vector<Event> events_;
};

// Runs from the boot of its machine, `ppm` millionths too fast, and may jump.
class Clock {
  public:
    void boot(Instant truth, Duration reads) {
        since_ = truth;
        reads_ = {reads.count()};
    }
    void drift(Instant truth, int ppm) {
        reads_ = local(truth);
        since_ = truth;
        ppm_ = ppm;
    }
    void jump(Duration by) { reads_ = reads_ + by; }
    Instant local(Instant truth) const {
        const std::int64_t passed = (truth - since_).count();
        return {reads_.ns + passed + passed / kMillion * ppm_ + passed % kMillion * ppm_ / kMillion};
    }
    // The first true instant at which the clock shows `local`.
    Instant truth(Instant shown) const {
        if (shown == kNever) return kNever;
        const std::int64_t wait = (shown - reads_).count();
        if (wait <= 0) return since_;
        const std::int64_t rate = kMillion + ppm_;
        Instant at = since_ + Duration(wait / rate * kMillion + wait % rate * kMillion / rate);
        while (local(at) < shown) at = at + Duration(1);
        return at;
    }

  private:
    static constexpr std::int64_t kMillion = 1'000'000;
    Instant since_{}, reads_{};
    int ppm_ = 0;
};

}  // namespace gantry::sim
