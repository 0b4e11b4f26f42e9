// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <gantry/status.hpp>
#include <sstream>

namespace image_store {
namespace {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;
using gantry::Fd;

[[noreturn]] void failed(const std::string& what, const fs::path& path, int error) {
    const bool full = error == ENOSPC || error == EDQUOT;
    throw Failure(full ? Code::kFull : Code::kFailed,
                  "image store: cannot " + what + " " + path.string() + ": " + std::strerror(error));
}

void make_dirs(const fs::path& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) failed("make", path, error.value());
}

Fd open_dir(const fs::path& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) failed("open", path, errno);
    return fd;
}

void sync_dir(const fs::path& path) {
    const Fd fd = open_dir(path);
    if (::fsync(fd.get()) != 0) failed("sync", path, errno);
}

bool present(const fs::path& path) {
    std::error_code error;
    return fs::exists(fs::symlink_status(path, error));
}

// Best effort: what stays is in tmp/ and goes with the next sweep().
void delete_tree(const fs::path& path) {
    std::error_code error;
    fs::remove_all(path, error);
}

}  // namespace

Store::Store(StoreOptions options) : options_(std::move(options)) {
    make_dirs(options_.dir / "layers" / "sha256");
    make_dirs(options_.dir / "roots" / "sha256");
    make_dirs(options_.dir / "images");
    make_dirs(options_.dir / "tmp");
    for (const fs::directory_entry& item : fs::directory_iterator(options_.dir / "tmp"))
        left_over_.push_back(item.path());
    load();
}

void Store::load() {
    for (const fs::directory_entry& item : fs::directory_iterator(options_.dir / "images")) {
        if (item.path().extension() != ".json") {
            left_over_.push_back(item.path());
            continue;
        }
        try {
            const std::string manifest = Digest::parse("sha256:" + item.path().stem().string(), "stored image").text();
            std::ostringstream text;
            text << std::ifstream(item.path()).rdbuf();
            ImageDescription description = parse_description(text.str());
            bool whole = true;
            for (const fs::path& layer : image_of(manifest, description).layers) whole = whole && present(layer);
            if (whole) {
                images_.emplace(manifest, std::move(description));
                continue;
            }
        } catch (const Failure&) {
            // An unreadable record is an image that is not here: it is fetched again.
        }
        left_over_.push_back(item.path());
    }
}

void Store::sweep() {
    std::vector<fs::path> paths;
    {
        std::scoped_lock lock(mutex_, table_mutex_);
        for (const fs::path& path : left_over_) {
            const bool revived = path.extension() == ".json" && images_.contains("sha256:" + path.stem().string());
            if (!revived) paths.push_back(path);
        }
        left_over_.clear();
    }
    for (const fs::path& path : paths) delete_tree(path);
}

fs::path Store::layer_dir(const Digest& diff_id) const { return options_.dir / "layers" / "sha256" / diff_id.hex(); }

fs::path Store::root_dir(const std::string& manifest) const {
    return options_.dir / "roots" / "sha256" / manifest.substr(manifest.find(':') + 1);
}

fs::path Store::record_path(const std::string& manifest) const {
    return options_.dir / "images" / (manifest.substr(manifest.find(':') + 1) + ".json");
}

Image Store::image_of(const std::string& manifest, const ImageDescription& description) const {
    Image out{manifest, {}, description.config};
    if (options_.form == TreeForm::kFlat) {
        out.layers.push_back(root_dir(manifest));
        return out;
    }
    for (const LayerRef& layer : description.layers) out.layers.push_back(layer_dir(layer.diff_id));
    return out;
}

std::optional<Image> Store::find(const std::string& manifest) const {
    std::lock_guard lock(table_mutex_);
    auto it = images_.find(manifest);
    if (it == images_.end()) return std::nullopt;
    return image_of(manifest, it->second);
}

std::vector<std::string> Store::images() const {
    std::lock_guard lock(table_mutex_);
    std::vector<std::string> out;
    for (const auto& [manifest, description] : images_) out.push_back(manifest);
    return out;
}

fs::path Store::temporary() {
    std::lock_guard lock(mutex_);
    const auto now = std::chrono::system_clock::now().time_since_epoch().count();
    return options_.dir / "tmp" / (std::to_string(now) + "-" + std::to_string(next_temporary_++));
}

template <class Make>
void Store::build(const fs::path& target, Make&& make) {
    const fs::path work = temporary();
    if (::mkdir(work.c_str(), 0755) != 0) failed("make", work, errno);
    try {
        const Fd root = open_dir(work);
        // Unless the image says otherwise: the daemon's umask would shut every other user out of the container's "/".
        if (::fchmod(root.get(), 0755) != 0) failed("set the mode of", work, errno);
        make(root);
        // The whole tree must be on disk before its name is: after a power cut a name means a whole tree.
        if (::syncfs(root.get()) != 0) failed("sync", work, errno);
        if (::rename(work.c_str(), target.c_str()) != 0) failed("rename to its place", target, errno);
        sync_dir(target.parent_path());
    } catch (...) {
        delete_tree(work);
        throw;
    }
}

template <class Make>
void Store::once(const fs::path& target, const Cancelled& cancelled, Make&& make) {
    std::unique_lock lock(mutex_);
    while (in_work_.contains(target)) {
        changed_.wait_for(lock, std::chrono::milliseconds(100));
        if (cancelled && cancelled())
            throw Failure(Code::kCancelled, "cancelled while another call unpacked " + target.string());
    }
    if (present(target)) return;
    in_work_.insert(target);
    lock.unlock();
    const auto leave = [&] {
        std::lock_guard relock(mutex_);
        in_work_.erase(target);
        changed_.notify_all();
    };
    try {
        build(target, make);
    } catch (...) {
        leave();
        throw;
    }
    leave();
}

Image Store::ensure(const std::string& manifest, const fs::path& layout_dir, const Cancelled& cancelled) {
    const Digest digest = Digest::parse(manifest, "image");
    if (std::optional<Image> ready = find(manifest)) return *ready;
    const ImageDescription description = read_layout(layout_dir, digest, cancelled);
    const Image image = image_of(manifest, description);

    struct Pins {
        Store& store;
        const Image& image;
        Pins(Store& s, const Image& i) : store(s), image(i) {
            std::lock_guard lock(store.mutex_);
            for (const fs::path& path : image.layers) store.pinned_.insert(path);
        }
        ~Pins() {
            std::lock_guard lock(store.mutex_);
            for (const fs::path& path : image.layers) store.pinned_.erase(store.pinned_.find(path));
        }
    } pins(*this, image);

    const auto unpack = [&](const LayerRef& layer, const Fd& root) {
        const Fd blob =
            open_verified(blob_path(layout_dir, layer.digest), layer.digest, layer.size, "layer", cancelled);
        options_.unpack({blob.get(), root.get(), layer, options_.form, options_.keep_owners, options_.max_layer_bytes},
                        cancelled);
    };
    if (options_.form == TreeForm::kFlat) {
        once(image.layers.front(), cancelled, [&](const Fd& root) {
            for (const LayerRef& layer : description.layers) unpack(layer, root);
        });
    } else {
        for (std::size_t i = 0; i < description.layers.size(); ++i) {
            once(image.layers[i], cancelled, [&](const Fd& root) { unpack(description.layers[i], root); });
        }
    }
    write_record(manifest, description);
    return image;
}

void Store::write_record(const std::string& manifest, const ImageDescription& description) {
    const fs::path work = temporary();
    const std::string text = write_description(description);
    try {
        Fd fd(::open(work.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!fd) failed("create", work, errno);
        for (std::size_t at = 0; at < text.size();) {
            const ssize_t n = ::write(fd.get(), text.data() + at, text.size() - at);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) failed("write", work, errno);
            at += static_cast<std::size_t>(n);
        }
        if (::fsync(fd.get()) != 0) failed("sync", work, errno);
        std::lock_guard lock(mutex_);
        if (::rename(work.c_str(), record_path(manifest).c_str()) != 0)
            failed("rename to its place", record_path(manifest), errno);
        sync_dir(options_.dir / "images");
        std::lock_guard table(table_mutex_);
        images_.insert_or_assign(manifest, description);
    } catch (...) {
        delete_tree(work);
        throw;
    }
}

void Store::remove(const std::string& manifest) {
    Digest::parse(manifest, "image");
    std::vector<fs::path> doomed;
    {
        std::lock_guard lock(mutex_);
        std::set<fs::path> needed(pinned_.begin(), pinned_.end());
        {
            std::lock_guard table(table_mutex_);
            images_.erase(manifest);
            for (const auto& [other, description] : images_) {
                for (const fs::path& path : image_of(other, description).layers) needed.insert(path);
            }
        }
        if (::unlink(record_path(manifest).c_str()) != 0 && errno != ENOENT) {
            failed("delete", record_path(manifest), errno);
        }
        for (const char* kind : {"layers", "roots"}) {
            for (const fs::directory_entry& item : fs::directory_iterator(options_.dir / kind / "sha256")) {
                if (needed.contains(item.path())) continue;
                const fs::path trash =
                    options_.dir / "tmp" /
                    ("gone-" + std::to_string(next_temporary_++) + "-" + item.path().filename().string());
                if (::rename(item.path().c_str(), trash.c_str()) == 0) doomed.push_back(trash);
            }
        }
    }
    for (const fs::path& path : doomed) delete_tree(path);
}

}  // namespace image_store
