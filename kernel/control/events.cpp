// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/events.hpp"

#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "kernel/base/limits.hpp"

namespace gantry::control {

std::string wall_time_text() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    const std::time_t seconds = ms / 1000;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                  parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                  static_cast<int>(ms % 1000));
    return text.data();
}

EventLog::EventLog(std::filesystem::path file) : file_(std::move(file)) {
    if (file_.empty()) return;
    auto older = file_;
    older += ".1";
    load(older);
    load(file_);
    std::error_code ignored;
    file_bytes_ = std::filesystem::exists(file_, ignored) ? std::filesystem::file_size(file_, ignored) : 0;
    torn_ = file_bytes_ > 0;  // a line that a power cut tore must not swallow the next one
    out_.open(file_, std::ios::app);
}

void EventLog::load(const std::filesystem::path& file) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        const auto document = parse_json(line);
        if (!document || !document->is_object()) continue;  // the last line of a power cut
        const auto* number = document->as_object().if_contains("number");
        if (!number || !number->is_int64() || number->as_int64() <= static_cast<std::int64_t>(number_)) continue;
        number_ = static_cast<std::uint64_t>(number->as_int64());
        keep({number_, std::move(line)});
    }
}

void EventLog::keep(Entry entry) {
    bytes_ += entry.text.size();
    entries_.push_back(std::move(entry));
    while (entries_.size() > limits::kEvents || (bytes_ > limits::kEventBytes && entries_.size() > 1)) {
        bytes_ -= entries_.front().text.size();
        entries_.pop_front();
    }
}

void EventLog::write(const std::string& line) {
    if (file_.empty()) return;
    if (file_bytes_ + line.size() > limits::kEventBytes / 2) {
        out_.close();
        auto older = file_;
        older += ".1";
        std::error_code ignored;
        std::filesystem::rename(file_, older, ignored);
        out_.open(file_, std::ios::trunc);
        file_bytes_ = 0;
        torn_ = false;
    }
    if (!out_) {  // a full disk ends one line, not the log
        out_.close();
        out_.clear();
        out_.open(file_, std::ios::app);
    }
    if (torn_) out_ << '\n';
    out_ << line << '\n' << std::flush;
    torn_ = !out_;
    file_bytes_ += line.size() + 1;
}

void EventLog::add(const std::string& kind, const std::string& text, json::object fields) {
    json::object document;
    document["number"] = ++number_;
    document["term"] = term_;
    document["time"] = wall_time_text();
    document["kind"] = kind;
    document["text"] = text;
    document["fields"] = std::move(fields);
    keep({number_, to_text(document)});
    write(entries_.back().text);
    const std::string line = entries_.back().text;
    const auto watchers = watchers_;  // a watcher may leave while it is told
    for (const auto& [id, fn] : watchers) {
        if (watchers_.contains(id)) fn(number_, line);
    }
}

std::vector<const EventLog::Entry*> EventLog::read(std::uint64_t after, std::size_t limit) const {
    std::vector<const Entry*> out;
    for (const auto& entry : entries_) {
        if (entry.number > after) out.push_back(&entry);
    }
    if (out.size() > limit) out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(limit));
    return out;
}

Result<std::uint64_t> EventLog::watch(std::uint64_t after, Watcher fn) {
    if (watchers_.size() >= limits::kWatchers) {
        return fail(Code::kFull, "too many follow the events already (" + std::to_string(limits::kWatchers) + ")");
    }
    for (const auto* entry : read(after, limits::kEvents)) fn(entry->number, entry->text);
    watchers_.emplace(next_watch_, std::move(fn));
    return next_watch_++;
}

void EventLog::unwatch(std::uint64_t id) { watchers_.erase(id); }

}  // namespace gantry::control
