// SPDX-License-Identifier: Apache-2.0
//
// BlobStore: content by digest in an OCI image layout (DIR/oci-layout, DIR/blobs/sha256/HEX). What is under its final
// name is whole and checked; what is on its way lies beside it as HEX.part and survives a restart, so that a transfer
// goes on where it stopped.
//
// Threads: every function may be called from any thread; they block on the disk, so large ones belong to the pool.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/base/result.hpp"

namespace gantry::control {

// "sha256:" and 64 hexadecimal digits in lower case.
Status check_digest(std::string_view digest);

struct BlobRef {
    std::string digest;
    std::uint64_t size = 0;
};

// What a manifest or an image index refers to: configuration and layers, or the manifests for this machine's system.
struct ManifestRefs {
    bool is_index = false;
    std::vector<BlobRef> refs;
};
Result<ManifestRefs> parse_manifest(std::string_view text, std::string_view architecture);

// GOARCH's name of the architecture this program was built for: "amd64", "arm64".
std::string_view own_architecture();

class BlobStore {
  public:
    explicit BlobStore(std::filesystem::path dir);
    // Makes the folders. Errors: the disk's.
    Status open();

    const std::filesystem::path& dir() const { return dir_; }
    bool has(const std::string& digest) const;
    Result<std::uint64_t> size(const std::string& digest) const;
    // At most `length` bytes from `offset`; fewer only at the end.
    Result<std::string> read(const std::string& digest, std::uint64_t offset, std::size_t length) const;
    // A whole small blob (a manifest, a configuration), at most 4 MiB.
    Result<std::string> read_all(const std::string& digest) const;

    // Bytes already there of a blob on its way.
    std::uint64_t partial_size(const std::string& digest) const;
    // Appends to it; offset must be what is already there. Errors: kConflict (offset), kFull (disk).
    Status append(const std::string& digest, std::uint64_t offset, std::string_view bytes);
    // Checks the digest and gives it its name, durably. A wrong one is dropped: kInvalid with both digests.
    Status finish(const std::string& digest);

    // Takes everything that fd gives until its end (blocking) as `digest`. Errors: as append and finish.
    Status take(const std::string& digest, int fd);
    // Writes the blob to fd (blocking).
    Status give(const std::string& digest, int fd) const;

    // Digests of everything `manifest` refers to that is not here, itself included.
    Result<std::vector<std::string>> missing(const std::string& manifest) const;

  private:
    std::filesystem::path path(std::string_view digest) const;
    std::filesystem::path part(std::string_view digest) const;

    std::filesystem::path dir_;
};

}  // namespace gantry::control
