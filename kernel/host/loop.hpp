// SPDX-License-Identifier: Apache-2.0
//
// Loop: the way to the loop thread for threads that may outlive it (a plugin's code that hangs keeps its thread).
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

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
        if (!closed_) boost::asio::post(io, std::forward<F>(fn));
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
    bool closed_ = false;
};

}  // namespace gantry::host
