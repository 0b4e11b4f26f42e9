// SPDX-License-Identifier: Apache-2.0
//
// Looks through a layer before it is uploaded: every entry must stay inside the image's root, and the layer must be
// whole.
#pragma once

#include <string>

#include "kernel/cli/layout.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

// Errors: kBadData with the layer's digest and the entry. Refused are: absolute names, ".." above the root, hard links
// that leave it, entries below a symbolic link of the layer that leaves it, whiteouts of "." and "..", truncation.
Outcome<bool> check_layer(const ImagePart& layer);

}  // namespace gantry::cli
