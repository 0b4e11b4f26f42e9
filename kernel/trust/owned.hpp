// SPDX-License-Identifier: Apache-2.0
//
// Files and folders that only root and this process's user can change: what gantryd loads and believes.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "kernel/base/result.hpp"

namespace gantry::trust {

// A descriptor that is closed at the end.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

struct Folder {
    Descriptor fd;
    Status trusted;  // of it and of every folder above it: who may write there can exchange what is in it
};

// Owned by root or us, and by nobody else to write. Our own primary group may: that is a umask of 002. The error is
// kRefused with what to do.
Status check_owner(int fd, const std::string& path, bool folder);

// Step by step from the root. kNotFound if it is not there, kRefused for a symbolic link in it and a relative path.
Result<Folder> open_folder(const std::filesystem::path& path);

// A file in it, for reading; kNotFound if it is not there, kRefused for a link, for what is no regular file, and for
// one that others, or others in a folder above it, can change. `path`: of the folder.
Result<Descriptor> open_owned(const Folder& folder, const std::filesystem::path& path, const std::string& name);

// The whole text of such a file; kRefused also above `max` bytes.
Result<std::string> read_owned(const Folder& folder, const std::filesystem::path& path, const std::string& name,
                               std::size_t max);

}  // namespace gantry::trust
