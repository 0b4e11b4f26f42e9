// SPDX-License-Identifier: Apache-2.0
//
// Store: images unpacked on this node's disk.
//
//     <dir>/layers/sha256/<diff id>/   one directory per layer (form kOverlay), shared by images
//     <dir>/roots/sha256/<manifest>/   all layers of an image in one directory (form kFlat)
//     <dir>/images/<manifest>.json     an image that is complete: written after everything it needs
//     <dir>/tmp/                       what is being unpacked; renamed when whole and on disk
//
// Owner of <dir>: one Store at a time. Every method may be called from every thread; two calls that need the same
// layer share the work. Errors are thrown as gantry::Failure.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plugins/runtime/image-store/layout.hpp"
#include "plugins/runtime/image-store/unpack.hpp"

namespace image_store {

struct StoreOptions {
    std::filesystem::path dir;  // made if absent
    TreeForm form = TreeForm::kOverlay;
    bool keep_owners = true;                 // see TreeWriter
    long long max_layer_bytes = 16LL << 30;  // unpacked
    Unpack unpack = {};                      // must be given
};

struct Image {
    std::string digest;                         // of the manifest (or index) it was asked by
    std::vector<std::filesystem::path> layers;  // lowest first; kFlat: the one root
    ImageConfig config;
};

class Store {
  public:
    explicit Store(StoreOptions options);

    // Verifies and unpacks what is missing. Blocks; `cancelled` is asked meanwhile. Nothing half-unpacked stays or is
    // ever given out. kInvalid: broken or hostile, with the layer's digest and the entry, or a blob of the layout that
    // is damaged or missing ("damaged", with its digest: fetching it again helps); kFull; kCancelled; kFailed.
    Image ensure(const std::string& manifest, const std::filesystem::path& layout_dir, const Cancelled& cancelled = {});

    // A complete image. Never waits for the disk, like images().
    std::optional<Image> find(const std::string& manifest) const;
    std::vector<std::string> images() const;

    // Forgets an image and deletes the layers that no other image needs. An absent one is fine. Blocks.
    void remove(const std::string& manifest);

    // Deletes what an earlier run left half-done. Blocks; call it once, off the loop.
    void sweep();

  private:
    Image image_of(const std::string& manifest, const ImageDescription& description) const;
    std::filesystem::path layer_dir(const Digest& diff_id) const;
    std::filesystem::path root_dir(const std::string& manifest) const;
    std::filesystem::path record_path(const std::string& manifest) const;
    void load();
    // Makes `target` by make(directory) unless it is there; one caller works, the others wait for him.
    template <class Make>
    void once(const std::filesystem::path& target, const Cancelled& cancelled, Make&& make);
    template <class Make>
    void build(const std::filesystem::path& target, Make&& make);
    void write_record(const std::string& manifest, const ImageDescription& description);
    std::filesystem::path temporary();

    const StoreOptions options_;
    std::vector<std::filesystem::path> left_over_;
    // find() and images() are asked on the loop: they take only the table's lock, which nobody holds while he touches
    // the disk. Taken after the other one.
    mutable std::mutex table_mutex_;
    std::map<std::string, ImageDescription> images_;  // written with both locks held
    std::mutex mutex_;                                // guards the folders and what follows
    std::condition_variable changed_;
    std::set<std::filesystem::path> in_work_;
    std::multiset<std::filesystem::path> pinned_;  // needed by an ensure() under way
    std::uint64_t next_temporary_ = 0;
};

}  // namespace image_store
