// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/log_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <deque>

namespace monitored {
namespace {

constexpr std::size_t kChunk = 64 << 10;
constexpr std::int64_t kMaxTail = 100'000;  // lines
constexpr std::size_t kMaxLine = 1 << 20;   // a longer one is no log of a monitor
constexpr int kFields = 3;                  // time, stream, tag

struct Parsed {
    std::string_view text;
    bool ends = true;
};

// A line that is none of a monitor is shown as it is.
Parsed parse(std::string_view line) {
    std::size_t at = 0;
    std::string_view tag;
    for (int field = 0; field < kFields; ++field) {
        const std::size_t end = line.find(' ', at);
        if (end == std::string_view::npos) return {line, true};
        tag = line.substr(at, end - at);
        at = end + 1;
    }
    return {line.substr(at), !tag.starts_with('P')};
}

ssize_t read_at(int fd, char* to, std::size_t len, std::int64_t offset) {
    ssize_t n = 0;
    do {
        n = ::pread(fd, to, len, offset);
    } while (n < 0 && errno == EINTR);
    return n;
}

}  // namespace

bool LogFile::open() {
    if (fd_) return true;
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    offset_ = 0;
    return static_cast<bool>(fd_);
}

bool LogFile::replaced() const {
    struct stat mine {
    }, named{};
    return ::fstat(fd_.get(), &mine) == 0 && ::stat(path_.c_str(), &named) == 0 && mine.st_ino != named.st_ino;
}

void LogFile::seek_tail(std::int64_t lines) {
    if (lines < 0 || !open()) return;
    lines = std::min(lines, kMaxTail);
    std::deque<std::int64_t> starts;  // of the last lines, one more than wanted
    std::int64_t start = 0, offset = 0;
    std::string line, chunk(kChunk, '\0');
    bool fresh = true;  // the last line was whole
    for (;;) {
        const ssize_t n = read_at(fd_.get(), chunk.data(), kChunk, offset);
        if (n <= 0) break;
        for (ssize_t i = 0; i < n; ++i) {
            const char c = chunk[static_cast<std::size_t>(i)];
            if (c != '\n') {
                if (line.size() < kMaxLine) line += c;
                continue;
            }
            if (fresh) starts.push_back(start);
            if (static_cast<std::int64_t>(starts.size()) > lines) starts.pop_front();
            fresh = parse(line).ends;
            line.clear();
            start = offset + i + 1;
        }
        offset += n;
    }
    offset_ = starts.empty() ? start : starts.front();
}

void LogFile::decode(std::string& out) {
    std::size_t at = 0;
    for (std::size_t end = 0; (end = line_.find('\n', at)) != std::string::npos; at = end + 1) {
        const Parsed parsed = parse(std::string_view(line_).substr(at, end - at));
        out += parsed.text;
        if (parsed.ends) out += '\n';
    }
    line_.erase(0, at);
    if (line_.size() > kMaxLine) line_.clear();
}

bool LogFile::read(std::string& out, std::size_t max) {
    const std::size_t before = out.size();
    std::array<char, kChunk> chunk;
    while (out.size() - before < max) {
        if (!open()) return false;
        const ssize_t n = read_at(fd_.get(), chunk.data(), chunk.size(), offset_);
        if (n > 0) {
            offset_ += n;
            line_.append(chunk.data(), static_cast<std::size_t>(n));
            decode(out);
            continue;
        }
        if (n < 0 || !replaced()) return out.size() != before;
        fd_.reset();  // read to its end; the next one begins
    }
    return true;
}

}  // namespace monitored
