// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <gantry/elf/rules.hpp>
#include <string>

#include "kernel/base/json.hpp"
#include "kernel/host/host.hpp"
#include "kernel/trust/owned.hpp"

namespace gantry::host {
namespace {

// As notes spell them.
constexpr std::array<std::string_view, 8> kRoles{"placement/1",     "runtime/1",       "probe/1",     "transport/1",
                                                 "draft.discovery", "draft.directory", "draft.store", "draft.frontend"};

// The plugin's file in one folder of the path; kNotFound if it is not there.
Result<trust::Descriptor> open_in(const std::filesystem::path& folder, const std::string& name) {
    GANTRY_TRY(opened, trust::open_folder(folder));
    return trust::open_owned(opened, folder, name);
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

// Who vouches for it, what it is, what its note says. FOLDER/NAME is the file.
Status examine(PluginFile& file, std::string_view role, trust::Verifier& verifier, const std::filesystem::path& folder,
               const std::string& name) {
    GANTRY_TRY(identity, FileIdentity::of(file.fd));
    file.identity = identity;
    // Before anything in it is looked at: what was changed is not worth reading.
    GANTRY_TRY(origin, verifier.examine(file.fd, folder, name));
    file.origin = std::move(origin);
    elf::Reading reading = elf::read_plugin(file.fd);
    if (Status checked = check_note(reading, role); !checked) {
        return fail(Code::kRefused, file.path + ": " + checked.error().message);
    }
    file.note = std::move(reading.note);
    return {};
}

}  // namespace

PluginFile::~PluginFile() {
    if (fd >= 0) ::close(fd);
}

Result<FileIdentity> FileIdentity::of(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) return fail(Code::kFailed, std::string("cannot be examined: ") + std::strerror(errno));
    const auto ns = [](const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec; };
    return FileIdentity{info.st_dev, info.st_ino, info.st_size, ns(info.st_mtim), ns(info.st_ctim)};
}

std::string_view known_role(std::string_view folder) {
    const auto* it = std::ranges::find(kRoles, folder, &elf::role_folder);
    return it == kRoles.end() ? std::string_view() : *it;
}

Result<std::shared_ptr<PluginFile>> open_plugin(const std::vector<std::filesystem::path>& path, std::string_view role,
                                                std::string_view plugin, trust::Verifier& verifier) {
    const bool plain = !plugin.empty() && plugin.find('/') == std::string_view::npos && plugin.front() != '.';
    if (!plain)
        return fail(Code::kRefused, "`" + std::string(plugin) + "` is no name of a plugin, expected a file name");
    const std::string name = std::string(plugin) + ".so";
    auto file = std::make_shared<PluginFile>();
    std::filesystem::path found;
    std::string looked;
    for (const auto& folder : path) {
        Result<trust::Descriptor> opened = open_in(folder / role, name);
        if (opened) {
            file->fd = opened->release();
            file->path = (folder / role / name).string();
            found = folder;
            break;
        }
        if (opened.error().code != Code::kNotFound) return std::unexpected(std::move(opened).error());
        looked += (looked.empty() ? "" : ", ") + (folder / role).string();
    }
    if (file->fd < 0) {
        return fail(Code::kNotFound, "no " + name + " in " +
                                         (looked.empty() ? "any folder: [plugins] path is empty" : looked) +
                                         guess(path, role, plugin));
    }
    GANTRY_CHECK(examine(*file, role, verifier, found, std::string(role) + "/" + name));
    return file;
}

Result<std::shared_ptr<PluginFile>> open_plugin_file(const std::filesystem::path& path, std::string_view role,
                                                     trust::Verifier& verifier) {
    if (!path.is_absolute()) return fail(Code::kInvalid, path.string() + " is no absolute path");
    auto file = std::make_shared<PluginFile>();
    file->path = path.string();
    Result<trust::Descriptor> opened = open_in(path.parent_path(), path.filename().string());
    if (!opened && opened.error().code == Code::kNotFound) return fail(Code::kNotFound, file->path + " is not there");
    if (!opened) return std::unexpected(std::move(opened).error());
    file->fd = opened->release();
    const std::filesystem::path folder = path.parent_path();
    GANTRY_CHECK(examine(*file, role, verifier, folder.parent_path(),
                         folder.filename().string() + "/" + path.filename().string()));
    return file;
}

Result<std::shared_ptr<PluginFile>> open_chosen(const ChosenFile& chosen, std::string_view role) {
    auto file = std::make_shared<PluginFile>();
    file->path = chosen.path;
    file->origin = chosen.origin;
    file->fd = ::fcntl(chosen.fd, F_DUPFD_CLOEXEC, 0);
    if (file->fd < 0) return fail(Code::kFailed, file->path + ": its descriptor is gone: " + std::strerror(errno));
    GANTRY_TRY(identity, FileIdentity::of(file->fd));
    file->identity = identity;
    elf::Reading reading = elf::read_plugin(file->fd);
    if (Status checked = check_note(reading, role); !checked)
        return fail(Code::kRefused, file->path + ": " + checked.error().message);
    file->note = std::move(reading.note);
    return file;
}

}  // namespace gantry::host
