#include "sdk/vsoa/tools/text.hpp"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>

#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

// Length of the UTF-8 character that text begins with; 0: it is none.
size_t character(std::string_view text) {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
    const unsigned first = byte(0), second = byte(1);
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
    if ((first & 0xf0) == 0xe0) {
        const bool overlong = first == 0xe0 && second < 0xa0, surrogate = first == 0xed && second > 0x9f;
        return tail(1) && tail(2) && !overlong && !surrogate ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const bool overlong = first == 0xf0 && second < 0x90, beyond = first == 0xf4 && second > 0x8f;
        return tail(1) && tail(2) && tail(3) && !overlong && !beyond ? 4 : 0;
    }
    return 0;
}

std::string utf8(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const size_t length = character(text);
        out += length == 0 ? kReplacement : text.substr(0, length);
        text.remove_prefix(std::max<size_t>(length, 1));
    }
    return out;
}

// Takes the blanks out from between the parts of a JSON text.
std::string on_one_line(std::string_view json) {
    std::string out;
    bool quoted = false;
    for (size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (!quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r')) continue;
        if (c == '"') quoted = !quoted;
        out += c;
        if (quoted && c == '\\' && i + 1 < json.size()) out += json[++i];
    }
    return out;
}

bool is_text(std::string_view bytes) {
    while (!bytes.empty()) {
        const size_t length = character(bytes);
        const auto first = static_cast<unsigned char>(bytes[0]);
        if (length == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f) return false;
        bytes.remove_prefix(length);
    }
    return true;
}

}  // namespace

const char* word_of(int status) {
    switch (status) {
        case exit_status::kUsage:
            return "usage";
        case exit_status::kNotFound:
            return "not_found";
        case exit_status::kTimedOut:
            return "timed_out";
        case exit_status::kUnreachable:
            return "unreachable";
        case exit_status::kBadData:
            return "bad_data";
        case exit_status::kNoPermission:
            return "no_permission";
        case exit_status::kInterrupted:
            return "interrupted";
        default:
            return "failed";
    }
}

int64_t duration_ns(std::string_view text, const char* option) {
    constexpr double kDay = 86400e9;
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit(end, text.data() + text.size());
    double scale = 0;
    if (unit.empty() || unit == "s") scale = 1e9;
    if (unit == "us") scale = 1e3;
    if (unit == "ms") scale = 1e6;
    if (unit == "m") scale = 60e9;
    if (unit == "h") scale = 3600e9;
    const double ns = value * scale;
    if (error != std::errc() || !(ns >= 1) || ns > kDay) {
        throw Failure(exit_status::kUsage, std::string(option) + ": expected a duration such as 500ms, 3s or 2m, got " +
                                               (text.empty() ? "nothing" : clean(text)));
    }
    return static_cast<int64_t>(ns);
}

bool is_json(std::string_view text) {
    json::Reader reader(text);
    json::Value value;
    return reader.value(value) && reader.finished();
}

std::string hex(std::string_view bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(2 * bytes.size());
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

std::string clean(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const size_t length = character(text);
        const auto first = static_cast<unsigned char>(text[0]);
        const bool c1 = length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
        if (length == 0) {
            out += kReplacement;
        } else if ((length == 1 && (first < 0x20 || first == 0x7f)) || c1) {
            out += ' ';
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(std::max<size_t>(length, 1));
    }
    return out;
}

std::string read_file(const std::string& path, size_t limit, const char* what) {
    const bool standard = path == "-";
    std::unique_ptr<FILE, int (*)(FILE*)> opened(standard ? nullptr : std::fopen(path.c_str(), "rbe"), &std::fclose);
    FILE* const in = standard ? stdin : opened.get();
    if (in == nullptr) {
        throw Failure(errno == ENOENT ? exit_status::kNotFound : exit_status::kFailed,
                      std::string("cannot read ") + what + ": " + path + ": " + std::strerror(errno));
    }
    std::string out;
    char chunk[16 * 1024];
    for (size_t got; (got = std::fread(chunk, 1, sizeof chunk, in)) > 0;) {
        out.append(chunk, got);
        if (out.size() > limit) {
            throw Failure(exit_status::kBadData, std::string(what) + ": " + path + " is longer than " +
                                                     std::to_string(limit) + " bytes, which is all that fits");
        }
    }
    if (std::ferror(in)) {
        throw Failure(exit_status::kFailed,
                      std::string("cannot read ") + what + ": " + path + ": " + std::strerror(errno));
    }
    return out;
}

std::string utc(int64_t unix_ns) {
    const time_t seconds = unix_ns / 1'000'000'000;
    tm parts{};
    gmtime_r(&seconds, &parts);
    char out[80];
    const size_t length = strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(out + length, sizeof out - length, ".%06dZ", static_cast<int>(unix_ns / 1000 % 1'000'000));
    return out;
}

int64_t unix_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

std::string status_word(int status) {
    constexpr const char* kWords[] = {"success",       "wrong password", "bad arguments", "invalid url",
                                      "no responding", "no permissions", "no memory",     "proxy error"};
    if (status >= 0 && status < static_cast<int>(std::size(kWords))) return kWords[status];
    return "status " + std::to_string(status);
}

JsonLine& JsonLine::key(std::string_view name) {
    if (!members_.empty()) members_ += ',';
    json::append_string(members_, name);
    members_ += ':';
    return *this;
}

JsonLine& JsonLine::text(std::string_view name, std::string_view value) {
    json::append_string(key(name).members_, utf8(value));
    return *this;
}

JsonLine& JsonLine::number(std::string_view name, int64_t value) {
    key(name).members_ += std::to_string(value);
    return *this;
}

JsonLine& JsonLine::real(std::string_view name, double value, int decimals) {
    char out[64];
    std::snprintf(out, sizeof out, "%.*f", decimals, std::isfinite(value) ? value : 0.0);
    key(name).members_ += out;
    return *this;
}

JsonLine& JsonLine::boolean(std::string_view name, bool value) {
    key(name).members_ += value ? "true" : "false";
    return *this;
}

JsonLine& JsonLine::json(std::string_view name, std::string_view value) {
    key(name).members_ += value;
    return *this;
}

JsonLine& JsonLine::payload(std::string_view param, std::string_view data) {
    if (!param.empty() && is_json(param)) {
        json("param", on_one_line(utf8(param)));
    } else if (!param.empty()) {
        text("param_text", param);
    }
    return data.empty() ? *this : text("data_hex", hex(data));
}

vsoa_url_t url_of(std::string_view text) { return {const_cast<char*>(text.data()), text.size()}; }

vsoa_payload_t payload_of(std::string_view param, std::string_view data) {
    return {const_cast<char*>(param.data()), param.size(), const_cast<char*>(data.data()), data.size()};
}

std::string shown(std::string_view param, std::string_view data) {
    constexpr size_t kMostHex = 32;
    std::string out = clean(param);
    if (data.empty()) return out;
    if (!out.empty()) out += ' ';
    out += "[" + std::to_string(data.size()) + (data.size() == 1 ? " byte: " : " bytes: ");
    if (is_text(data) && data.size() <= 4 * kMostHex) {
        out += clean(data);
    } else {
        out += hex(data.substr(0, kMostHex)) + (data.size() > kMostHex ? ".." : "");
    }
    return out + ']';
}

void say(const std::string& line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fputc('\n', stdout);
    if (std::fflush(stdout) != 0) {
        throw Failure(exit_status::kFailed, std::string("cannot write to standard output: ") + std::strerror(errno));
    }
}

void note(const std::string& line) { std::fprintf(stderr, "vsoa: %s\n", line.c_str()); }

void Samples::add(int64_t ns) {
    ++count_;
    sum_ += static_cast<double>(ns);
    sorted_ = false;
    // Of a very long run the last ones stand for all.
    if (kept_.size() < kMost) {
        kept_.push_back(ns);
    } else {
        kept_[count_ % kMost] = ns;
    }
}

double Samples::percentile_us(double p) {
    if (kept_.empty()) return 0;
    if (!sorted_) std::sort(kept_.begin(), kept_.end());
    sorted_ = true;
    const auto at = static_cast<size_t>(p * static_cast<double>(kept_.size() - 1) + 0.5);
    return static_cast<double>(kept_[at]) / 1e3;
}

}  // namespace vsoa::tools
