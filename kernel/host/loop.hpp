// SPDX-License-Identifier: Apache-2.0
//
// Loop: the way to the loop thread for threads that may outlive it (a plugin's code that hangs keeps its thread).
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace gantry::host {

class Loop {
  public:
    explicit Loop(boost::asio::io_context& context) : io(context) {}
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Runs fn in a later turn; once closed, drops it. [any]
    template <class F>
    void post(F&& fn) {
        std::lock_guard lock(mutex_);
        if (closed_) return;
        if (gathering_ && io.get_executor().running_in_this_thread())
            gathered_.emplace_back(std::forward<F>(fn));
        else
            boost::asio::post(io, std::forward<F>(fn));
    }
    // Runs fn, then in order what it posts: turns that need no look at descriptors and timers before them. For who
    // reads messages in a turn and has nothing on the stack that they could pull away. [loop]
    template <class F>
    void gather(F&& fn) {
        {
            std::lock_guard lock(mutex_);
            gathering_ = true;
        }
        fn();
        std::vector<std::move_only_function<void()>> turns;
        {
            std::lock_guard lock(mutex_);
            gathering_ = false;
            turns.swap(gathered_);
        }
        for (auto& turn : turns)
            if (!io.stopped()) turn();
    }
    // Runs fn at once on the loop, in a later turn elsewhere. [any]
    template <class F>
    void dispatch(F&& fn) {
        if (io.get_executor().running_in_this_thread()) return fn();
        post(std::forward<F>(fn));
    }
    // From now on `io` may be gone. [loop]
    void close() {
        std::lock_guard lock(mutex_);
        closed_ = true;
    }

    boost::asio::io_context& io;  // used directly on the loop only

  private:
    std::mutex mutex_;
    bool closed_ = false, gathering_ = false;
    std::vector<std::move_only_function<void()>> gathered_;
};

}  // namespace gantry::host
