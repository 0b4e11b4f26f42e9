// Texts in and out: durations, JSON lines, bytes that a terminal can bear.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_parser.h"

namespace vsoa::tools {

/// "500ms", "3s", "2m", "1.5" (seconds), above 0 and at most a day. Throws Failure (usage) naming the option.
int64_t duration_ns(std::string_view text, const char* option);

/// One JSON value and nothing else?
bool is_json(std::string_view text);

std::string hex(std::string_view bytes);
/// Control characters become blanks, bytes that are no UTF-8 become U+FFFD: fit for a terminal.
std::string clean(std::string_view text);
/// A file's content, "-" standard input; at most limit bytes. Throws Failure.
std::string read_file(const std::string& path, size_t limit, const char* what);

/// "2026-01-31T12:00:00.123456Z"
std::string utc(int64_t unix_ns);
int64_t unix_now_ns();

/// "success", "wrong password", ..., "status 130"
std::string status_word(int status);

/// One line of JSON, member by member. Texts may hold any bytes.
class JsonLine {
  public:
    JsonLine& text(std::string_view key, std::string_view value);
    JsonLine& number(std::string_view key, int64_t value);
    JsonLine& real(std::string_view key, double value, int decimals);
    JsonLine& boolean(std::string_view key, bool value);
    /// value is JSON already, on one line
    JsonLine& json(std::string_view key, std::string_view value);
    /// "param" as JSON where it is JSON, else as "param_text"; data as "data_hex"; what is empty is left out.
    JsonLine& payload(std::string_view param, std::string_view data);
    std::string done() const { return '{' + members_ + '}'; }

  private:
    JsonLine& key(std::string_view name);
    std::string members_;
};

inline std::string_view view(const vsoa_url_t& url) { return {url.url, url.url_len}; }
inline std::string_view param_of(const vsoa_payload_t& p) { return {p.param, p.param_len}; }
inline std::string_view data_of(const vsoa_payload_t& p) { return {static_cast<const char*>(p.data), p.data_len}; }
/// For the C interface, which takes pointers to what it does not change.
vsoa_url_t url_of(std::string_view text);
vsoa_payload_t payload_of(std::string_view param, std::string_view data);

/// param and, in a few words or as text, data: what a person wants to see of a payload.
std::string shown(std::string_view param, std::string_view data);

/// A line to standard output, at once. Throws Failure when it cannot be written.
void say(const std::string& line);
/// A line to standard error.
void note(const std::string& line);

/// Latencies; the order statistics of what was added.
class Samples {
  public:
    void add(int64_t ns);
    size_t count() const { return count_; }
    /// p from 0 to 1, in microseconds; 0 without samples.
    double percentile_us(double p);
    double mean_us() const { return count_ == 0 ? 0 : sum_ / 1e3 / static_cast<double>(count_); }

  private:
    static constexpr size_t kMost = 4'000'000;
    std::vector<int64_t> kept_;
    size_t count_ = 0;
    double sum_ = 0;
    bool sorted_ = false;
};

}  // namespace vsoa::tools
