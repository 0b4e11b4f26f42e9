// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/docker_archive.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kMaxItems = 256, kMaxNames = 256, kMaxLayerNames = 127;
constexpr const char* kManifest = "manifest.json";

std::unexpected<Trouble> bad(std::string message, const std::string& where) {
    return trouble(exit_status::kBadData, Code::kInvalid, std::move(message), where);
}

Outcome<Blob> blob_of(const std::string& text) {
    const int fd = memfd_create("gantry-manifest", MFD_CLOEXEC);
    const std::shared_ptr<const int> file(new int(fd), [](const int* owned) {
        close(*owned);
        delete owned;
    });
    if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
        return trouble(exit_status::kFailed, Code::kFailed,
                       std::string("cannot keep a manifest in memory: ") + std::strerror(errno));
    }
    return Blob(file, 0, static_cast<std::int64_t>(text.size()));
}

// Newer tools leave layers compressed.
Outcome<std::string> layer_type(const Blob& layer) {
    char magic[4] = {};
    GANTRY_TRY(got, layer.read(0, magic, sizeof(magic)));
    const std::string_view begin(magic, got);
    const std::string tar = "application/vnd.oci.image.layer.v1.tar";
    return begin.starts_with("\x1f\x8b") ? tar + "+gzip" : begin == "\x28\xb5\x2f\xfd" ? tar + "+zstd" : tar;
}

class Reader {
  public:
    Reader(const Layout& archive, const std::string& platform) : archive_(archive), platform_(platform) {}

    Outcome<bool> read(const json::value& item, const std::string& what, std::vector<LayoutImage>& out) {
        const auto* layers = member_of(item, "Layers");
        if (text_of(item, "Config").empty() || !layers || !layers->is_array()) {
            return bad(what + ": expected the members Config and Layers", archive_.path());
        }
        if (layers->as_array().size() > kMaxLayerNames) return bad(what + " has more than 127 layers", archive_.path());
        LayoutImage image{{}, {}, {}, {}};
        json::array descriptors;
        for (const auto& name : layers->as_array()) {
            if (!name.is_string()) return bad(what + ": expected the names of layers", archive_.path());
            GANTRY_TRY(part, find(std::string(name.as_string())));
            part.is_layer = true;
            GANTRY_TRY(type, layer_type(part.blob));
            descriptors.push_back(descriptor(part, type));
            image.parts.push_back(std::move(part));
        }
        GANTRY_TRY(config, configuration(text_of(item, "Config"), image));
        const std::string manifest =
            to_text(json::object{{"schemaVersion", 2},
                                 {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                 {"config", descriptor(config, "application/vnd.oci.image.config.v1+json")},
                                 {"layers", std::move(descriptors)}});
        image.parts.push_back(std::move(config));
        GANTRY_TRY(blob, blob_of(manifest));
        GANTRY_TRY(digest, digest_of(blob));
        image.digest = digest;
        image.parts.push_back({digest, blob, false, {}});
        return add_names(item, what, std::move(image), out);
    }

  private:
    static json::object descriptor(const ImagePart& part, const std::string& type) {
        return {{"mediaType", type}, {"digest", part.digest}, {"size", part.blob.size()}};
    }

    // A file and its digest, which is computed once for every name.
    Outcome<ImagePart> find(const std::string& name) {
        if (const auto known = found_.find(name); known != found_.end()) return known->second;
        GANTRY_TRY(blob, archive_.file(name));
        GANTRY_TRY(digest, digest_of(blob));
        return found_.emplace(name, ImagePart{digest, blob, false, {}}).first->second;
    }

    Outcome<ImagePart> configuration(const std::string& name, LayoutImage& image) {
        GANTRY_TRY(part, find(name));
        const auto stem = "sha256:" + std::filesystem::path(name).stem().string();
        if (is_digest(stem) && stem != part.digest) {
            return bad("configuration " + name + " has the wrong digest: got " + part.digest + "; save the image again",
                       archive_.path());
        }
        GANTRY_TRY(document, archive_.document(name, part.blob));
        GANTRY_CHECK(take_configuration(document, part.digest, archive_.path(), image));
        const auto platform = text_of(document, "os") + "/" + text_of(document, "architecture");
        if (!platform_.empty() && platform != platform_) {
            return bad("the image is for " + platform + ", not for " + platform_, archive_.path());
        }
        return part;
    }

    Outcome<bool> add_names(const json::value& item, const std::string& what, LayoutImage image,
                            std::vector<LayoutImage>& out) const {
        const auto& names = items_of(item, "RepoTags");
        if (names.size() > kMaxNames) return bad(what + " has more than 256 names", archive_.path());
        if (names.empty()) out.push_back(std::move(image));
        for (const auto& name : names) {
            if (!name.is_string()) return bad(what + ": expected texts in RepoTags", archive_.path());
            image.name = name.as_string();
            out.push_back(image);
        }
        return true;
    }

    const Layout& archive_;
    const std::string& platform_;
    std::map<std::string, ImagePart> found_;
};

}  // namespace

Outcome<std::vector<LayoutImage>> docker_images_of(const Layout& archive, const std::string& platform) {
    GANTRY_TRY(file, archive.file(kManifest));
    GANTRY_TRY(list, archive.any_document(kManifest, file));
    if (!list.is_array() || list.as_array().empty()) {
        return bad("manifest.json names no image: expected a list of at least one", archive.path());
    }
    if (list.as_array().size() > kMaxItems) return bad("manifest.json names more than 256 images", archive.path());
    std::vector<LayoutImage> out;
    Reader reader(archive, platform);
    for (std::size_t i = 0; i < list.as_array().size(); ++i) {
        GANTRY_CHECK(reader.read(list.as_array()[i], "manifest.json[" + std::to_string(i) + "]", out));
    }
    return out;
}

}  // namespace gantry::cli
