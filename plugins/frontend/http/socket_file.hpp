// SPDX-License-Identifier: Apache-2.0
//
// The socket in the file system: made with its mode and group before anybody can connect, removed at the end.
#pragma once

#include <sys/types.h>

#include <gantry/host.hpp>
#include <gantry/view.hpp>
#include <string>

#include "plugins/frontend/http/settings.hpp"

namespace gantry::http {

class SocketFile {
  public:
    // Listens: on the socket of the plugin that was here before, or a new one. Its folder is made if it is not there,
    // for the same group. A file that a dead process left is replaced; throws Failure if somebody listens there, if
    // something else is there, or if it cannot be made. Logs what could not be set.
    SocketFile(const Settings& settings, Host& host);
    ~SocketFile();
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;

    // The listening descriptor; the caller closes it.
    int release() { return listener_.release(); }

  private:
    std::string path_;
    Fd listener_;
    bool kept_ = false;  // the host removes the file
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

// Throws Failure(kInvalid) if no socket can have that path.
void check_socket_path(const std::string& path);
// The process at the other end: kind "unix", its user's name (its number if it has none), user and group ids.
Principal peer_of(int connection);

}  // namespace gantry::http
