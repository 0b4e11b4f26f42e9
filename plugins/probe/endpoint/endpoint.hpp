// SPDX-License-Identifier: Apache-2.0
//
// What every probe that connects to a container's port needs: begin, see how it went, say what a failure means.
#pragma once

#include <functional>
#include <gantry/probe.hpp>
#include <map>
#include <optional>

namespace probe_endpoint {

// Begins to connect where the request says. connection: does not block; writable when it is decided, see outcome().
// Returned: how the check ends at once, if there is nothing to wait for.
std::optional<gantry::ProbeResult> begin(const gantry::ProbeRequest& request, gantry::Fd& connection);

// Whether a connection that was begun is decided: to this machine itself it is as a rule, before anything is watched.
bool decided(int connection);

// errno of a connection that was begun to there and has become writable, 0 if it stands.
int outcome(int connection, const gantry::ProbeRequest& request);

// What errno of a connection says: about the container, or (unknown) only about this host.
gantry::ProbeResult judge(int error, gantry::Duration latency = {});

// What is left of a check's time for waiting: its answer must be there before the host's own, also when the loop is
// late.
gantry::Duration patience(gantry::Duration left);

// The deadlines of many checks by one timer: as a rule a check is over long before, so that nothing is armed for it.
class Deadlines {
  public:
    // late(id) is called on the loop when a deadline has passed, which is then forgotten.
    void use(gantry::Host& host, std::function<void(std::uint64_t id)> late);
    void add(std::uint64_t id, gantry::Instant at);
    void remove(std::uint64_t id);
    void stop();

  private:
    void arm(gantry::Instant at);
    void look();

    gantry::Host* host_ = nullptr;
    std::function<void(std::uint64_t)> late_;
    std::map<std::uint64_t, gantry::Instant> all_;
    gantry::Instant armed_ = gantry::Instant::max();
    gantry::TimerId timer_ = 0;
};

}  // namespace probe_endpoint
