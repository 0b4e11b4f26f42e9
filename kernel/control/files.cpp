// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/files.hpp"

#include <fcntl.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace gantry::control {

std::unexpected<Error> fail_errno(const std::string& what) {
    const int error = errno;
    const Code code = error == ENOSPC || error == EDQUOT ? Code::kFull
                      : error == ENOENT                  ? Code::kNotFound
                                                         : Code::kFailed;
    return fail(code, what + ": " + std::strerror(error));
}

Result<std::string> read_file(const std::filesystem::path& file, std::size_t max_bytes) {
    const FileDescriptor fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno("cannot read " + file.string());
    std::string out;
    std::array<char, 16 << 10> buffer;
    for (;;) {
        const auto n = read(fd.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("cannot read " + file.string());
        if (n == 0) return out;
        out.append(buffer.data(), static_cast<std::size_t>(n));
        if (out.size() > max_bytes) {
            return fail(Code::kInvalid, file.string() + " is longer than " + std::to_string(max_bytes) + " bytes");
        }
    }
}

Status write_all(int fd, std::string_view bytes, off_t offset, const std::string& name) {
    while (!bytes.empty()) {
        const auto n = pwrite(fd, bytes.data(), bytes.size(), offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno("cannot write " + name);
        bytes.remove_prefix(static_cast<std::size_t>(n));
        offset += n;
    }
    return {};
}

Status sync_folder(const std::filesystem::path& folder) {
    const FileDescriptor fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || fsync(fd.get()) != 0) return fail_errno("cannot sync " + folder.string());
    return {};
}

Status write_file(const std::filesystem::path& file, std::string_view text) {
    auto temporary = file;
    temporary += ".new";
    {
        const FileDescriptor fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!fd) return fail_errno("cannot write " + temporary.string());
        GANTRY_CHECK(write_all(fd.get(), text, 0, temporary.string()));
        if (fsync(fd.get()) != 0) return fail_errno("cannot sync " + temporary.string());
    }
    if (rename(temporary.c_str(), file.c_str()) != 0) return fail_errno("cannot replace " + file.string());
    return sync_folder(file.parent_path());
}

std::string random_name() {
    std::uint64_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = static_cast<std::uint64_t>(getpid());
    std::array<char, 17> text{};
    std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(bits));
    return text.data();
}

std::string new_uuid() {
    std::string hex = random_name() + random_name();
    hex[12] = '4';
    hex[16] = "89ab"[hex[16] & 3];
    for (std::size_t at : {8u, 13u, 18u, 23u}) hex.insert(at, "-");
    return hex;
}

}  // namespace gantry::control
