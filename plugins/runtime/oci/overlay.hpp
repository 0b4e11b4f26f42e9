// SPDX-License-Identifier: Apache-2.0
//
// A container's root: the layers of its image below, a folder of its own on top.
#pragma once

#include <filesystem>
#include <vector>

namespace oci {

// Mounts it at <dir>/rootfs; changes go to <dir>/upper. Throws Failure(kFailed) with the kernel's reason.
void mount_root(const std::filesystem::path& dir, const std::vector<std::filesystem::path>& layers);

// Undoes it; fine if it is not mounted (any more). Throws Failure(kFailed).
void unmount_root(const std::filesystem::path& dir);

}  // namespace oci
