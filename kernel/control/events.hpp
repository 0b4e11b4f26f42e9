// SPDX-License-Identifier: Apache-2.0
//
// EventLog: what people follow. Bounded to limits::kEvents entries and limits::kEventBytes; kept in two files of half
// that size, so that the history outlives a restart (not a power cut: entries are not synced one by one).
//
// Threads: the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernel/base/json.hpp"

namespace gantry::control {

class EventLog {
  public:
    struct Entry {
        std::uint64_t number = 0;
        std::string text;  // the JSON document
    };
    using Watcher = std::function<void(std::uint64_t number, const std::string& event)>;

    // file: where the log is kept; empty: in memory only.
    explicit EventLog(std::filesystem::path file);

    void set_term(std::uint64_t term) { term_ = term; }
    void add(const std::string& kind, const std::string& text, json::object fields);
    // Entries numbered above `after`, oldest first, at most `limit` (the newest ones).
    std::vector<const Entry*> read(std::uint64_t after, std::size_t limit) const;
    std::uint64_t last_number() const { return number_; }
    std::size_t bytes() const { return bytes_; }

    // Calls fn for every entry above `after` now and for every later one. Errors: kFull above limits::kWatchers.
    Result<std::uint64_t> watch(std::uint64_t after, Watcher fn);
    void unwatch(std::uint64_t id);

  private:
    void load(const std::filesystem::path& file);
    void keep(Entry entry);
    void write(const std::string& line);

    std::filesystem::path file_;
    std::ofstream out_;
    std::size_t file_bytes_ = 0;
    bool torn_ = false;  // the file may end within a line
    std::deque<Entry> entries_;
    std::size_t bytes_ = 0;
    std::uint64_t number_ = 0, term_ = 0, next_watch_ = 1;
    std::map<std::uint64_t, Watcher> watchers_;
};

// Wall time as RFC 3339 in UTC with milliseconds.
std::string wall_time_text();

}  // namespace gantry::control
