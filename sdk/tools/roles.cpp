// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/roles.hpp"

#include <gantry/directory.hpp>
#include <gantry/discovery.hpp>
#include <gantry/frontend.hpp>
#include <gantry/placement.hpp>
#include <gantry/probe.hpp>
#include <gantry/runtime.hpp>
#include <gantry/store.hpp>
#include <gantry/transport.hpp>

namespace gantry::tools {

std::span<const Role> roles() {
    static constexpr Role kRoles[] = {{"discovery", Discovery::kRole}, {"placement", PlacementPolicy::kRole},
                                      {"runtime", Runtime::kRole},     {"probe", Probe::kRole},
                                      {"transport", Transport::kRole}, {"directory", Directory::kRole},
                                      {"store", Store::kRole},         {"frontend", Frontend::kRole}};
    return kRoles;
}

}  // namespace gantry::tools
