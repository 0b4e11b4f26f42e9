// SPDX-License-Identifier: Apache-2.0
//
// The settings of a SylixOS image, which its packer `ecsc` flattens into labels: "hostname",
// "mounts.N.destination|source|options", "sylixos.commands.N", "sylixos.devices.N.path|access",
// "sylixos.resources.A.B", "sylixos.network.X". They travel as they are, in the image's configuration; here they are
// looked through, because the packer (0.2.4) is known to write some of them wrong.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "kernel/base/json.hpp"

namespace gantry::cli {

// What is odd in the labels of an image's configuration, for people: nothing for an image of another system. An error
// where no reading is safe: a path that climbs out.
std::expected<std::vector<std::string>, std::string> check_ecs_labels(const json::value& config);

}  // namespace gantry::cli
