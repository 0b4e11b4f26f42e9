// SPDX-License-Identifier: Apache-2.0
//
// An OCI image layout, as a folder or as a tar file (plain or compressed), and the images in it. Nothing is believed:
// digest and size of every blob are checked, documents are bounded.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

// Bytes in a file that stays open as long as the blob.
class Blob {
  public:
    Blob(std::shared_ptr<const int> file, std::int64_t offset, std::int64_t size)
        : file_(std::move(file)), offset_(offset), size_(size) {}
    std::int64_t size() const { return size_; }
    // Bytes from `at`; 0 at the end.
    Outcome<std::size_t> read(std::int64_t at, char* into, std::size_t size) const;

  private:
    std::shared_ptr<const int> file_;
    std::int64_t offset_, size_;
};

class Layout {
  public:
    // A tar file is unpacked into one unnamed temporary file. Errors: kBadData (no layout), kNotFound.
    static Outcome<Layout> open(const std::string& path);

    const std::string& path() const { return path_; }
    // A file of the layout: "index.json", "blobs/sha256/HEX". Errors: kBadData.
    Outcome<Blob> file(const std::string& name) const;
    // The blob `digest`, checked against digest and size.
    Outcome<Blob> blob(const std::string& digest, std::int64_t size) const;
    // A document of at most 4 MiB.
    Outcome<json::value> document(const std::string& name, const Blob& blob) const;

  private:
    Outcome<bool> unpack(int file);

    std::string path_;
    std::shared_ptr<const int> folder_;  // of a folder
    std::map<std::string, Blob> files_;  // of a tar file
};

struct ImagePart {
    std::string digest;
    Blob blob;
    bool is_layer = false;
    std::string diff_id{};  // of a layer: the digest of its tar, as the configuration says
};

struct LayoutImage {
    std::string name;              // the annotation org.opencontainers.image.ref.name, may be empty
    std::string digest;            // of its manifest
    std::vector<ImagePart> parts;  // layers, configuration, manifest: in the order of upload
};

// Every image of the layout with all its parts checked. platform ("linux/arm64") chooses where an image has several.
Outcome<std::vector<LayoutImage>> images_of(const Layout& layout, const std::string& platform);

}  // namespace gantry::cli
