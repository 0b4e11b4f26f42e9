// SPDX-License-Identifier: Apache-2.0
//
// How a deployment is shown while it goes on: rewritten lines on a terminal, one line per happening in a pipe,
// documents with --json.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel/cli/session.hpp"

namespace gantry::cli {

class Progress {
  public:
    Progress(const Session& session, std::string service, std::int64_t revision);

    void event(const json::value& event);
    void state(const json::value& service);
    // Takes the rewritten lines away; what is said next stays.
    void end();
    std::string elapsed() const;

  private:
    void draw(const json::value& service);
    void print_changes(const json::value& service);

    const Session& session_;
    std::string service_;
    std::int64_t revision_;
    Clock::time_point start_ = Clock::now();
    LiveLines live_;
    std::string last_event_;
    bool event_since_state_ = false;
    std::map<std::string, std::string> shown_;  // instance -> its line, in a pipe
};

// Each instance that is not ready, and why; a few lines.
std::vector<std::string> why_not_ready(const json::value& service);

}  // namespace gantry::cli
