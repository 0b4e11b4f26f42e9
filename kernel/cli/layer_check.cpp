// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/layer_check.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <memory>
#include <optional>
#include <set>
#include <string_view>

namespace gantry::cli {

namespace {

// "a/./b//c" -> {"a", "b", "c"}; nothing if it climbs out of where it starts.
std::optional<std::vector<std::string>> steps(std::string_view path, std::vector<std::string> from = {}) {
    while (!path.empty()) {
        const auto slash = std::min(path.find('/'), path.size());
        const auto step = path.substr(0, slash);
        path.remove_prefix(std::min(slash + 1, path.size()));
        if (step.empty() || step == ".") continue;
        if (step != "..") {
            from.emplace_back(step);
        } else if (from.empty()) {
            return std::nullopt;
        } else {
            from.pop_back();
        }
    }
    return from;
}

std::string joined(const std::vector<std::string>& parts, std::size_t count) {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) out += (i == 0 ? "" : "/") + parts[i];
    return out;
}

struct Source {
    const Blob& blob;
    std::int64_t at = 0;
    std::string room = std::string(256 << 10, '\0');
};

la_ssize_t read_blob(archive* tar, void* data, const void** bytes) {
    auto& source = *static_cast<Source*>(data);
    const auto got = source.blob.read(source.at, source.room.data(), source.room.size());
    if (!got) {
        archive_set_error(tar, EIO, "%s", got.error().error.message.c_str());
        return -1;
    }
    *bytes = source.room.data();
    source.at += static_cast<std::int64_t>(*got);
    return static_cast<la_ssize_t>(*got);
}

class LayerCheck {
  public:
    // What is wrong with the entry, if anything.
    std::optional<std::string> take(archive_entry* entry) {
        const char* raw = archive_entry_pathname(entry);
        if (!raw || !*raw) return "has no name";
        const std::string_view name(raw);
        const auto path = steps(name);
        // umoci names the root itself "/".
        if (name.starts_with('/') && !(path && path->empty())) return "has an absolute name";
        if (!path) return "climbs out of the image's root";
        if (const auto link = below_leaving_link(*path))
            return "lies below the symbolic link " + *link + ", which leaves the image's root";
        if (!path->empty() && bad_whiteout(path->back())) return "removes its own folder or the one above";
        if (const char* target = archive_entry_hardlink(entry)) {
            if (auto wrong = check_hard_link(target)) return wrong;
        }
        remember(entry, *path);
        return std::nullopt;
    }

  private:
    static bool bad_whiteout(std::string_view name) { return name == ".wh." || name == ".wh.." || name == ".wh..."; }

    std::optional<std::string> below_leaving_link(const std::vector<std::string>& path) const {
        if (leaving_.empty()) return std::nullopt;
        for (std::size_t count = 1; count < path.size(); ++count) {
            auto above = joined(path, count);
            if (leaving_.contains(above)) return above;
        }
        return std::nullopt;
    }

    std::optional<std::string> check_hard_link(std::string_view target) const {
        const auto path = target.starts_with('/') ? std::nullopt : steps(target);
        const std::string shown = "is a hard link to " + std::string(target);
        if (!path) return shown + ", which leaves the image's root";
        if (const auto link = below_leaving_link(*path))
            return shown + " through the symbolic link " + *link + ", which leaves the image's root";
        return std::nullopt;
    }

    // A link out of the root is fine in a container, where "/" is the image's; only what is unpacked through it is not.
    void remember(archive_entry* entry, const std::vector<std::string>& path) {
        if (path.empty()) return;
        const auto name = joined(path, path.size());
        leaving_.erase(name);
        const char* target = archive_entry_filetype(entry) == AE_IFLNK ? archive_entry_symlink(entry) : nullptr;
        if (!target) return;
        auto folder = path;
        folder.pop_back();
        if (*target == '/' || !steps(target, folder)) leaving_.insert(name);
    }

    std::set<std::string> leaving_;
};

}  // namespace

Outcome<bool> check_layer(const ImagePart& layer) {
    const auto bad = [&](const std::string& what) {
        return trouble(exit_status::kBadData, Code::kInvalid, what, "layer " + layer.digest);
    };
    const std::unique_ptr<archive, int (*)(archive*)> tar(archive_read_new(), archive_read_free);
    archive_read_support_filter_all(tar.get());
    archive_read_support_format_tar(tar.get());
    archive_read_support_format_empty(tar.get());
    Source source{layer.blob};
    const auto broken = [&](const std::string& last) {
        const char* why = archive_error_string(tar.get());
        return bad("cannot be read to its end" + (last.empty() ? "" : " after entry \"" + last + "\"") +
                   ", so it is truncated or damaged (" + (why ? why : "unknown error") + "); make the image again");
    };
    if (archive_read_open(tar.get(), &source, nullptr, read_blob, nullptr) != ARCHIVE_OK) return broken("");
    LayerCheck check;
    std::string last;
    while (true) {
        archive_entry* entry = nullptr;
        const int next = archive_read_next_header(tar.get(), &entry);
        if (next == ARCHIVE_EOF) return true;
        if (next != ARCHIVE_OK && next != ARCHIVE_WARN) return broken(last);
        const char* name = archive_entry_pathname(entry);
        last = name ? name : "";
        if (const auto wrong = check.take(entry)) {
            return bad("entry \"" + last + "\" " + *wrong + "; nothing was uploaded, do not trust this image");
        }
        const int skipped = archive_read_data_skip(tar.get());
        if (skipped != ARCHIVE_OK && skipped != ARCHIVE_WARN && skipped != ARCHIVE_EOF) return broken(last);
    }
}

}  // namespace gantry::cli
