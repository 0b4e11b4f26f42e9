// SPDX-License-Identifier: Apache-2.0
//
// Runs the command of a drill (docs/drill.md): in a session of its own, so that it outlives gantryd, which may be what
// it ends. Belongs to one loop and is used on its thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/base/time.hpp"

namespace gantry::control {

class Drill {
  public:
    explicit Drill(boost::asio::io_context& io) : timer_(io) {}

    // The command finds GANTRY_DRILL_KIND, GANTRY_DRILL_SECONDS and GANTRY_DRILL_PID (gantryd's) in its environment.
    // done: once, when it has ended, if it cannot be started at once. Errors: kConflict (the last one has not ended
    // yet), kFailed. Nothing is said of one that is still there when this object goes.
    void run(const std::string& kind, const std::vector<std::string>& command, Duration duration,
             std::function<void(Status)> done);

  private:
    void watch();

    boost::asio::steady_timer timer_;
    int pid_ = 0;
    std::string program_;
    std::function<void(Status)> done_;
};

}  // namespace gantry::control
