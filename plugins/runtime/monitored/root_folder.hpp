// SPDX-License-Identifier: Apache-2.0
//
// RootFolder: looks into the file system of an image without ever leaving it: absolute links and ".." lead back into
// the root. No chroot is needed.
#pragma once

#include <filesystem>
#include <gantry/view.hpp>
#include <string>
#include <vector>

namespace monitored {

class RootFolder {
  public:
    // Throws Failure(kFailed) if it cannot be opened.
    explicit RootFolder(const std::filesystem::path& root);

    // Opens with openat2(RESOLVE_IN_ROOT); invalid if it is not there.
    gantry::Fd open(const std::string& path, int flags) const;
    // The path on this node of what `path` leads to inside the root; empty if there is nothing.
    std::string resolve(const std::string& path) const;

  private:
    gantry::Fd fd_;
};

struct User {
    unsigned uid = 0, gid = 0;
    std::vector<unsigned> groups;  // further ones
    std::string home = "/";
};

// "name", "uid", "name:group", "uid:gid" or "" (root), by the image's own /etc/passwd and /etc/group. Throws
// Failure(kInvalid) for a name that is not there.
User find_user(const RootFolder& root, const std::string& text);

}  // namespace monitored
