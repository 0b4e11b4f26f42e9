// SPDX-License-Identifier: Apache-2.0
#include "kernel/trust/owned.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

namespace gantry::trust {
namespace {

std::string errno_text() { return std::strerror(errno); }

// In a user namespace every owner outside of it, the machine's root among them, looks like this user and group.
constexpr ::uid_t kOverflow = 65'534;

bool in_user_namespace() {
    std::ifstream map("/proc/self/uid_map");
    std::uint64_t inside = 0, outside = 0, count = 0;
    return (map >> inside >> outside >> count) && count < 0xffff'ffff;
}

// One folder below another; kNotFound if there is none, kRefused for a link and for what is no folder.
Result<Descriptor> open_below(int parent, const std::string& name, const std::string& path) {
    const int fd = ::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) return Descriptor(fd);
    if (errno == ENOENT) return fail(Code::kNotFound, path + " does not exist");
    const std::string why = errno_text();
    struct stat info {};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode)) {
        std::error_code unknown;
        const std::filesystem::path target = std::filesystem::canonical(path, unknown);
        return fail(Code::kRefused, path + " is a symbolic link, expected a folder" +
                                        (unknown ? "" : "; write " + target.string() + " instead"));
    }
    return fail(Code::kRefused, path + " cannot be opened as a folder: " + why);
}

}  // namespace

Status check_owner(int fd, const std::string& path, bool folder) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return fail(Code::kRefused, path + " cannot be examined: " + errno_text());
    const bool outside = (info.st_uid == kOverflow || info.st_gid == kOverflow) && in_user_namespace();
    const bool perhaps_root = outside && info.st_uid == kOverflow;
    if (info.st_uid != 0 && info.st_uid != ::geteuid() && !perhaps_root) {
        return fail(Code::kRefused, path + " belongs to user " + std::to_string(info.st_uid) +
                                        ", expected root or user " + std::to_string(::geteuid()));
    }
    const bool sticky_root = folder && (info.st_uid == 0 || perhaps_root) && (info.st_mode & S_ISVTX) != 0;
    if ((info.st_mode & S_IWOTH) != 0 && !sticky_root) {
        return fail(Code::kRefused, path + " can be written by everybody; run chmod o-w on it");
    }
    const bool group_ok = info.st_gid == 0 || info.st_gid == ::getegid() || (outside && info.st_gid == kOverflow);
    if ((info.st_mode & S_IWGRP) != 0 && !group_ok && !sticky_root) {
        return fail(Code::kRefused, path + " can be written by group " + std::to_string(info.st_gid) +
                                        "; run chmod g-w on it, or give it to group root");
    }
    return {};
}

Result<Folder> open_folder(const std::filesystem::path& path) {
    if (!path.is_absolute()) return fail(Code::kRefused, path.string() + " is not absolute, expected a path from /");
    Folder out;
    out.fd = Descriptor(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    out.trusted = check_owner(out.fd.get(), "/", true);
    std::string so_far;
    for (const auto& part : path.lexically_normal().relative_path()) {
        if (part.empty()) continue;
        so_far += "/" + part.string();
        GANTRY_TRY(next, open_below(out.fd.get(), part, so_far));
        out.fd = std::move(next);
        if (out.trusted) out.trusted = check_owner(out.fd.get(), so_far, true);
    }
    return out;
}

Result<Descriptor> open_owned(const Folder& folder, const std::filesystem::path& path, const std::string& name) {
    Descriptor file(::openat(folder.fd.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    const int why = file.get() < 0 ? errno : 0;
    if (why == ENOENT) return fail(Code::kNotFound, "no such file");
    GANTRY_CHECK(folder.trusted);
    const std::string whole = (path / name).string();
    if (why == ELOOP) return fail(Code::kRefused, whole + " is a symbolic link, expected the file itself");
    if (why != 0) return fail(Code::kRefused, whole + " cannot be opened: " + std::strerror(why));
    struct stat info {};
    if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
        return fail(Code::kRefused, whole + " is no regular file");
    }
    GANTRY_CHECK(check_owner(file.get(), whole, false));
    return file;
}

Result<std::string> read_owned(const Folder& folder, const std::filesystem::path& path, const std::string& name,
                               std::size_t max) {
    GANTRY_TRY(file, open_owned(folder, path, name));
    const std::string whole = (path / name).string();
    std::string out(max + 1, '\0');
    std::size_t have = 0;
    while (have < out.size()) {
        const ssize_t n = ::read(file.get(), out.data() + have, out.size() - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(Code::kRefused, whole + " cannot be read: " + errno_text());
        if (n == 0) break;
        have += static_cast<std::size_t>(n);
    }
    if (have > max) return fail(Code::kRefused, whole + " is longer than " + std::to_string(max) + " bytes");
    out.resize(have);
    return out;
}

}  // namespace gantry::trust
