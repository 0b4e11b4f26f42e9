// SPDX-License-Identifier: Apache-2.0
//
// Where the cgroup of a container is, as a folder that gantry-guard can freeze and kill.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "kernel/base/result.hpp"

namespace gantry::control {

// The cgroup of this process: in the cgroup2 tree, also a hybrid host's, or else in v1's freezer. Errors: kNotFound (no
// such process), kUnsupported (it is in no group of its own there).
Result<std::filesystem::path> cgroup_of(pid_t pid);

// The same from the texts of /proc/PID/cgroup and /proc/self/mountinfo, without a look at the folder: empty if none.
std::filesystem::path unified_folder(std::string_view groups, std::string_view mounts);
std::filesystem::path freezer_folder(std::string_view groups, std::string_view mounts);

}  // namespace gantry::control
