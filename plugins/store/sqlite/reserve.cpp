// SPDX-License-Identifier: Apache-2.0
#include "plugins/store/sqlite/reserve.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gantry/view.hpp>

namespace gantry::sqlite {

namespace {
// Room that must be left beside a new reserve: otherwise it would be given up again by the very next commit.
constexpr std::int64_t kBeside = 1 << 20;
}  // namespace

bool Reserve::keep() {
    if (bytes_ == 0 || held_) return true;
    held_ = allocate();
    return held_;
}

bool Reserve::give_up() {
    if (!held_) return false;
    held_ = false;
    return unlink(path_.c_str()) == 0;
}

bool Reserve::allocate() const {
    const Fd file(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return false;
    struct stat have {};
    struct statvfs disk {};
    if (fstat(file.get(), &have) != 0 || fstatvfs(file.get(), &disk) != 0) return false;
    const std::int64_t allocated = std::int64_t{have.st_blocks} * 512;
    if (have.st_size == bytes_ && allocated >= bytes_) return true;  // left by an earlier run

    const auto room = static_cast<std::int64_t>(disk.f_bavail) * static_cast<std::int64_t>(disk.f_frsize);
    const bool fits = room + allocated >= bytes_ + kBeside;
    if (fits && ftruncate(file.get(), bytes_) == 0 && posix_fallocate(file.get(), 0, bytes_) == 0) return true;
    unlink(path_.c_str());
    return false;
}

}  // namespace gantry::sqlite
