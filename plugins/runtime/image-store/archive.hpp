// SPDX-License-Identifier: Apache-2.0
//
// Writes an image of an OCI layout as the archive that every engine loads ("docker save"): one tar of manifest.json,
// the configuration as it is, so that an engine's id of the image is the configuration's digest, and the layers' blobs.
// Older readers, and SylixOS' ecs, look for `repositories` and for VERSION and json beside each layer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "plugins/runtime/image-store/layout.hpp"

namespace image_store {

class Archive {
  public:
    // Reads and verifies manifest and configuration. reference: NAME:TAG, the name that the image gets. Throws
    // Failure(kInvalid).
    Archive(std::filesystem::path layout_dir, const std::string& manifest, const std::string& reference,
            const Platform& platform, const Cancelled& cancelled);

    // Bytes of the whole tar.
    std::uint64_t size() const { return size_; }
    // "sha256:...": an engine's id of the image.
    const std::string& id() const { return image_.config_digest; }
    // The configuration's document, and what it says.
    const std::string& config() const { return config_; }
    const ImageDescription& image() const { return image_; }
    // Verifies the digest of every layer before its first byte goes out. Throws what `out` throws, and
    // Failure(kInvalid): a layer is damaged or missing.
    void write(const std::function<void(std::string_view)>& out) const;

  private:
    struct Entry {
        std::string name, text;  // of a document
        const LayerRef* layer;   // or a blob
        std::uint64_t bytes;
    };

    std::filesystem::path layout_dir_;
    ImageDescription image_;
    std::string config_;
    std::vector<Entry> entries_;
    std::uint64_t size_ = 0;
    Cancelled cancelled_;
};

}  // namespace image_store
