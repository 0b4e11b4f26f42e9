// SPDX-License-Identifier: Apache-2.0
//
// What `docker save`, `podman save` and SylixOS' `ecsc pack` write: manifest.json names configurations and layers, the
// layers are tar files with their compression taken off. There is no manifest to hash, so each image gets one; the same
// archive always gives the same digest.
// https://github.com/moby/docker-image-spec v1.2 ("Combined Image JSON + Filesystem Changeset Format")
#pragma once

#include <string>
#include <vector>

#include "kernel/cli/layout.hpp"

namespace gantry::cli {

// Every image of the archive, once for each of its names. Errors: kBadData.
Outcome<std::vector<LayoutImage>> docker_images_of(const Layout& archive, const std::string& platform);

}  // namespace gantry::cli
