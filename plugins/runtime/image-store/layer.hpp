// SPDX-License-Identifier: Apache-2.0
//
// Unpacks one verified layer blob (tar, plain or compressed with gzip or zstd) through a TreeWriter.
#pragma once

#include "plugins/runtime/image-store/unpack.hpp"

namespace image_store {

// An Unpack that does it in this process.
void unpack_layer(const UnpackJob& job, const Cancelled& cancelled);

}  // namespace image_store
