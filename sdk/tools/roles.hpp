// SPDX-License-Identifier: Apache-2.0
//
// The roles that this SDK knows, from the headers of the authors' layer.
#pragma once

#include <span>
#include <string_view>

namespace gantry::tools {

struct Role {
    std::string_view folder;   // "placement", "store": in file names, configuration files and on the command line
    std::string_view spelled;  // as plugin.toml spells it: "placement/1", "draft.store"
};

std::span<const Role> roles();

}  // namespace gantry::tools
