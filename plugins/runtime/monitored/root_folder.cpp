// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/root_folder.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <gantry/status.hpp>
#include <optional>

#include "plugins/runtime/monitored/files.hpp"

namespace monitored {
namespace {

using gantry::Code;
using gantry::Failure;
using gantry::Fd;

constexpr std::size_t kMaxAccounts = 1 << 20;  // bytes of passwd or group that are read
constexpr std::size_t kMaxGroups = 64;

std::string read_accounts(const RootFolder& root, const char* path) {
    const Fd fd = root.open(path, O_RDONLY | O_NONBLOCK);
    struct stat st {};
    if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return {};
    std::string out(static_cast<std::size_t>(std::min<long long>(st.st_size, kMaxAccounts)), '\0');
    const ssize_t n = ::pread(fd.get(), out.data(), out.size(), 0);
    out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return out;
}

// Calls use(fields) for each line "a:b:c" until it answers true.
template <class Use>
void each_line(const std::string& text, Use&& use) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        std::vector<std::string> fields(1);
        for (const char c : std::string_view(text).substr(at, end - at)) {
            if (c == ':') {
                fields.emplace_back();
            } else {
                fields.back() += c;
            }
        }
        if (use(fields)) return;
        at = end + 1;
    }
}

std::optional<unsigned> number(const std::string& text) {
    const std::optional<long long> value = parse_number(text);
    if (!value || *value < 0 || *value >= UINT_MAX) return std::nullopt;
    return static_cast<unsigned>(*value);
}

bool listed(const std::string& members, const std::string& name) {
    return ("," + members + ",").find("," + name + ",") != std::string::npos;
}

}  // namespace

RootFolder::RootFolder(const std::filesystem::path& root)
    : fd_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!fd_) file_failed("open", root, errno);
}

Fd RootFolder::open(const std::string& path, int flags) const {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return Fd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), path.c_str(), &how, sizeof(how))));
}

std::string RootFolder::resolve(const std::string& path) const {
    const Fd fd = open(path, O_PATH);
    if (!fd) return {};
    std::array<char, PATH_MAX> target;
    const std::string link = "/proc/self/fd/" + std::to_string(fd.get());
    const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
    return n > 0 ? std::string(target.data(), static_cast<std::size_t>(n)) : std::string();
}

User find_user(const RootFolder& root, const std::string& text) {
    User out;
    const std::size_t colon = text.find(':');
    const std::string user = text.substr(0, colon).empty() ? "0" : text.substr(0, colon);
    const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
    const std::optional<unsigned> uid = number(user);
    std::string name = user;
    bool found = false;
    each_line(read_accounts(root, "/etc/passwd"), [&](const std::vector<std::string>& f) {
        if (f.size() < 6) return false;
        const std::optional<unsigned> id = number(f[2]), main_group = number(f[3]);
        if (!id || !main_group || (uid ? *id != *uid : f[0] != user)) return false;
        out = {*id, *main_group, {}, f[5].empty() ? "/" : f[5]};
        name = f[0];
        return found = true;
    });
    if (!found && !uid) {
        throw Failure(Code::kInvalid, "user \"" + user + "\" is not in the image's /etc/passwd; give a number");
    }
    if (!found) out.uid = *uid;
    const std::optional<unsigned> gid = group.empty() ? std::nullopt : number(group);
    bool group_found = group.empty() || gid.has_value();
    if (gid) out.gid = *gid;
    each_line(read_accounts(root, "/etc/group"), [&](const std::vector<std::string>& f) {
        if (f.size() < 4) return false;
        const std::optional<unsigned> id = number(f[2]);
        if (!id) return false;
        if (!group_found && f[0] == group) {
            out.gid = *id;
            group_found = true;
        }
        // Membership counts for a user without a group of its own choice, as docker and podman have it.
        if (group.empty() && found && listed(f[3], name) && out.groups.size() < kMaxGroups) out.groups.push_back(*id);
        return false;
    });
    if (!group_found) {
        throw Failure(Code::kInvalid, "group \"" + group + "\" is not in the image's /etc/group; give a number");
    }
    return out;
}

}  // namespace monitored
