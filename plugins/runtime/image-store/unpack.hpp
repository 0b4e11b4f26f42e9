// SPDX-License-Identifier: Apache-2.0
//
// Unpack: how a layer becomes a tree. The store takes one from its owner, so that neither it nor a daemon that loads
// it has libarchive in its memory: unpack_layer() (layer.hpp) runs in the program gantry-unpack, and in tests.
#pragma once

#include <gantry/status.hpp>
#include <string_view>

#include "plugins/runtime/image-store/layout.hpp"
#include "plugins/runtime/image-store/tree_writer.hpp"

namespace image_store {

struct UnpackJob {
    int blob;  // a verified layer, at its beginning
    int root;  // an open directory; with the lower layers in it if kFlat
    LayerRef layer;
    TreeForm form;
    bool keep_owners;     // see TreeWriter
    long long max_bytes;  // of the unpacked tar
};

// Blocks. Checks the tar against the layer's diff_id; a failure leaves a partly written tree. Throws Failure: kInvalid
// for a broken or hostile layer, kFull, kFailed, kCancelled; the text names layer and entry.
using Unpack = std::function<void(const UnpackJob&, const Cancelled&)>;

// What gantry-unpack and who runs it agree on. Both are of one build; nothing else may run it.
//
//     gantry-unpack overlay|flat keep|drop MAX_BYTES DIGEST DIFF_ID SIZE
//
// It ends at once when descriptor kUnpackLife does, and says at the end kUnpackDone or what failed on its stderr.
inline constexpr int kUnpackLife = 0, kUnpackBlob = 3, kUnpackRoot = 4;
inline constexpr std::string_view kUnpackDone = "unpacked";

inline constexpr std::pair<gantry::Code, int> kUnpackStatus[] = {{gantry::Code::kOk, 0},
                                                                 {gantry::Code::kInvalid, 10},
                                                                 {gantry::Code::kFull, 11},
                                                                 {gantry::Code::kFailed, 12},
                                                                 {gantry::Code::kCancelled, 13}};

}  // namespace image_store
