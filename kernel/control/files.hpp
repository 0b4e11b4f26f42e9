// SPDX-License-Identifier: Apache-2.0
//
// Files the daemon keeps: whole and durable, or not there.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "kernel/base/result.hpp"

namespace gantry::control {

class FileDescriptor {
  public:
    explicit FileDescriptor(int fd = -1) : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~FileDescriptor() {
        if (fd_ >= 0) close(fd_);
    }
    explicit operator bool() const { return fd_ >= 0; }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

// An error with errno's text; kFull for a full disk or quota.
std::unexpected<Error> fail_errno(const std::string& what);

Result<std::string> read_file(const std::filesystem::path& file, std::size_t max_bytes);
// Replaces the file by a new one, synced before it gets its name. Readable by the owner alone.
Status write_file(const std::filesystem::path& file, std::string_view text);
Status write_all(int fd, std::string_view bytes, off_t offset, const std::string& name);
Status sync_folder(const std::filesystem::path& folder);
// 16 random hexadecimal digits.
std::string random_name();
// A random UUID as text.
std::string new_uuid();

}  // namespace gantry::control
