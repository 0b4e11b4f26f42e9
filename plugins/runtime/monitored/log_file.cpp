// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/log_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <set>
#include <utility>

namespace monitored {
namespace {

using gantry::Fd;

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

// "2026-11-30T14:57:05.123456789+01:00 ..." in nanoseconds since 1970; 0: no line of a monitor.
std::int64_t time_of(std::string_view line) {
    constexpr std::string_view kForm = "0000-00-00T00:00:00.000000000+00:00 ";
    if (line.size() < kForm.size()) return 0;
    for (std::size_t i = 0; i < kForm.size(); ++i) {
        const bool digit = line[i] >= '0' && line[i] <= '9';
        if (kForm[i] == '0' ? !digit : line[i] != kForm[i] && !(kForm[i] == '+' && line[i] == '-')) return 0;
    }
    const auto number = [&](std::size_t at, std::size_t digits) {
        std::int64_t out = 0;
        for (std::size_t i = at; i < at + digits; ++i) out = out * 10 + (line[i] - '0');
        return out;
    };
    if (number(0, 4) > 2200) return INT64_MAX;  // more nanoseconds than there are
    const std::chrono::year_month_day day{std::chrono::year(static_cast<int>(number(0, 4))),
                                          std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                          std::chrono::day(static_cast<unsigned>(number(8, 2)))};
    const std::int64_t days = std::chrono::sys_days(day).time_since_epoch().count();
    const std::int64_t zone = (number(30, 2) * 60 + number(33, 2)) * (line[29] == '-' ? -1 : 1);
    const std::int64_t seconds = ((days * 24 + number(11, 2)) * 60 + number(14, 2) - zone) * 60 + number(17, 2);
    return seconds * 1'000'000'000 + number(20, 9);
}

ssize_t read_at(int fd, char* to, std::size_t len, std::int64_t offset) {
    ssize_t n = 0;
    do {
        n = ::pread(fd, to, len, offset);
    } while (n < 0 && errno == EINTR);
    return n;
}

Fd open_log(const std::filesystem::path& path) { return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)); }

// Calls use(offset, line) for each line; answers where the next one begins.
template <class Use>
std::int64_t each_line(int fd, Use&& use) {
    std::int64_t start = 0, offset = 0;
    std::string line, chunk(kChunk, '\0');
    for (;;) {
        const ssize_t n = read_at(fd, chunk.data(), kChunk, offset);
        if (n <= 0) return start;
        for (ssize_t i = 0; i < n; ++i) {
            const char c = chunk[static_cast<std::size_t>(i)];
            if (c != '\n') {
                if (line.size() < kMaxLine) line += c;
                continue;
            }
            use(start, std::string_view(line));
            line.clear();
            start = offset + i + 1;
        }
        offset += n;
    }
}

}  // namespace

void shift_logs(const std::filesystem::path& log) {
    const auto name = [&](int age) { return log.string() + "." + std::to_string(age); };
    for (int age = kLogFilesMost; age > 1; --age) (void)::rename(name(age - 1).c_str(), name(age).c_str());
}

void drop_logs(const std::filesystem::path& log, std::int64_t bytes) {
    struct stat about {};
    std::int64_t newer = ::stat(log.c_str(), &about) == 0 ? about.st_size : 0;
    for (int age = 1; age <= kLogFilesMost; ++age) {
        const std::string name = log.string() + "." + std::to_string(age);
        if (::stat(name.c_str(), &about) != 0) continue;
        if (newer >= bytes) (void)::unlink(name.c_str());
        newer += about.st_size;
    }
}

LogFile::LogFile(std::filesystem::path path)
    : path_(std::move(path)), kept_(path_.string() + ".kept"), next_(path_.string() + ".next") {}

std::filesystem::path LogFile::older(int age) const { return path_.string() + "." + std::to_string(age); }

Fd LogFile::open_oldest() const {
    for (int age = kLogFilesMost; age > 0; --age) {
        if (Fd found = open_log(older(age))) return found;
    }
    return {};
}

bool LogFile::open() {
    if (fd_) return true;
    if (!begun_) fd_ = open_oldest();
    if (!fd_) fd_ = open_log(path_);
    offset_ = 0;
    begun_ = static_cast<bool>(fd_);
    return begun_;
}

// Another file has the log's name: this one has been read to its end.
bool LogFile::next() {
    constexpr int kTries = 16;  // they may be moving on this very moment
    for (int i = 0; i < kTries; ++i) {
        if (is(path_) || !open_log(path_)) return false;
        constexpr int kGone = kLogFilesMost + 1;
        int age = 1;
        while (age < kGone && !is(older(age))) ++age;
        if (is(next_)) age = -1;
        if (is(kept_)) age = 0;
        // If it has no name any more, files in between may be gone: go on with the oldest that is left.
        Fd found = age == kGone ? open_oldest() : age == 0 ? open_log(next_) : Fd();
        for (int younger = age - 1; age != kGone && younger >= 0 && !found; --younger)
            found = open_log(younger == 0 ? kept_ : older(younger));
        if (!found) found = open_log(path_);
        if (age != kGone && !is(age == -1 ? next_ : age == 0 ? kept_ : older(age))) continue;
        fd_ = std::move(found);
        offset_ = 0;
        return open();
    }
    return false;
}

bool LogFile::is(const std::filesystem::path& path) const {
    struct stat mine {
    }, named{};
    return ::fstat(fd_.get(), &mine) == 0 && ::stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino &&
           mine.st_dev == named.st_dev;
}

void LogFile::gather() {
    std::set<std::pair<dev_t, ino_t>> seen;
    for (int age = kLogFilesMost; age >= -2; --age) {
        Fd file = open_log(age == -2 ? path_ : age == -1 ? next_ : age == 0 ? kept_ : older(age));
        struct stat about {};
        if (!file || ::fstat(file.get(), &about) != 0) continue;
        if (age == -1 && about.st_size == 0) continue;  // it only waits to be taken
        if (seen.emplace(about.st_dev, about.st_ino).second) gathered_.push_back(std::move(file));
    }
}

void LogFile::seek(std::int64_t lines, std::int64_t since_ns) {
    std::vector<Fd> files = std::exchange(gathered_, {});
    if (files.empty()) return;
    const bool all = lines < 0;
    lines = all ? 1 : std::min(lines, kMaxTail);
    bool begun = since_ns <= 0;
    struct Start {
        std::size_t file;
        std::int64_t offset;
    };
    std::deque<Start> starts;  // of the last lines
    Start end{0, 0};
    bool fresh = true;  // the last line was whole
    for (std::size_t i = 0; i < files.size(); ++i) {
        end = {i, each_line(files[i].get(), [&](std::int64_t offset, std::string_view line) {
                   if (!begun && fresh) begun = time_of(line) >= since_ns;
                   if (fresh && begun && !(all && !starts.empty())) starts.push_back({i, offset});
                   if (static_cast<std::int64_t>(starts.size()) > lines) starts.pop_front();
                   fresh = parse(line).ends;
               })};
    }
    const Start from = starts.empty() ? end : starts.front();
    fd_ = std::move(files[from.file]);
    offset_ = from.offset;
    begun_ = static_cast<bool>(fd_);
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
        if (n < 0 || !next()) return out.size() != before;
    }
    return true;
}

}  // namespace monitored
