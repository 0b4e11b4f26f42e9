// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <gantry/status.hpp>
#include <gantry/view.hpp>

namespace monitored {

using gantry::Code;
using gantry::Failure;
using gantry::Fd;

void file_failed(const char* what, const std::filesystem::path& path, int error) {
    const bool full = error == ENOSPC || error == EDQUOT;
    throw Failure(full ? Code::kFull : Code::kFailed,
                  std::string("cannot ") + what + " " + path.string() + ": " + std::strerror(error));
}

std::optional<std::string> read_file(const std::filesystem::path& file, std::size_t max) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return std::nullopt;
    std::string out(max, '\0');
    std::size_t have = 0;
    while (have < max) {
        const ssize_t n = ::read(fd.get(), out.data() + have, max - have);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return std::nullopt;
        if (n == 0) break;
        have += static_cast<std::size_t>(n);
    }
    out.resize(have);
    return out;
}

std::optional<std::string> read_if_there(const std::filesystem::path& file, std::size_t max) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd && errno == ENOENT) return std::nullopt;
    if (!fd) file_failed("open", file, errno);
    std::string out;
    std::array<char, 4096> chunk;
    for (;;) {
        const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) file_failed("read", file, errno);
        if (n == 0) return out;
        out.append(chunk.data(), static_cast<std::size_t>(n));
        if (out.size() > max) file_failed("read", file, EFBIG);
    }
}

void replace_file(const std::filesystem::path& file, std::string_view text) {
    const std::filesystem::path next = file.string() + ".new";
    const Fd fd(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) file_failed("create", next, errno);
    while (!text.empty()) {
        const ssize_t n = ::write(fd.get(), text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) file_failed("write", next, errno);
        text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::rename(next.c_str(), file.c_str()) != 0) file_failed("replace", file, errno);
}

std::optional<long long> parse_number(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
    long long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

}  // namespace monitored
