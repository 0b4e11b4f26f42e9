// SPDX-License-Identifier: Apache-2.0
//
// An image archive, as a folder or as a tar file (plain or compressed), and the images in it: an OCI image layout, or
// what `docker save` writes (docker_archive.hpp). Nothing is believed: digest and size of every blob are checked,
// documents are bounded, names that climb out are refused.
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
    // A tar file is unpacked into one unnamed temporary file. Errors: kBadData (neither), kNotFound.
    static Outcome<Layout> open(const std::string& path);

    const std::string& path() const { return path_; }
    // A file of it: "index.json", "blobs/sha256/HEX"; links within a tar file are followed. Errors: kBadData.
    Outcome<Blob> file(const std::string& name) const;
    // The blob `digest`, checked against digest and size.
    Outcome<Blob> blob(const std::string& digest, std::int64_t size) const;
    // A document of at most 4 MiB: an object, or any JSON.
    Outcome<json::value> document(const std::string& name, const Blob& blob) const;
    Outcome<json::value> any_document(const std::string& name, const Blob& blob) const;

  private:
    Outcome<bool> unpack(int file);

    std::string path_;
    std::shared_ptr<const int> folder_;         // of a folder
    std::map<std::string, Blob> files_;         // of a tar file
    std::map<std::string, std::string> links_;  // of a tar file: another name in it
};

// "sha256:..." of everything in it.
Outcome<std::string> digest_of(const Blob& blob);

struct ImagePart {
    std::string digest;
    Blob blob;
    bool is_layer = false;
    std::string diff_id{};  // of a layer: the digest of its tar, as the configuration says
};

struct LayoutImage {
    std::string name;                     // as the archive has it, may be empty or a bare tag
    std::string digest;                   // of its manifest
    std::vector<ImagePart> parts;         // layers, configuration, manifest: in the order of upload
    std::vector<std::string> warnings{};  // what was forgiven
};

// Every image of the archive with all its parts checked. platform ("linux/arm64") chooses where an image has several.
Outcome<std::vector<LayoutImage>> images_of(const Layout& layout, const std::string& platform);

// Looks through the configuration of `image`, whose layers are its only parts yet, and gives them their diff_ids.
Outcome<bool> take_configuration(const json::value& config, const std::string& digest, const std::string& path,
                                 LayoutImage& image);

}  // namespace gantry::cli
