// SPDX-License-Identifier: Apache-2.0
//
// `gantry volume ls` and `rm`: named volumes of the node on which they are asked.
#pragma once

#include "kernel/cli/session.hpp"

namespace gantry::cli {

Outcome<int> volumes(const Session& session);
Outcome<int> volume_remove(const Session& session, const std::string& name);

}  // namespace gantry::cli
