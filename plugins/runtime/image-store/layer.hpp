// SPDX-License-Identifier: Apache-2.0
//
// Unpacks one verified layer blob (tar, plain or compressed with gzip or zstd) through a TreeWriter.
#pragma once

#include "plugins/runtime/image-store/layout.hpp"
#include "plugins/runtime/image-store/tree_writer.hpp"

namespace image_store {

// blob: at its beginning. max_bytes: of the unpacked tar. Checks the tar against the layer's diff_id; a failure leaves
// a partly written tree. Throws Failure: kInvalid for a broken or hostile layer, kFull, kFailed, kCancelled.
void unpack_layer(int blob, const LayerRef& layer, TreeWriter& tree, long long max_bytes, const Cancelled& cancelled);

}  // namespace image_store
