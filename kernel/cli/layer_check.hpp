// SPDX-License-Identifier: Apache-2.0
//
// Looks through a layer before it is uploaded. The rules are those of plugins/runtime/image-store (its README lists
// them), so that what is imported can be unpacked on the nodes.
#pragma once

#include <string>

#include "kernel/cli/layout.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

// Errors: kBadData with the layer's digest and the entry.
Outcome<bool> check_layer(const ImagePart& layer);

}  // namespace gantry::cli
