// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/layout.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "kernel/base/units.hpp"
#include "kernel/cli/digest.hpp"
#include "kernel/cli/docker_archive.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/ecs_labels.hpp"

namespace gantry::cli {

namespace {

constexpr std::int64_t kMaxDocument = 4 << 20;  // what the OCI specification allows a manifest
constexpr std::size_t kMaxImages = 256;         // of one layout
constexpr std::size_t kMaxLayers = 127;         // of one image: what nodes take
constexpr std::size_t kMaxFiles = 100'000;      // of one archive
constexpr int kMaxLinks = 8;                    // from one name to a file

std::unexpected<Trouble> bad(std::string message, std::string where) {
    return trouble(exit_status::kBadData, Code::kInvalid, std::move(message), std::move(where));
}

std::unexpected<Trouble> system_trouble(const std::string& what, const std::string& where, int error) {
    return trouble(error == ENOENT ? exit_status::kNotFound : exit_status::kFailed,
                   error == ENOENT   ? Code::kNotFound
                   : error == ENOSPC ? Code::kFull
                                     : Code::kFailed,
                   what + ": " + std::strerror(error), where);
}

std::shared_ptr<const int> shared_file(int fd) {
    return {new int(fd), [](const int* owned) {
                close(*owned);
                delete owned;
            }};
}

// A file without a name: gone when it is closed, however the program ends.
Outcome<std::shared_ptr<const int>> unnamed_file() {
    const char* folder = std::getenv("TMPDIR");
    std::string name = std::string(folder && *folder ? folder : "/tmp") + "/gantry-import.XXXXXX";
    const int fd = mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0) return system_trouble("cannot make a temporary file", name, errno);
    unlink(name.c_str());
    return shared_file(fd);
}

Outcome<bool> append(int fd, const char* bytes, std::size_t size) {
    while (size > 0) {
        const auto written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return system_trouble("cannot unpack into a temporary file (TMPDIR chooses its folder)", "", errno);
        bytes += written;
        size -= static_cast<std::size_t>(written);
    }
    return true;
}

// "./a//b" -> "a/b", "a/../b" -> "b"; nothing for a name that climbs out or is absolute.
std::optional<std::string> plain_name(std::string_view raw) {
    if (raw.starts_with('/')) return std::nullopt;
    std::string out;
    while (!raw.empty()) {
        const auto slash = std::min(raw.find('/'), raw.size());
        const auto step = raw.substr(0, slash);
        raw.remove_prefix(std::min(slash + 1, raw.size()));
        if (step.empty() || step == ".") continue;
        if (step == "..") {
            if (out.empty()) return std::nullopt;
            const auto up = out.rfind('/');
            out.resize(up == std::string::npos ? 0 : up);
            continue;
        }
        out += (out.empty() ? "" : "/") + std::string(step);
    }
    return out;
}

// What a reader may ask for; the rest of an archive (older notes about layers, signatures) is passed over.
bool is_wanted(std::string_view name) {
    return name == "oci-layout" || name.starts_with("blobs/") || name.ends_with(".json") || name.ends_with(".tar");
}

// Where a link of the archive leads within it; nothing for what is no link, or leads out: then its name is missing.
std::optional<std::string> link_target(archive_entry* entry, const std::string& name) {
    if (const char* to = archive_entry_hardlink(entry)) return plain_name(to);
    const char* to = archive_entry_filetype(entry) == AE_IFLNK ? archive_entry_symlink(entry) : nullptr;
    if (!to || *to == '/') return std::nullopt;
    const auto folder = name.rfind('/');
    return plain_name((folder == std::string::npos ? "" : name.substr(0, folder + 1)) + to);
}

}  // namespace

Outcome<std::size_t> Blob::read(std::int64_t at, char* into, std::size_t size) const {
    const auto left = std::max<std::int64_t>(0, size_ - at);
    const auto wanted = std::min<std::size_t>(size, static_cast<std::size_t>(left));
    if (wanted == 0) return 0;
    const auto got = pread(*file_, into, wanted, offset_ + at);
    if (got < 0) return system_trouble("cannot read the image", "", errno);
    return static_cast<std::size_t>(got);
}

Outcome<Layout> Layout::open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return system_trouble("cannot read the image", path, errno);
    Layout layout;
    layout.path_ = path;
    auto file = shared_file(fd);
    struct stat about {};
    if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode)) {
        layout.folder_ = std::move(file);
    } else {
        GANTRY_CHECK(layout.unpack(fd));
    }
    if (!layout.file("index.json") && !layout.file("manifest.json")) {
        return bad(
            "this is no image: expected a folder or tar file with index.json (an OCI image layout) or manifest.json "
            "(what `docker save` and `ecsc pack` write), got neither; make one with "
            "`skopeo copy docker://IMAGE oci-archive:FILE:NAME:TAG`, `podman save` or `docker save`",
            path);
    }
    return layout;
}

Outcome<bool> Layout::unpack(int file) {
    const std::unique_ptr<archive, int (*)(archive*)> tar(archive_read_new(), archive_read_free);
    archive_read_support_filter_all(tar.get());
    archive_read_support_format_tar(tar.get());
    const auto broken = [&] {
        const char* why = archive_error_string(tar.get());
        return bad(std::string("this is no tar file that can be read to its end: ") + (why ? why : "unknown error"),
                   path_);
    };
    if (archive_read_open_fd(tar.get(), file, 256 << 10) != ARCHIVE_OK) return broken();
    GANTRY_TRY(store, unnamed_file());
    std::int64_t offset = 0;
    std::string room(256 << 10, '\0');
    while (true) {
        archive_entry* entry = nullptr;
        const int next = archive_read_next_header(tar.get(), &entry);
        if (next == ARCHIVE_EOF) return true;
        if (next != ARCHIVE_OK && next != ARCHIVE_WARN) return broken();
        const char* raw = archive_entry_pathname(entry);
        const std::string_view shown = raw ? raw : "";
        const auto plain = plain_name(shown);
        if (!plain) {
            return bad("entry \"" + std::string(shown.substr(0, 300)) +
                           "\" climbs out of the archive or is absolute; no tool writes that, do not trust this image",
                       path_);
        }
        const auto& name = *plain;
        if (!is_wanted(name)) continue;
        if (files_.size() + links_.size() >= kMaxFiles) return bad("the archive has more than 100000 files", path_);
        if (const auto target = link_target(entry, name)) links_.insert_or_assign(name, *target);
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
        links_.erase(name);
        const auto start = offset;
        while (true) {
            const auto got = archive_read_data(tar.get(), room.data(), room.size());
            if (got < 0) return broken();
            if (got == 0) break;
            GANTRY_CHECK(append(*store, room.data(), static_cast<std::size_t>(got)));
            offset += got;
        }
        files_.insert_or_assign(name, Blob(store, start, offset - start));
    }
}

Outcome<Blob> Layout::file(const std::string& name) const {
    const auto lacks = [&] { return bad("the image lacks " + name.substr(0, 300), path_); };
    if (!folder_) {
        std::string at = name;
        for (int i = 0; i < kMaxLinks && links_.contains(at); ++i) at = links_.at(at);
        const auto found = files_.find(at);
        if (found == files_.end()) return lacks();
        return found->second;
    }
    if (plain_name(name) != name) return lacks();
    const int fd = openat(*folder_, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return lacks();
    if (fd < 0) return system_trouble("cannot read the image", path_ + "/" + name, errno);
    auto file = shared_file(fd);
    struct stat about {};
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return bad("expected a file, got something else", path_ + "/" + name);
    return Blob(std::move(file), 0, about.st_size);
}

Outcome<Blob> Layout::blob(const std::string& digest, std::int64_t size) const {
    GANTRY_TRY(blob, file("blobs/sha256/" + digest.substr(7)));
    if (size != blob.size()) {
        return bad("blob " + digest + " has the wrong size: expected " + std::to_string(size) + " bytes, got " +
                       std::to_string(blob.size()) + " (" + (blob.size() < size ? "truncated" : "too long") + ")",
                   path_);
    }
    GANTRY_TRY(got, digest_of(blob));
    if (got != digest) {
        return bad("blob " + digest + " has the wrong digest: got " + got + "; copy the image again", path_);
    }
    return blob;
}

Outcome<std::string> digest_of(const Blob& blob) {
    Sha256 sum;
    std::string room(256 << 10, '\0');
    for (std::int64_t at = 0; at < blob.size();) {
        GANTRY_TRY(got, blob.read(at, room.data(), room.size()));
        if (got == 0) return bad("a part of the image became shorter while it was read", "");
        sum.add(room.data(), got);
        at += static_cast<std::int64_t>(got);
    }
    return sum.digest();
}

Outcome<json::value> Layout::any_document(const std::string& name, const Blob& blob) const {
    if (blob.size() > kMaxDocument) {
        return bad(name + " is too long: expected at most 4 MiB, got " + format_size(blob.size()), path_);
    }
    std::string text(static_cast<std::size_t>(blob.size()), '\0');
    GANTRY_TRY(got, blob.read(0, text.data(), text.size()));
    auto document = parse_json(std::string_view(text).substr(0, got), kMaxDocument);
    if (!document) return bad(name + ": expected JSON, got what is none: " + document.error().message, path_);
    return std::move(*document);
}

Outcome<json::value> Layout::document(const std::string& name, const Blob& blob) const {
    GANTRY_TRY(document, any_document(name, blob));
    if (!document.is_object()) return bad(name + ": expected a JSON object", path_);
    return document;
}

namespace {

constexpr std::string_view kRefName = "org.opencontainers.image.ref.name";
// The whole name, where Docker and containerd put only the tag into kRefName.
constexpr std::string_view kContainerdName = "io.containerd.image.name";

bool is_index(const json::value& document, std::string_view type) {
    return type.ends_with("image.index.v1+json") || type.ends_with("manifest.list.v2+json") ||
           (type.empty() && member_of(document, "manifests"));
}

struct Descriptor {
    std::string type, digest, platform, name;
    std::int64_t size = 0;
};

Outcome<Descriptor> read_descriptor(const json::value& value, const std::string& what, const std::string& path) {
    Descriptor out{text_of(value, "mediaType"), text_of(value, "digest"), {}, {}, number_of(value, "size", -1)};
    if (!is_digest(out.digest)) {
        return bad(what + ": expected a digest \"sha256:...\", got \"" + out.digest.substr(0, 80) + "\"", path);
    }
    if (out.size < 0) return bad(what + ": expected the size of " + out.digest, path);
    if (const auto* platform = member_of(value, "platform")) {
        out.platform = text_of(*platform, "os") + "/" + text_of(*platform, "architecture");
    }
    if (const auto* annotations = member_of(value, "annotations")) {
        out.name = text_of(*annotations, kContainerdName);
        if (out.name.empty()) out.name = text_of(*annotations, kRefName);
    }
    return out;
}

class ImageReader {
  public:
    ImageReader(const Layout& layout, const std::string& platform) : layout_(layout), platform_(platform) {}

    Outcome<LayoutImage> read(Descriptor at) {
        const auto name = at.name;
        GANTRY_TRY(blob, layout_.blob(at.digest, at.size));
        GANTRY_TRY(document, layout_.document(at.digest, blob));
        if (is_index(document, at.type)) {
            GANTRY_TRY(chosen, choose(document, at.digest));
            auto inner = layout_.blob(chosen.digest, chosen.size);
            if (!inner) return std::unexpected(std::move(inner).error());
            auto inner_document = layout_.document(chosen.digest, *inner);
            if (!inner_document) return std::unexpected(std::move(inner_document).error());
            at = chosen;
            blob = *inner;
            document = std::move(*inner_document);
        }
        LayoutImage image{name, at.digest, {}, {}};
        GANTRY_CHECK(add_parts(document, at.digest, image));
        image.parts.push_back({at.digest, blob, false, {}});
        return image;
    }

  private:
    Outcome<Descriptor> choose(const json::value& index, const std::string& digest) const {
        std::vector<Descriptor> images;
        std::string platforms;
        for (const auto& item : items_of(index, "manifests")) {
            GANTRY_TRY(found, read_descriptor(item, "index " + digest, layout_.path()));
            if (found.platform == "unknown/unknown") continue;  // attestations, not images
            if (!platform_.empty() && !found.platform.empty() && found.platform != platform_) continue;
            platforms += (platforms.empty() ? "" : ", ") + found.platform;
            images.push_back(std::move(found));
        }
        if (images.size() == 1) return images[0];
        if (images.empty())
            return bad("index " + digest + " has no image" + (platform_.empty() ? "" : " for " + platform_),
                       layout_.path());
        return bad(
            "the image is there for several platforms (" + platforms + "); name one with --platform OS/ARCHITECTURE",
            layout_.path());
    }

    Outcome<bool> add_parts(const json::value& manifest, const std::string& digest, LayoutImage& image) const {
        const auto* config = member_of(manifest, "config");
        const auto* layers = member_of(manifest, "layers");
        if (!config || !layers || !layers->is_array()) {
            return bad("blob " + digest + " is no image manifest: expected the members config and layers",
                       layout_.path());
        }
        for (const auto& layer : layers->as_array()) {
            GANTRY_TRY(at, read_descriptor(layer, "a layer of " + digest, layout_.path()));
            GANTRY_CHECK(add_part(at, true, image));
        }
        GANTRY_TRY(at, read_descriptor(*config, "the configuration of " + digest, layout_.path()));
        GANTRY_CHECK(add_part(at, false, image));
        GANTRY_TRY(document, layout_.document(at.digest, image.parts.back().blob));
        const auto configuration = std::move(image.parts.back());
        image.parts.pop_back();
        GANTRY_CHECK(take_configuration(document, at.digest, layout_.path(), image));
        image.parts.push_back(configuration);
        return true;
    }

    Outcome<bool> add_part(const Descriptor& at, bool layer, LayoutImage& image) const {
        GANTRY_TRY(blob, layout_.blob(at.digest, at.size));
        image.parts.push_back({at.digest, blob, layer, {}});
        return true;
    }

    const Layout& layout_;
    const std::string& platform_;
};

}  // namespace

Outcome<bool> take_configuration(const json::value& config, const std::string& digest, const std::string& path,
                                 LayoutImage& image) {
    if (text_of(config, "os").empty() || text_of(config, "architecture").empty()) {
        return bad("configuration " + digest + ": expected the members os and architecture", path);
    }
    const auto* rootfs = member_of(config, "rootfs");
    const auto* list = rootfs ? member_of(*rootfs, "diff_ids") : nullptr;
    const std::size_t ids = list && list->is_array() ? list->as_array().size() : 0;
    const std::size_t layers = image.parts.size();
    if (layers == 0 || layers > kMaxLayers || ids != layers) {
        return bad("configuration " + digest + ": expected 1 to " + std::to_string(kMaxLayers) +
                       " layers and as many rootfs.diff_ids, got " + std::to_string(layers) + " and " +
                       std::to_string(ids),
                   path);
    }
    for (std::size_t i = 0; i < layers; ++i) {
        const auto& id = list->as_array()[i];
        if (!id.is_string() || !is_digest(id.as_string())) {
            return bad("configuration " + digest + ": rootfs.diff_ids[" + std::to_string(i) + "] is no digest", path);
        }
        image.parts[i].diff_id = id.as_string();
    }
    auto labels = check_ecs_labels(config);
    if (!labels) return bad("configuration " + digest + ": " + labels.error(), path);
    image.warnings = std::move(*labels);
    return true;
}

Outcome<std::vector<LayoutImage>> images_of(const Layout& layout, const std::string& platform) {
    if (!layout.file("index.json")) return docker_images_of(layout, platform);
    GANTRY_TRY(file, layout.file("index.json"));
    GANTRY_TRY(index, layout.document("index.json", file));
    std::vector<LayoutImage> out;
    ImageReader reader(layout, platform);
    for (const auto& item : items_of(index, "manifests")) {
        GANTRY_TRY(at, read_descriptor(item, "index.json", layout.path()));
        if (out.size() == kMaxImages) return bad("index.json names more than 256 images", layout.path());
        GANTRY_TRY(image, reader.read(at));
        out.push_back(std::move(image));
    }
    if (out.empty()) return bad("index.json names no image: expected at least one in `manifests`", layout.path());
    return out;
}

}  // namespace gantry::cli
