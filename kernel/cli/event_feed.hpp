// SPDX-License-Identifier: Apache-2.0
//
// Follows the event log. When the connection breaks (gantryd is restarted) it comes back and goes on with the event
// after the last one seen.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "kernel/cli/session.hpp"
#include "kernel/cli/sse.hpp"

namespace gantry::cli {

class EventFeed {
  public:
    // Events numbered above `after`.
    EventFeed(const Session& session, std::int64_t after) : session_(session), after_(after) {}

    // The next event, or nothing if none came within `wait`. Errors: what gantryd refuses; gantryd away for 30 s.
    Outcome<std::optional<json::value>> next(milliseconds wait);

  private:
    Outcome<bool> connected(Clock::time_point deadline);
    Outcome<bool> take(const std::string& bytes);

    const Session& session_;
    std::int64_t after_;
    std::unique_ptr<Client::Stream> stream_;
    SseParser parser_;
    std::deque<json::value> waiting_;
    std::optional<Clock::time_point> away_since_;
};

// The number of the newest event, 0 if there is none.
Outcome<std::int64_t> last_event(const Session& session);

}  // namespace gantry::cli
