// SPDX-License-Identifier: Apache-2.0
#include "plugins/frontend/http/socket_file.hpp"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace gantry::http {

namespace {

constexpr int kBacklog = 128;

[[noreturn]] void failed(const std::string& what) {
    throw Failure(Code::kUnavailable, what + ": " + std::strerror(errno));
}

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

Fd new_socket() {
    Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) failed("cannot make a socket");
    return fd;
}

// Removes what an earlier process left at path, if it was a socket and nobody listens on it.
void remove_stale(const std::string& path) {
    struct stat have {};
    if (lstat(path.c_str(), &have) != 0) {
        if (errno == ENOENT) return;
        failed("cannot examine the socket " + path);
    }
    if (!S_ISSOCK(have.st_mode))
        throw Failure(Code::kExists, path + " is there and is no socket: move it away or choose another path");
    const auto address = address_of(path);
    const Fd probe = new_socket();
    const int connected = connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    // A full backlog (EAGAIN) has somebody who listens, too.
    if (connected != 0 && errno != ECONNREFUSED && errno != EAGAIN)
        failed("cannot find out whether somebody listens on " + path);
    if (connected == 0 || errno == EAGAIN)
        throw Failure(Code::kExists, "another process listens on " + path +
                                         ": is a second gantryd running? Stop it or choose another path");
    if (unlink(path.c_str()) != 0 && errno != ENOENT) failed("cannot remove the stale socket " + path);
}

// The first entry of a local account file (`/etc/group`, `/etc/passwd`) that fits. Not through the name service switch:
// its modules cost an agent 300 KiB, and one of them may ask the network while the loop waits.
template <typename Entry, typename Fits>
std::optional<Entry> find_entry(const char* path, int (*next)(FILE*, Entry*, char*, std::size_t, Entry**),
                                std::vector<char>& text, Fits fits) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "re"), &std::fclose);
    if (!file) return std::nullopt;
    Entry entry{};
    Entry* found = nullptr;
    while (next(file.get(), &entry, text.data(), text.size(), &found) == 0)
        if (fits(entry)) return entry;
    return std::nullopt;
}

std::optional<gid_t> group_id(const std::string& name) {
    std::vector<char> text(64 << 10);
    const auto entry =
        find_entry<group>("/etc/group", fgetgrent_r, text, [&](const group& have) { return have.gr_name == name; });
    return entry ? std::optional(entry->gr_gid) : std::nullopt;
}

// The group that may use the socket, if it is there.
std::optional<gid_t> find_group(const Settings& settings, const Host& host) {
    if (settings.group.empty()) return std::nullopt;
    const auto gid = group_id(settings.group);
    if (!gid)
        host.warn("there is no group \"" + settings.group + "\" in /etc/group: " + settings.socket +
                  " keeps the group of gantryd");
    return gid;
}

void hand_to_group(const std::string& path, const Settings& settings, gid_t gid, const Host& host) {
    if (lchown(path.c_str(), static_cast<uid_t>(-1), gid) != 0)
        host.warn("cannot give " + path + " to the group \"" + settings.group + "\": " + std::strerror(errno));
}

// Whoever may use the socket must be able to walk to it, whatever the umask says. Folders that are there already are
// the operator's.
void make_folders(const Settings& settings, std::optional<gid_t> gid, const Host& host) {
    const mode_t for_group = (settings.mode & 0070u) != 0 ? 0050 : 0;
    const mode_t for_all = (settings.mode & 0007u) != 0 ? 0005 : 0;
    std::vector<std::string> missing;
    struct stat have {};
    for (auto folder = std::filesystem::path(settings.socket).parent_path();
         stat(folder.c_str(), &have) != 0 && errno == ENOENT; folder = folder.parent_path())
        missing.push_back(folder);
    for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
        if (mkdir(folder->c_str(), 0700) != 0) failed("cannot make the folder " + *folder);
        if (gid) hand_to_group(*folder, settings, *gid, host);
        if (chmod(folder->c_str(), 0700 | for_group | for_all) != 0) failed("cannot set the mode of " + *folder);
    }
}

}  // namespace

void check_socket_path(const std::string& path) {
    if (path.empty() || path.front() != '/')
        throw Failure(Code::kInvalid, "socket: expected an absolute path, got \"" + path + "\"");
    constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
    if (path.size() > kLongest)
        throw Failure(Code::kInvalid, "socket: expected a path of at most " + std::to_string(kLongest) +
                                          " bytes, got " + std::to_string(path.size()));
}

SocketFile::SocketFile(const Settings& settings, Host& host) : path_(settings.socket) {
    const auto gid = find_group(settings, host);
    listener_ = host.inherit("unix:" + path_);
    struct stat made {};
    const bool there = listener_ && lstat(path_.c_str(), &made) == 0 && S_ISSOCK(made.st_mode);
    if (!there) {
        make_folders(settings, gid, host);
        remove_stale(path_);
        listener_ = new_socket();
        const auto address = address_of(path_);
        if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            failed("cannot make the socket " + path_);
    }
    if (lstat(path_.c_str(), &made) == 0) {
        device_ = made.st_dev;
        inode_ = made.st_ino;
    }
    // Nobody can connect before listen(), so the permissions are in force for everybody.
    if (gid) hand_to_group(path_, settings, *gid, host);
    if (chmod(path_.c_str(), settings.mode) != 0) failed("cannot set the mode of the socket " + path_);
    if (listen(listener_.get(), kBacklog) != 0) failed("cannot listen on " + path_);
    kept_ = host.keep(listener_.get()).ok();
}

SocketFile::~SocketFile() {
    struct stat have {};
    const bool ours = lstat(path_.c_str(), &have) == 0 && have.st_dev == device_ && have.st_ino == inode_;
    if (ours && !kept_) unlink(path_.c_str());
}

Principal peer_of(int connection) {
    ucred peer{};
    socklen_t length = sizeof peer;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return {};
    Principal who{"unix", std::to_string(peer.uid), peer.uid, peer.gid};
    std::vector<char> text(16 << 10);
    const auto entry = find_entry<passwd>("/etc/passwd", fgetpwent_r, text,
                                          [&](const passwd& have) { return have.pw_uid == peer.uid; });
    if (entry) who.name = entry->pw_name;
    return who;
}

}  // namespace gantry::http
