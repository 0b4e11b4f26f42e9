// SPDX-License-Identifier: Apache-2.0
//
// Unpacks a layer in a process of its own.
#pragma once

#include <string>

#include "plugins/runtime/image-store/unpack.hpp"

namespace monitored {

// An image_store::Unpack by gantry-unpack at the absolute path `program`: the same kinds of failure and the same texts.
// The child ends with this process, and when the call does. kFailed beyond those: the program is missing, died by a
// signal (which is named) or did not say that it is done. Threads: any.
void unpack_by(const std::string& program, const image_store::UnpackJob& job, const image_store::Cancelled& cancelled);

}  // namespace monitored
