// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/layer_check.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "kernel/base/units.hpp"
#include "kernel/cli/digest.hpp"

namespace gantry::cli {

namespace {

constexpr std::int64_t kMaxLayer = std::int64_t{16} << 30;  // bytes unpacked: what nodes take by default
constexpr std::size_t kMaxEntries = 500'000;
constexpr std::size_t kMaxDepth = 128, kMaxPath = 4096, kMaxName = 255;
constexpr std::size_t kMaxAttributes = 64 << 10;
constexpr std::size_t kPiece = 256 << 10, kTarBlock = 512;

using Reader = std::unique_ptr<archive, int (*)(archive*)>;
Reader new_reader() { return {archive_read_new(), archive_read_free}; }

// The tar inside a blob: the compression taken off, counted and hashed.
class TarStream {
  public:
    explicit TarStream(const Blob& blob) : blob_(blob) {
        archive_read_support_format_raw(outer_.get());
        archive_read_support_filter_gzip(outer_.get());
        archive_read_support_filter_zstd(outer_.get());
        archive_entry* entry = nullptr;
        if (archive_read_open(outer_.get(), this, nullptr, read_blob, nullptr) != ARCHIVE_OK ||
            archive_read_next_header(outer_.get(), &entry) != ARCHIVE_OK) {
            fail();
        }
    }
    bool failed() const { return !why_.empty(); }
    const std::string& why() const { return why_; }
    std::string digest() { return hash_.digest(); }

    // 0 at the end, -1 on failure.
    la_ssize_t next(const void** bytes) {
        if (failed()) return -1;
        const auto got = archive_read_data(outer_.get(), piece_.data(), piece_.size());
        if (got < 0) return fail();
        total_ += got;
        if (total_ > kMaxLayer) return fail("it unpacks to more than " + format_size(kMaxLayer));
        hash_.add(piece_.data(), static_cast<std::size_t>(got));
        *bytes = piece_.data();
        if (got > 0) return got;
        // Some tools leave out what fills the last block; the nodes forgive that, too.
        const auto missing = (kTarBlock - static_cast<std::size_t>(total_) % kTarBlock) % kTarBlock;
        if (std::exchange(padded_, true)) return 0;
        std::memset(piece_.data(), 0, missing);
        return static_cast<la_ssize_t>(missing);
    }

  private:
    static la_ssize_t read_blob(archive*, void* self, const void** bytes) {
        auto& stream = *static_cast<TarStream*>(self);
        const auto got = stream.blob_.read(stream.at_, stream.raw_.data(), stream.raw_.size());
        if (!got) return stream.fail(got.error().error.message);
        *bytes = stream.raw_.data();
        stream.at_ += static_cast<std::int64_t>(*got);
        return static_cast<la_ssize_t>(*got);
    }
    la_ssize_t fail(std::string why = {}) {
        const char* text = archive_error_string(outer_.get());
        if (why_.empty()) why_ = !why.empty() ? why : text ? text : "neither tar nor compressed with gzip or zstd";
        return -1;
    }

    const Blob& blob_;
    std::int64_t at_ = 0, total_ = 0;
    bool padded_ = false;
    std::string why_;
    std::string raw_ = std::string(kPiece, '\0'), piece_ = std::string(kPiece, '\0');
    Sha256 hash_;
    Reader outer_ = new_reader();
};

la_ssize_t read_tar(archive*, void* stream, const void** bytes) { return static_cast<TarStream*>(stream)->next(bytes); }

using Steps = std::vector<std::string>;
using Wrong = std::optional<std::string>;  // what is wrong, if anything

// "a/./b//c" -> {"a", "b", "c"}
Wrong take_apart(std::string_view path, Steps& out) {
    if (path.empty()) return "has no name";
    if (path.size() > kMaxPath) return "has a name over " + std::to_string(kMaxPath) + " bytes";
    if (path == "/") return std::nullopt;  // umoci names the root so
    if (path.front() == '/') return "has an absolute name";
    while (!path.empty()) {
        const auto slash = std::min(path.find('/'), path.size());
        const auto step = path.substr(0, slash);
        path.remove_prefix(std::min(slash + 1, path.size()));
        if (step.empty() || step == ".") continue;
        if (step == "..") return "has a name that climbs out (\"..\")";
        if (step.size() > kMaxName) return "has a name over " + std::to_string(kMaxName) + " bytes";
        out.emplace_back(step);
    }
    if (out.size() > kMaxDepth) return "lies deeper than " + std::to_string(kMaxDepth) + " folders";
    return std::nullopt;
}

// What the layer has brought so far.
class LayerTree {
  public:
    Wrong take(archive_entry* entry) {
        if (++entries_ > kMaxEntries) return "is one more than " + std::to_string(kMaxEntries) + " entries";
        const char* raw = archive_entry_pathname(entry);
        Steps path;
        if (auto wrong = take_apart(raw ? raw : "", path)) return wrong;
        if (archive_entry_size(entry) > kMaxLayer) return "is larger than " + format_size(kMaxLayer);
        if (auto wrong = check_attributes(entry)) return wrong;
        const char* hard_link = archive_entry_hardlink(entry);
        const auto type = archive_entry_filetype(entry);
        if (path.empty()) {
            if (type == AE_IFDIR && !hard_link) return std::nullopt;
            return "would replace the root";
        }
        std::string folder;
        if (auto wrong = enter(path, folder)) return wrong;
        const auto& name = path.back();
        if (name.starts_with(".wh..wh.")) return std::nullopt;
        if (name.starts_with(".wh.")) return delete_lower(folder, name.substr(4));
        const std::string whole = folder + name;
        if (hard_link) return link(whole, hard_link);
        return add(whole, entry, type);
    }

  private:
    enum class Kind { kFolder, kOther, kDeleted };

    static Wrong check_attributes(archive_entry* entry) {
        std::size_t bytes = 0, length = 0;
        const char* key = nullptr;
        const void* value = nullptr;
        archive_entry_xattr_reset(entry);
        while (archive_entry_xattr_next(entry, &key, &value, &length) == ARCHIVE_OK) bytes += length;
        if (bytes > kMaxAttributes) return "has more than " + format_size(kMaxAttributes) + " of attributes";
        return std::nullopt;
    }

    // The folders above; `folder` becomes "a/b/".
    Wrong enter(const Steps& path, std::string& folder) {
        for (std::size_t i = 0; i + 1 < path.size(); ++i) {
            const auto [at, fresh] = made_.try_emplace(folder + path[i], Kind::kFolder);
            if (at->second == Kind::kOther) return "passes through " + at->first + ", which is no folder in this layer";
            at->second = Kind::kFolder;
            folder = at->first + "/";
        }
        return std::nullopt;
    }

    Wrong delete_lower(const std::string& folder, const std::string& name) {
        if (name.empty() || name == "." || name == "..") return "removes its own folder or the one above";
        made_.try_emplace(folder + name, Kind::kDeleted);
        return std::nullopt;
    }

    Wrong link(const std::string& path, std::string_view target) {
        const std::string shown = "is a hard link to \"" + std::string(target) + "\"";
        Steps to;
        if (auto wrong = take_apart(target, to)) return shown + ", which " + *wrong;
        std::string whole;
        for (const auto& step : to) {
            if (!whole.empty() && kind_of(whole) != Kind::kFolder) whole += "//";  // nothing has such a name
            whole += (whole.empty() ? "" : "/") + step;
        }
        const auto kind = kind_of(whole);
        if (kind == Kind::kFolder || to.empty()) return shown + ", which is a folder";
        if (kind != Kind::kOther) return shown + ", which this layer does not hold before it";
        if (whole != path) put(path, Kind::kOther);
        return std::nullopt;
    }

    Wrong add(const std::string& path, archive_entry* entry, unsigned type) {
        if (type == AE_IFLNK) {
            const char* target = archive_entry_symlink(entry);
            if (!target || !*target || std::strlen(target) >= kMaxPath) return "is a link without a usable target";
        }
        const bool deletion = type == AE_IFCHR && archive_entry_rdev(entry) == 0;
        if (deletion) return "is a disguised deletion (the device 0/0)";
        if (type == AE_IFDIR) {
            const auto kind = kind_of(path);
            if (kind != Kind::kFolder) put(path, Kind::kFolder);
        } else if (type != AE_IFSOCK) {
            put(path, Kind::kOther);
        }
        return std::nullopt;
    }

    std::optional<Kind> kind_of(const std::string& path) const {
        const auto at = made_.find(path);
        if (at == made_.end()) return std::nullopt;
        return at->second;
    }
    // The later entry wins, over a whole folder too.
    void put(const std::string& path, Kind kind) {
        const std::string below = path + "/";
        for (auto at = made_.lower_bound(below); at != made_.end() && at->first.starts_with(below);)
            at = made_.erase(at);
        made_[path] = kind;
    }

    std::size_t entries_ = 0;
    std::map<std::string, Kind> made_;
};

}  // namespace

Outcome<bool> check_layer(const ImagePart& layer) {
    const auto bad = [&](const std::string& what) {
        return trouble(exit_status::kBadData, Code::kInvalid, what, "layer " + layer.digest);
    };
    if (layer.blob.size() == 0) return bad("is empty, so it is no layer; make the image again");
    TarStream stream(layer.blob);
    const Reader tar = new_reader();
    archive_read_support_format_tar(tar.get());
    std::string last;
    const auto broken = [&] {
        const char* text = archive_error_string(tar.get());
        const std::string why = stream.failed() ? stream.why() : text ? text : "unknown error";
        return bad("cannot be read to its end" + (last.empty() ? "" : " after entry \"" + last + "\"") +
                   ", so it is truncated or damaged (" + why + "); make the image again");
    };
    if (stream.failed() || archive_read_open(tar.get(), &stream, nullptr, read_tar, nullptr) != ARCHIVE_OK) {
        return broken();
    }
    LayerTree tree;
    while (true) {
        archive_entry* entry = nullptr;
        const int next = archive_read_next_header(tar.get(), &entry);
        if (next == ARCHIVE_EOF) break;
        if (next != ARCHIVE_OK && next != ARCHIVE_WARN) return broken();
        const char* name = archive_entry_pathname(entry);
        last = name ? name : "";
        if (const auto wrong = tree.take(entry)) {
            return bad("entry \"" + last.substr(0, 300) + "\" " + *wrong +
                       "; nothing was uploaded, do not trust this image");
        }
        const int skipped = archive_read_data_skip(tar.get());
        if (skipped != ARCHIVE_OK && skipped != ARCHIVE_WARN && skipped != ARCHIVE_EOF) return broken();
    }
    const void* rest = nullptr;
    while (stream.next(&rest) > 0) continue;
    if (stream.failed()) return broken();
    if (const auto got = stream.digest(); got != layer.diff_id) {
        return bad("its tar has the digest " + got + ", the image's configuration says " + layer.diff_id +
                   "; make the image again");
    }
    return true;
}

}  // namespace gantry::cli
