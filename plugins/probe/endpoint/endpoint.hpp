// SPDX-License-Identifier: Apache-2.0
//
// What every probe that connects to a container's port needs: begin, see how it went, say what a failure means.
#pragma once

#include <gantry/probe.hpp>
#include <optional>

namespace probe_endpoint {

// Begins to connect where the request says. connection: does not block; writable when it is decided, see outcome().
// Returned: how the check ends at once, if there is nothing to wait for.
std::optional<gantry::ProbeResult> begin(const gantry::ProbeRequest& request, gantry::Fd& connection);

// errno of a connection that was begun and has become writable, 0 if it stands.
int outcome(int connection);

// What errno of a connection says: about the container, or (unknown) only about this host.
gantry::ProbeResult judge(int error, gantry::Duration latency = {});

// What is left of a check's time for waiting: its answer must be there before the host's own, also when the loop is
// late.
gantry::Duration patience(gantry::Duration left);

}  // namespace probe_endpoint
