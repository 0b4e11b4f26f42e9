// SPDX-License-Identifier: Apache-2.0
//
// One deadline of a core on the loop. When it comes, sockets that are readable in the same turn are drained first
// (faults.md 4): the call is queued behind everything that became ready with it.
#pragma once

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>

#include "kernel/base/time.hpp"
#include "kernel/host/host.hpp"

namespace gantry::control {

class LoopTimer {
  public:
    // fn(lag): how much later than asked the loop came to it.
    LoopTimer(boost::asio::io_context& io, std::function<void(Duration lag)> fn)
        : io_(io), timer_(io), fn_(std::move(fn)) {}

    // Calls fn at `at` or earlier: a deadline that moved away costs one needless call, not a system call per message.
    void arm(Instant at) {
        if (stopped_ || at >= armed_) return;
        armed_ = at;
        timer_.expires_after(std::max(Duration(0), at - host::boottime_now()));
        timer_.async_wait([this](boost::system::error_code error) {
            if (!error && !stopped_) later(3, std::max(Duration(0), host::boottime_now() - armed_));
        });
    }

    void stop() {
        stopped_ = true;
        timer_.cancel();
    }

  private:
    // A plugin hands a message over in two turns (its own descriptor, then the loop), so three are enough.
    void later(int turns, Duration lag) {
        boost::asio::post(io_, [this, turns, lag] {
            if (turns > 1) return later(turns - 1, lag);
            if (stopped_) return;
            armed_ = kNever;
            fn_(lag);
        });
    }

    boost::asio::io_context& io_;
    boost::asio::steady_timer timer_;
    std::function<void(Duration)> fn_;
    Instant armed_ = kNever;
    bool stopped_ = false;
};

}  // namespace gantry::control
