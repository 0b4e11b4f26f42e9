// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <gantry/elf/rules.hpp>
#include <string>

#include "kernel/base/json.hpp"

namespace gantry::host {
namespace {

// As notes spell them.
constexpr std::array<std::string_view, 8> kRoles{"placement/1",     "runtime/1",       "probe/1",     "transport/1",
                                                 "draft.discovery", "draft.directory", "draft.store", "draft.frontend"};

std::string errno_text() { return std::strerror(errno); }

// In a user namespace every owner outside of it, the machine's root among them, looks like this user and group.
constexpr ::uid_t kOverflow = 65'534;

bool in_user_namespace() {
    std::ifstream map("/proc/self/uid_map");
    std::uint64_t inside = 0, outside = 0, count = 0;
    return (map >> inside >> outside >> count) && count < 0xffff'ffff;
}

// Owned by root or us, and by nobody else to write. Our own primary group may: that is a umask of 002.
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

// One folder below another; kNotFound if there is none, kRefused for a link and for what is no folder.
Result<int> open_below(int parent, const std::string& name, const std::string& path) {
    const int fd = ::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) return fd;
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

struct Folder {
    int fd = -1;
    Status trusted;  // of it and of every folder above it: who may write there can exchange the file
};

Result<Folder> open_folder(const std::filesystem::path& path) {
    if (!path.is_absolute()) return fail(Code::kRefused, path.string() + " is not absolute, expected a path from /");
    Folder out;
    out.fd = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    out.trusted = check_owner(out.fd, "/", true);
    std::string so_far;
    for (const auto& part : path.lexically_normal().relative_path()) {
        if (part.empty()) continue;
        so_far += "/" + part.string();
        Result<int> next = open_below(out.fd, part, so_far);
        ::close(out.fd);
        if (!next) return std::unexpected(std::move(next).error());
        out.fd = *next;
        if (out.trusted) out.trusted = check_owner(out.fd, so_far, true);
    }
    return out;
}

// The plugin's file in one folder of the path; kNotFound if it is not there.
Result<int> open_in(const std::filesystem::path& folder, std::string_view role, const std::string& name) {
    const std::filesystem::path sub = folder / role;
    Result<Folder> dir = open_folder(sub);
    if (!dir) return std::unexpected(std::move(dir).error());
    const int fd = ::openat(dir->fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    const int why = errno;
    ::close(dir->fd);
    if (fd < 0 && why == ENOENT) return fail(Code::kNotFound, "no such file");
    if (!dir->trusted) {
        if (fd >= 0) ::close(fd);
        return std::unexpected(std::move(dir->trusted).error());
    }
    const std::string path = (sub / name).string();
    if (fd < 0) {
        if (why == ELOOP) return fail(Code::kRefused, path + " is a symbolic link, expected the file itself");
        return fail(Code::kRefused, path + " cannot be opened: " + std::strerror(why));
    }
    return fd;
}

// What somebody may have meant: files of that role.
std::string guess(const std::vector<std::filesystem::path>& path, std::string_view role, std::string_view plugin) {
    std::vector<std::string> names;
    for (const auto& folder : path) {
        std::error_code ignored;  // an unreadable folder offers nothing
        for (const auto& item : std::filesystem::directory_iterator(folder / role, ignored)) {
            if (item.path().extension() == ".so") names.push_back(item.path().stem().string());
        }
    }
    const std::vector<std::string_view> views(names.begin(), names.end());
    if (const auto near = nearest(plugin, views)) return ", did you mean `" + *near + "`?";
    return {};
}

Status check_note(const elf::Reading& reading, std::string_view role) {
    const std::vector<elf::Objection> objections = elf::objections(reading);
    if (!objections.empty()) return fail(Code::kRefused, objections.front().text);
    if (reading.note.role == known_role(role)) return {};
    return fail(Code::kRefused, "offers the role " + reading.note.role + ", expected " + std::string(known_role(role)));
}

}  // namespace

PluginFile::~PluginFile() {
    if (fd >= 0) ::close(fd);
}

std::string_view known_role(std::string_view folder) {
    const auto* it = std::ranges::find(kRoles, folder, &elf::role_folder);
    return it == kRoles.end() ? std::string_view() : *it;
}

Result<std::shared_ptr<PluginFile>> open_plugin(const std::vector<std::filesystem::path>& path, std::string_view role,
                                                std::string_view plugin) {
    const bool plain = !plugin.empty() && plugin.find('/') == std::string_view::npos && plugin.front() != '.';
    if (!plain)
        return fail(Code::kRefused, "`" + std::string(plugin) + "` is no name of a plugin, expected a file name");
    const std::string name = std::string(plugin) + ".so";
    auto file = std::make_shared<PluginFile>();
    std::string looked;
    for (const auto& folder : path) {
        Result<int> fd = open_in(folder, role, name);
        if (fd) {
            file->fd = *fd;
            file->path = (folder / role / name).string();
            break;
        }
        if (fd.error().code != Code::kNotFound) return std::unexpected(std::move(fd).error());
        looked += (looked.empty() ? "" : ", ") + (folder / role).string();
    }
    if (file->fd < 0) {
        return fail(Code::kNotFound, "no " + name + " in " +
                                         (looked.empty() ? "any folder: [plugins] path is empty" : looked) +
                                         guess(path, role, plugin));
    }
    struct stat info {};
    if (::fstat(file->fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        return fail(Code::kRefused, file->path + " is no regular file");
    }
    GANTRY_CHECK(check_owner(file->fd, file->path, false));
    elf::Reading reading = elf::read_plugin(file->fd);
    if (Status checked = check_note(reading, role); !checked) {
        return fail(Code::kRefused, file->path + ": " + checked.error().message);
    }
    file->note = std::move(reading.note);
    return file;
}

}  // namespace gantry::host
