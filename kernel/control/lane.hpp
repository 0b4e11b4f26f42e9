// SPDX-License-Identifier: Apache-2.0
//
// Lane: threads of our own for one kind of work that blocks, so that it waits for no other kind, and no other kind for
// it. With one thread jobs are done in the order of run(). The threads are made with the first job.
//
// Threads: the loop; `work` runs on the lane, `done` on the loop, and not at all once the lane is gone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>

#include "kernel/base/result.hpp"
#include "kernel/host/pool.hpp"

namespace gantry::control {

class Lane {
  public:
    Lane(boost::asio::io_context& io, unsigned threads);
    // Drops what waits. A job that does not end within a second keeps its thread, which is left behind.
    ~Lane();
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    // ran: an error if work threw.
    void run(std::function<void()> work, std::function<void(const Status& ran)> done);

  private:
    struct Way;  // back to the loop, shared with jobs that may outlive the lane
    std::shared_ptr<Way> way_;
    unsigned threads_;
    std::unique_ptr<host::Pool> pool_;
};

}  // namespace gantry::control
