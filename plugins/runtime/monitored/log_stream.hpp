// SPDX-License-Identifier: Apache-2.0
//
// LogStream: sends a container's log to a descriptor without ever blocking the loop.
#pragma once

#include <gantry/runtime.hpp>

#include "plugins/runtime/monitored/log_file.hpp"

namespace monitored {

// All methods: [loop]. Ends its operation exactly once; then finished() is true and it may be destroyed.
class LogStream {
  public:
    // log: already at the position to begin with.
    LogStream(gantry::Host& host, gantry::Operation<> op, gantry::Fd out, LogFile log, bool follow);
    ~LogStream();
    LogStream(const LogStream&) = delete;
    LogStream& operator=(const LogStream&) = delete;

    // The log may have grown.
    void poke();
    // The container is removed: sends the rest and ends.
    void last();
    bool finished() const { return finished_; }

  private:
    void pump();
    bool flush();  // false: the reader takes no more at the moment, or none at all
    void finish();

    gantry::Host& host_;
    gantry::Operation<> op_;
    gantry::Fd out_;
    LogFile log_;
    bool follow_;
    bool finished_ = false;
    bool blocked_ = false;
    std::string pending_;
    gantry::WatchId watch_ = 0;
    gantry::TimerId look_ = 0, turn_ = 0;
};

}  // namespace monitored
