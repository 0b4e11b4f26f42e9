// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/tree_writer.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>
#include <memory>

namespace image_store {
namespace {

using gantry::Code;
using gantry::Failure;
using gantry::Fd;

constexpr std::size_t kMaxDepth = 128;  // components of a path
constexpr std::size_t kMaxPath = 4096;  // bytes
constexpr std::size_t kMaxName = 255;   // bytes of a component
constexpr mode_t kImplicitMode = 0755;  // of folders that the layer does not describe
constexpr const char* kOpaqueMark = "trusted.overlay.opaque";
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kInternal = ".wh..wh.";  // marks of aufs, of no meaning to us

bool exists(int parent, const std::string& name, struct stat* st) {
    return ::fstatat(parent, name.c_str(), st, AT_SYMLINK_NOFOLLOW) == 0;
}

bool is_whiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == ::makedev(0, 0); }

std::vector<std::string> names_in(int folder) {
    std::vector<std::string> out;
    const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return out;
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(copy), &::closedir);
    if (!dir) {
        ::close(copy);
        return out;
    }
    while (const dirent* item = ::readdir(dir.get())) {
        const std::string_view name = item->d_name;
        if (name != "." && name != "..") out.emplace_back(name);
    }
    return out;
}

}  // namespace

TreeWriter::TreeWriter(Fd root, TreeForm form, bool keep_owners)
    : root_(std::move(root)), form_(form), keep_owners_(keep_owners) {}

void TreeWriter::refuse(std::string_view path, const std::string& why) const {
    throw Failure(Code::kInvalid, layer_ + ": entry \"" + std::string(path.substr(0, 300)) + "\" " + why + "; refused");
}

void TreeWriter::failed(std::string_view path, const char* what) const {
    const int error = errno;
    const bool full = error == ENOSPC || error == EDQUOT;
    throw Failure(
        full ? Code::kFull : Code::kFailed,
        layer_ + ": cannot " + what + " \"" + std::string(path.substr(0, 300)) + "\": " + std::strerror(error));
}

void TreeWriter::begin_layer(std::string name) {
    layer_ = std::move(name);
    entries_ = 0;
    folders_.clear();
    made_.clear();
    parent_path_.clear();
    parent_fd_.reset();
}

void TreeWriter::remember(const std::string& path) {
    if (form_ == TreeForm::kFlat) made_.insert(path);
}

// In the overlay form the directory holds nothing else.
bool TreeWriter::made_here(const std::string& path) const {
    return form_ == TreeForm::kOverlay || made_.contains(path);
}

std::vector<std::string> TreeWriter::components(const std::string& path, std::string_view what) const {
    if (path.empty()) refuse(path, "has an empty " + std::string(what));
    if (path.size() > kMaxPath)
        refuse(path, "has a " + std::string(what) + " over " + std::to_string(kMaxPath) + " bytes");
    if (path == "/") return {};  // umoci names the root so
    if (path.front() == '/') refuse(path, "has an absolute " + std::string(what));
    std::vector<std::string> out;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        std::string name = path.substr(at, end - at);
        at = end + 1;
        if (name.empty() || name == ".") continue;
        if (name == "..") refuse(path, "has a " + std::string(what) + " that climbs out (\"..\")");
        if (name.size() > kMaxName) refuse(path, "has a name over " + std::to_string(kMaxName) + " bytes");
        out.push_back(std::move(name));
    }
    if (out.size() > kMaxDepth) refuse(path, "lies deeper than " + std::to_string(kMaxDepth) + " folders");
    return out;
}

// Opens a folder on the way to an entry. An invalid Fd: it is not there and was not to be made.
Fd TreeWriter::enter(int parent, const std::string& name, const std::string& path, bool make) {
    bool made = false, hides_lower = false;
    for (int attempt = 0; attempt < 4; ++attempt) {
        Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (fd) {
            // The layer may never say how it wants this folder, and the daemon's umask is not the image's.
            if (made && ::fchmod(fd.get(), kImplicitMode) != 0) failed(path, "set the mode of");
            if (hides_lower) hide_lower(fd.get(), path);
            if (make) remember(path);  // it holds something of this layer
            return fd;
        }
        if (errno == ENOENT) {
            if (!make) return {};
            made = ::mkdirat(parent, name.c_str(), kImplicitMode) == 0;
            if (!made && errno != EEXIST) failed(path, "make folder");
            continue;
        }
        if (errno != ENOTDIR && errno != ELOOP) failed(path, "open folder");
        if (!make) return {};
        struct stat st {};
        hides_lower = form_ == TreeForm::kOverlay && exists(parent, name, &st) && is_whiteout(st);
        // A link or file of this layer must not be a step of a path; one of a lower layer gives way, and so does the
        // mark that a lower one's is deleted.
        if (!hides_lower && made_here(path)) refuse(path, "is no folder, but another entry passes through it");
        if (::unlinkat(parent, name.c_str(), 0) != 0) failed(path, "replace");
    }
    errno = ELOOP;
    failed(path, "open folder");
}

void TreeWriter::hide_lower(int folder, const std::string& path) const {
    if (::fsetxattr(folder, kOpaqueMark, "y", 1, 0) != 0) failed(path, "mark as opaque");
}

TreeWriter::Place TreeWriter::place(const std::string& path, std::string_view what, bool make_parents) {
    std::vector<std::string> names = components(path, what);
    Place out;
    if (names.empty()) {
        out.parent = root_.get();
        return out;
    }
    out.name = std::move(names.back());
    names.pop_back();
    std::string folder;
    for (const std::string& name : names) folder += (folder.empty() ? "" : "/") + name;
    out.path = folder.empty() ? out.name : folder + "/" + out.name;
    if (folder.empty()) {
        out.parent = root_.get();
        return out;
    }
    if (folder != parent_path_ || !parent_fd_) {
        Fd fd;
        std::string so_far;
        for (const std::string& name : names) {
            so_far += (so_far.empty() ? "" : "/") + name;
            Fd next = enter(fd ? fd.get() : root_.get(), name, so_far, make_parents);
            if (!next) return out;
            fd = std::move(next);
        }
        parent_fd_ = std::move(fd);
        parent_path_ = folder;
    }
    out.parent = parent_fd_.get();
    return out;
}

void TreeWriter::add(const TreeEntry& entry, const Content& content) {
    if (++entries_ > kMaxEntries) refuse(entry.path, "is one more than " + std::to_string(kMaxEntries) + " entries");
    const Place at = place(entry.path, "path", true);
    if (at.name.empty()) {
        if (!S_ISDIR(entry.type) || entry.hard_link) refuse(entry.path, "would replace the root");
        folders_.push_back({"", entry.permissions, entry.uid, entry.gid, entry.mtime});
        return;
    }
    if (at.name == kOpaque) return opaque(at);
    if (at.name.starts_with(kInternal)) return;
    if (at.name.starts_with(kWhiteout)) return whiteout(at);
    if (entry.hard_link) return hard_link(at, entry);
    switch (entry.type) {
        case S_IFREG:
            return file(at, entry, content);
        case S_IFDIR:
            return folder(at, entry);
        case S_IFLNK:
            return symbolic_link(at, entry);
        case S_IFCHR:
        case S_IFBLK:
        case S_IFIFO:
            return node(at, entry);
        default:
            return;  // sockets mean nothing without their process
    }
}

// Makes room for an entry that is no folder.
void TreeWriter::clear(const Place& at) {
    struct stat st {};
    if (!exists(at.parent, at.name, &st)) return;
    remove_tree(at.parent, at.name, at.path, false);
    parent_path_.clear();  // the folder that was removed may be the remembered one or above it
}

void TreeWriter::remove_tree(int parent, const std::string& name, const std::string& path, bool keep_made) {
    if (keep_made && made_.contains(path)) {
        const Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) return;
        for (const std::string& child : names_in(fd.get())) remove_tree(fd.get(), child, path + "/" + child, true);
        return;
    }
    if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) failed(path, "remove");
    {
        const Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) failed(path, "open folder");
        for (const std::string& child : names_in(fd.get())) remove_tree(fd.get(), child, path + "/" + child, false);
    }
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) failed(path, "remove folder");
}

void TreeWriter::whiteout(const Place& at) {
    const std::string name = at.name.substr(kWhiteout.size());
    if (name.empty() || name == "." || name == "..") refuse(at.path, "is no deletion of anything");
    const std::string path = at.path.substr(0, at.path.size() - at.name.size()) + name;
    struct stat st {};
    if (form_ == TreeForm::kFlat) {
        if (exists(at.parent, name, &st)) remove_tree(at.parent, name, path, true);
        parent_path_.clear();
        return;
    }
    if (exists(at.parent, name, &st)) {  // the layer deletes the lower one's and brought its own
        if (!S_ISDIR(st.st_mode)) return;
        const Fd fd(::openat(at.parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!fd) failed(path, "open folder");
        return hide_lower(fd.get(), path);
    }
    if (::mknodat(at.parent, name.c_str(), S_IFCHR | 0600, ::makedev(0, 0)) != 0) failed(path, "mark as deleted");
}

void TreeWriter::opaque(const Place& at) {
    if (form_ == TreeForm::kOverlay) return hide_lower(at.parent, at.path);
    const std::string folder = at.path.substr(0, at.path.size() - at.name.size());
    for (const std::string& name : names_in(at.parent)) remove_tree(at.parent, name, folder + name, true);
    parent_path_.clear();
}

void TreeWriter::folder(const Place& at, const TreeEntry& entry) {
    struct stat st {};
    bool hides_lower = false;
    if (exists(at.parent, at.name, &st) && !S_ISDIR(st.st_mode)) {
        hides_lower = form_ == TreeForm::kOverlay && is_whiteout(st);
        clear(at);
    }
    if (::mkdirat(at.parent, at.name.c_str(), 0755) != 0 && errno != EEXIST) failed(at.path, "make folder");
    remember(at.path);
    const Fd fd = enter(at.parent, at.name, at.path, false);
    if (!fd) failed(at.path, "open folder");
    if (hides_lower) hide_lower(fd.get(), at.path);
    set_xattrs(fd.get(), entry);
    folders_.push_back({at.path, entry.permissions, entry.uid, entry.gid, entry.mtime});
}

void TreeWriter::file(const Place& at, const TreeEntry& entry, const Content& content) {
    clear(at);
    const Fd fd(::openat(at.parent, at.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) failed(at.path, "create");
    remember(at.path);
    content([&](const void* data, std::size_t len, std::int64_t offset) {
        const char* from = static_cast<const char*>(data);
        while (len > 0) {
            const ssize_t n = ::pwrite(fd.get(), from, len, offset);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) failed(at.path, "write");
            from += n;
            offset += n;
            len -= static_cast<std::size_t>(n);
        }
    });
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) failed(at.path, "examine");
    // Holes at the end have no data.
    if (st.st_size < entry.size && ::ftruncate(fd.get(), entry.size) != 0) failed(at.path, "extend");
    // Owner before mode: a change of owner clears set-user-id.
    if (keep_owners_ && ::fchown(fd.get(), entry.uid, entry.gid) != 0) failed(at.path, "give to its owner");
    const mode_t mode = keep_owners_ ? entry.permissions & 07777 : (entry.permissions & 0777) | 0600;
    if (::fchmod(fd.get(), mode) != 0) failed(at.path, "set the mode of");
    set_xattrs(fd.get(), entry);
    const timespec times[2] = {entry.mtime, entry.mtime};
    (void)::futimens(fd.get(), times);
}

void TreeWriter::own_link(const Place& at, const TreeEntry& entry) {
    if (keep_owners_ && ::fchownat(at.parent, at.name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
        failed(at.path, "give to its owner");
    }
    const timespec times[2] = {entry.mtime, entry.mtime};
    (void)::utimensat(at.parent, at.name.c_str(), times, AT_SYMLINK_NOFOLLOW);
    remember(at.path);
}

void TreeWriter::symbolic_link(const Place& at, const TreeEntry& entry) {
    // Any target may stand in a link: it is only ever followed inside the container. Writing through it is refused.
    if (entry.link.empty() || entry.link.size() >= kMaxPath) refuse(entry.path, "is a link without a usable target");
    clear(at);
    if (::symlinkat(entry.link.c_str(), at.parent, at.name.c_str()) != 0) failed(at.path, "make link");
    own_link(at, entry);
}

void TreeWriter::hard_link(const Place& at, const TreeEntry& entry) {
    const Fd here(::dup(at.parent));  // place() below may forget the parent
    if (!here) failed(at.path, "open the folder of");
    const Place to = place(entry.link, "link target", false);
    struct stat st {};
    if (to.parent < 0 || to.name.empty() || !exists(to.parent, to.name, &st) || !made_here(to.path)) {
        refuse(entry.path, "is a hard link to \"" + entry.link.substr(0, 300) + "\", which this layer does not hold");
    }
    if (S_ISDIR(st.st_mode)) refuse(entry.path, "is a hard link to a folder");
    if (to.path == at.path) return;
    const Fd there(::dup(to.parent));
    clear({here.get(), at.name, at.path});
    if (::linkat(there.get(), to.name.c_str(), here.get(), at.name.c_str(), 0) != 0) failed(at.path, "make hard link");
    remember(at.path);
}

void TreeWriter::node(const Place& at, const TreeEntry& entry) {
    if (entry.type != S_IFIFO) {
        if (entry.type == S_IFCHR && entry.device == ::makedev(0, 0)) refuse(entry.path, "is a disguised deletion");
        if (!keep_owners_) return;  // an ordinary user makes no devices
    }
    clear(at);
    if (::mknodat(at.parent, at.name.c_str(), entry.type | 0600, entry.device) != 0) failed(at.path, "make node");
    own_link(at, entry);
    if (::fchmodat(at.parent, at.name.c_str(), entry.permissions & 07777, 0) != 0) failed(at.path, "set the mode of");
}

void TreeWriter::set_xattrs(int fd, const TreeEntry& entry) {
    for (const auto& [name, value] : entry.xattrs) {
        // trusted.* would speak to overlayfs in the image's name, other security.* to this node's policy.
        const bool wanted = (name.starts_with("user.") && !name.starts_with("user.overlay.")) ||
                            (keep_owners_ && name == "security.capability");
        if (!wanted || ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
        if (errno != ENOTSUP && errno != EPERM) failed(entry.path, "set an attribute of");
    }
}

void TreeWriter::finish_layer() {
    // Only now: a folder may have come read-only before its content.
    for (const Folder& folder : folders_) {
        Fd fd;
        if (folder.path.empty()) {
            fd.reset(::dup(root_.get()));
        } else {
            const Place at = place(folder.path, "path", false);
            if (at.parent < 0) continue;
            fd.reset(::openat(at.parent, at.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        }
        if (!fd) continue;  // a later entry replaced it
        if (keep_owners_ && ::fchown(fd.get(), folder.uid, folder.gid) != 0) failed(folder.path, "give to its owner");
        const mode_t mode = keep_owners_ ? folder.permissions & 07777 : (folder.permissions & 0777) | 0700;
        if (::fchmod(fd.get(), mode) != 0) failed(folder.path, "set the mode of");
        const timespec times[2] = {folder.mtime, folder.mtime};
        (void)::futimens(fd.get(), times);
    }
    begin_layer(std::move(layer_));
}

}  // namespace image_store
