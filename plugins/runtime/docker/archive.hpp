// SPDX-License-Identifier: Apache-2.0
//
// Writes an image of an OCI layout as the archive that every engine loads ("docker save"): one tar of manifest.json,
// the configuration as it is, so that the engine's id of the image is the configuration's digest, and the layers'
// blobs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "plugins/runtime/image-store/layout.hpp"

namespace docker {

class Archive {
  public:
    // Reads and verifies manifest and configuration. `reference`: the name that the image gets. Throws
    // Failure(kInvalid).
    Archive(std::filesystem::path layout_dir, const std::string& manifest, const std::string& reference,
            const image_store::Cancelled& cancelled);

    // Bytes of the whole tar.
    std::uint64_t size() const { return size_; }
    // "sha256:...": the engine's id of the image.
    const std::string& id() const { return id_; }
    // Verifies the digest of every layer before its first byte goes out. Throws what `out` throws, and
    // Failure(kInvalid): a layer is damaged or missing.
    void write(const std::function<void(std::string_view)>& out) const;

  private:
    struct Entry {
        std::string name, text;              // of a document
        const image_store::LayerRef* layer;  // or a blob
        std::uint64_t bytes;
    };

    std::filesystem::path layout_dir_;
    image_store::ImageDescription image_;
    std::string id_;
    std::vector<Entry> entries_;
    std::uint64_t size_ = 0;
    image_store::Cancelled cancelled_;
};

}  // namespace docker
