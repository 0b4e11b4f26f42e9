// SPDX-License-Identifier: Apache-2.0
//
// BlobStore: content by digest in an OCI image layout (DIR/oci-layout, DIR/blobs/sha256/HEX). What is under its final
// name is whole and checked; what is on its way lies beside it as HEX.part and survives a restart, so that a transfer
// goes on where it stopped.
//
// Threads: every function may be called from any thread; they block on the disk, so large ones belong to the pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
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
    // Makes the folders and removes what a killed process left: uploads, and parts that nobody went on with for a day.
    // Errors: the disk's.
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

    // Everything `manifest` refers to as far as it is known here: itself first (its size 0 if it is not here), through
    // an index to this machine's image.
    Result<std::vector<BlobRef>> contents(const std::string& manifest) const;
    // Digests of contents() that are not here.
    Result<std::vector<std::string>> missing(const std::string& manifest) const;
    // Removes what of `manifest` does not match its digest; true if anything was. Errors: the disk's.
    Result<bool> drop_damaged(const std::string& manifest);
    // Removes every blob that no one of `manifests` refers to, on its way or whole; `older_than`: only those that were
    // last written so long ago. Not uploads under way.
    void keep(const std::vector<std::string>& manifests, std::chrono::seconds older_than);
    // Removes the contents of `manifest` that no one of `others` refers to.
    void remove(const std::string& manifest, const std::vector<std::string>& others);

  private:
    Result<std::vector<BlobRef>> walk(const std::string& manifest,
                                      const std::function<Status(const std::string&)>& see) const;
    std::set<std::string> names_of(const std::vector<std::string>& manifests) const;
    std::filesystem::path path(std::string_view digest) const;
    std::filesystem::path part(std::string_view digest) const;

    std::filesystem::path dir_;
};

}  // namespace gantry::control
