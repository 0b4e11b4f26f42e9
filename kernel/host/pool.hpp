// SPDX-License-Identifier: Apache-2.0
//
// The threads that run what may block. Every method may be called from every thread. Jobs are taken in order of their
// coming: one that waits for somebody else (a client's stream, a peer) holds up all behind it and belongs on a thread
// of its own.
#pragma once

#include <functional>
#include <memory>

#include "kernel/base/time.hpp"

namespace gantry::host {

class Pool {
  public:
    explicit Pool(unsigned threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    // False: limits::kWorkQueue jobs wait already. owner: the instance whose code this is.
    bool submit(std::uint64_t owner, std::function<void()> job);
    // The kernel's own jobs always find room; the kernel bounds by itself how many it has under way.
    void submit_own(std::function<void()> job);
    // Drops the waiting jobs of owner and waits for its running ones; false if one still runs after `limit`.
    bool drain(std::uint64_t owner, Duration limit);

    // Drops waiting jobs, lets running ones end and joins the threads; a job that does not return within a second
    // keeps its thread, which is then left behind. Nothing is taken any more.
    void close();

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace gantry::host
