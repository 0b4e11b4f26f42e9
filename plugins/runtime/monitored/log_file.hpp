// SPDX-License-Identifier: Apache-2.0
//
// Reads a container's log. One line of the file is "TIME STREAM TAG TEXT": TAG F ends a line of the container, P is a
// piece of one. When the file is full the monitor puts another one in its place; the full one is then called <log>.1
// (for a moment <log>.kept or <log>.next, see oci/engine.cpp), the one before it <log>.2, and so on. The oldest is read
// first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <gantry/view.hpp>
#include <string>
#include <vector>

namespace monitored {

inline constexpr int kLogFilesMost = 40;  // older than the one that is written; `log_files` is at most 32

// Before another file becomes <log>.1: each moves on by one.
void shift_logs(const std::filesystem::path& log);
// Deletes those without which the newer ones, with the one that is written, hold `bytes` already.
void drop_logs(const std::filesystem::path& log, std::int64_t bytes);

class LogFile {
  public:
    explicit LogFile(std::filesystem::path path);

    // Opens all files there are, for a seek: on the thread that moves them.
    void gather();
    // Positions at the last `lines` lines (-1: all) from the first one on that was written at since_ns (since 1970) or
    // later. Reads all there is: not for the loop.
    void seek(std::int64_t lines, std::int64_t since_ns);

    // Appends about `max` bytes of text to out and goes on to the next file if this one was replaced. False: nothing
    // more at the moment.
    bool read(std::string& out, std::size_t max);

  private:
    bool open();
    bool next();
    bool is(const std::filesystem::path& path) const;  // the open one has this name
    std::filesystem::path older(int age) const;        // 1 is the youngest
    gantry::Fd open_oldest() const;
    void decode(std::string& out);

    std::filesystem::path path_, kept_, next_;
    std::vector<gantry::Fd> gathered_;  // the oldest first
    gantry::Fd fd_;
    bool begun_ = false;  // a file was opened
    std::int64_t offset_ = 0;
    std::string line_;  // the beginning of a line whose end was not read yet
};

}  // namespace monitored
