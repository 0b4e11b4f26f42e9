// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/units.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <optional>

#include "kernel/base/limits.hpp"

namespace gantry {

namespace {

using Wide = __int128;

// A written number, exactly: digits / 10^decimals, and what follows it.
struct Number {
    std::int64_t digits = 0;
    std::int64_t divisor = 1;
    std::string_view unit;
};

struct Unit {
    std::string_view name;
    std::int64_t factor;
};

constexpr bool digit(char c) { return c >= '0' && c <= '9'; }

std::optional<Number> read_number(std::string_view text) {
    constexpr int kMaxDigits = 18;  // fit an int64_t
    Number out;
    std::size_t i = 0;
    int seen = 0;
    const auto take = [&](bool fraction) {
        const std::size_t begin = i;
        for (; i < text.size() && digit(text[i]); ++i) {
            if (out.digits != 0 || text[i] != '0' || fraction) ++seen;
            if (seen > kMaxDigits) return false;
            out.digits = out.digits * 10 + (text[i] - '0');
            if (fraction) out.divisor *= 10;
        }
        return i > begin;
    };
    if (!take(false)) return std::nullopt;
    if (i < text.size() && text[i] == '.') {
        ++i;
        if (!take(true)) return std::nullopt;
    }
    if (i < text.size() && text[i] == ' ') ++i;
    out.unit = text.substr(i);
    return out;
}

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
    const auto at = std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
    return at == units.end() ? nullptr : &*at;
}

std::unexpected<Error> not_a(std::string_view what, std::string_view expected, std::string_view got) {
    return fail(Code::kInvalid, "not a " + std::string(what) + ": expected " + std::string(expected) + ", got \"" +
                                    std::string(got.substr(0, 64)) + "\"");
}

std::string one_decimal(double value, const char* unit) {
    char out[48];
    std::snprintf(out, sizeof out, "%.1f", value);
    std::string text(out);
    if (text.ends_with(".0")) text.resize(text.size() - 2);
    return text + " " + unit;
}

struct Range {
    char32_t first;
    char32_t last;
};

// From Unicode's EastAsianWidth.txt (W and F) with neighbouring ranges joined where only unassigned code points or
// rarely met symbols lie between.
constexpr Range kWide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23ec},   {0x23f0, 0x23f0},
    {0x23f3, 0x23f3},   {0x25fd, 0x25fe},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267f, 0x267f},
    {0x2693, 0x2693},   {0x26a1, 0x26a1},   {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},
    {0x26ce, 0x26ce},   {0x26d4, 0x26d4},   {0x26ea, 0x26ea},   {0x26f2, 0x26f3},   {0x26f5, 0x26f5},
    {0x26fa, 0x26fa},   {0x26fd, 0x26fd},   {0x2705, 0x2705},   {0x270a, 0x270b},   {0x2728, 0x2728},
    {0x274c, 0x274c},   {0x274e, 0x274e},   {0x2753, 0x2755},   {0x2757, 0x2757},   {0x2795, 0x2797},
    {0x27b0, 0x27b0},   {0x27bf, 0x27bf},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},   {0x2b55, 0x2b55},
    {0x2e80, 0x303e},   {0x3041, 0x4dbf},   {0x4e00, 0xa4cf},   {0xa960, 0xa97c},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6b},   {0xff01, 0xff60},   {0xffe0, 0xffe6},
    {0x16fe0, 0x16ff1}, {0x17000, 0x18d08}, {0x1aff0, 0x1b2fb}, {0x1f004, 0x1f004}, {0x1f0cf, 0x1f0cf},
    {0x1f18e, 0x1f18e}, {0x1f191, 0x1f19a}, {0x1f200, 0x1f265}, {0x1f300, 0x1f320}, {0x1f32d, 0x1f335},
    {0x1f337, 0x1f37c}, {0x1f37e, 0x1f393}, {0x1f3a0, 0x1f3ca}, {0x1f3cf, 0x1f3d3}, {0x1f3e0, 0x1f3f0},
    {0x1f3f4, 0x1f3f4}, {0x1f3f8, 0x1f43e}, {0x1f440, 0x1f440}, {0x1f442, 0x1f4fc}, {0x1f4ff, 0x1f53d},
    {0x1f54b, 0x1f54e}, {0x1f550, 0x1f567}, {0x1f57a, 0x1f57a}, {0x1f595, 0x1f596}, {0x1f5a4, 0x1f5a4},
    {0x1f5fb, 0x1f64f}, {0x1f680, 0x1f6c5}, {0x1f6cc, 0x1f6cc}, {0x1f6d0, 0x1f6d2}, {0x1f6d5, 0x1f6df},
    {0x1f6eb, 0x1f6ec}, {0x1f6f4, 0x1f6fc}, {0x1f7e0, 0x1f7f0}, {0x1f90c, 0x1f93a}, {0x1f93c, 0x1f945},
    {0x1f947, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
};

// Combining marks (Mn, Me) of the scripts met most, joiners, direction marks and variation selectors.
constexpr Range kZero[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489},   {0x0591, 0x05bd},   {0x05bf, 0x05bf},   {0x05c1, 0x05c2}, {0x05c4, 0x05c5},
    {0x0610, 0x061a}, {0x064b, 0x065f},   {0x0670, 0x0670},   {0x06d6, 0x06dc},   {0x06df, 0x06e4}, {0x0900, 0x0902},
    {0x093c, 0x093c}, {0x0941, 0x0948},   {0x094d, 0x094d},   {0x0e31, 0x0e31},   {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e},
    {0x1160, 0x11ff}, {0x1ab0, 0x1aff},   {0x1dc0, 0x1dff},   {0x200b, 0x200f},   {0x202a, 0x202e}, {0x2060, 0x2064},
    {0x20d0, 0x20f0}, {0x302a, 0x302d},   {0x3099, 0x309a},   {0xd7b0, 0xd7ff},   {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
    {0xfeff, 0xfeff}, {0x1f3fb, 0x1f3ff}, {0xe0001, 0xe007f}, {0xe0100, 0xe01ef},
};

// Characters that look like nothing or like a gap: no name has them.
constexpr Range kInvisible[] = {
    {0x0000, 0x0020}, {0x007f, 0x00a0}, {0x00ad, 0x00ad}, {0x1680, 0x1680}, {0x2000, 0x200f},
    {0x2028, 0x202f}, {0x205f, 0x206f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}, {0xe0001, 0xe007f},
};

template <std::size_t N>
bool within(const Range (&ranges)[N], char32_t c) {
    const auto* at = std::lower_bound(std::begin(ranges), std::end(ranges), c,
                                      [](const Range& range, char32_t point) { return range.last < point; });
    return at != std::end(ranges) && at->first <= c;
}

// Takes one code point off the front of text; nullopt (and one byte taken) where it is not UTF-8.
std::optional<char32_t> take_code_point(std::string_view& text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    char32_t point = length == 1 ? lead : lead & (0xffu >> (length + 1));
    bool good = lead < 0x80 || (lead >= 0xc2 && lead <= 0xf4);
    good = good && text.size() >= length;
    for (std::size_t i = 1; good && i < length; ++i) {
        good = (byte(i) & 0xc0) == 0x80;
        point = (point << 6) | (byte(i) & 0x3f);
    }
    constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    good = good && point >= kSmallest[length] && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff);
    text.remove_prefix(good ? length : 1);
    if (!good) return std::nullopt;
    return point;
}

}  // namespace

Result<std::int64_t> parse_size(std::string_view text) {
    static constexpr std::array kUnits = std::to_array<Unit>({{"", 1},
                                                              {"B", 1},
                                                              {"KiB", 1LL << 10},
                                                              {"MiB", 1LL << 20},
                                                              {"GiB", 1LL << 30},
                                                              {"TiB", 1LL << 40},
                                                              {"kB", 1'000},
                                                              {"KB", 1'000},
                                                              {"MB", 1'000'000},
                                                              {"GB", 1'000'000'000},
                                                              {"TB", 1'000'000'000'000}});
    constexpr std::string_view kExpected = "a number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB (\"64MiB\")";
    const auto number = read_number(text);
    const Unit* unit = number ? find_unit(kUnits, number->unit) : nullptr;
    if (!unit) return not_a("size", kExpected, text);
    const Wide value = Wide(number->digits) * unit->factor / number->divisor;
    if (value > (Wide(1) << 53)) return not_a("size", "at most 8192 TiB", text);
    return static_cast<std::int64_t>(value);
}

Result<Duration> parse_duration(std::string_view text) {
    static constexpr std::array kUnits = std::to_array<Unit>({{"ns", 1},
                                                              {"us", 1'000},
                                                              {"ms", 1'000'000},
                                                              {"s", 1'000'000'000},
                                                              {"m", 60'000'000'000},
                                                              {"min", 60'000'000'000},
                                                              {"h", 3'600'000'000'000},
                                                              {"d", 86'400'000'000'000}});
    constexpr std::string_view kExpected = "a number with ns, us, ms, s, m, h or d (\"200ms\")";
    const auto number = read_number(text);
    if (number && number->unit.empty() && number->digits == 0) return Duration(0);
    const Unit* unit = number ? find_unit(kUnits, number->unit) : nullptr;
    if (!unit) return not_a("duration", kExpected, text);
    const Wide value = Wide(number->digits) * unit->factor / number->divisor;
    constexpr Wide kTenYears = Wide(86'400'000'000'000) * 3'653;
    if (value > kTenYears) return not_a("duration", "at most ten years", text);
    return Duration(static_cast<std::int64_t>(value));
}

Result<std::int64_t> parse_cpu(std::string_view text) {
    const auto number = read_number(text);
    if (!number || (!number->unit.empty() && number->unit != "m"))
        return not_a("number of cores", "cores (\"0.5\", \"2\") or thousandths of one (\"250m\")", text);
    const Wide scaled = Wide(number->digits) * (number->unit.empty() ? 1'000 : 1);
    if (scaled % number->divisor != 0)
        return not_a("number of cores", "no finer than a thousandth of a core (\"0.001\")", text);
    const Wide value = scaled / number->divisor;
    if (value > 1'000'000'000) return not_a("number of cores", "at most 1000000", text);
    return static_cast<std::int64_t>(value);
}

std::string format_size(std::int64_t bytes) {
    constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    // 1023.95 and above would be written "1024.0".
    for (; value >= (unit == 0 ? 1024.0 : 1023.95) && unit + 1 < std::size(kNames); ++unit) value /= 1024;
    return one_decimal(value, kNames[unit]);
}

std::string format_duration(Duration duration) {
    const std::int64_t ns = duration.count();
    if (ns < 0) return ns == INT64_MIN ? "-292 years" : "-" + format_duration(-duration);
    const auto pair = [](std::int64_t big, const char* name, std::int64_t small, const char* small_name) {
        std::string out = std::to_string(big) + " " + name;
        if (small) out += " " + std::to_string(small) + " " + small_name;
        return out;
    };
    if (ns == 0) return "0 s";
    if (ns < 1'000) return std::to_string(ns) + " ns";
    if (ns < 1'000'000) return std::to_string(ns / 1'000) + " us";
    if (ns < 1'000'000'000) return std::to_string(ns / 1'000'000) + " ms";
    if (ns < 60'000'000'000) return one_decimal(static_cast<double>(ns / 100'000'000) / 10, "s");
    const std::int64_t s = ns / 1'000'000'000;
    if (s < 3'600) return pair(s / 60, "min", s % 60, "s");
    if (s < 86'400) return pair(s / 3'600, "h", s % 3'600 / 60, "min");
    return pair(s / 86'400, "d", s % 86'400 / 3'600, "h");
}

bool valid_utf8(std::string_view text) {
    while (!text.empty())
        if (!take_code_point(text)) return false;
    return true;
}

std::string one_line(std::string_view text, std::size_t most) {
    std::string out;
    out.reserve(std::min(text.size(), most));
    while (!text.empty()) {
        std::string_view rest = text;
        const auto c = take_code_point(rest);
        std::string_view shown = text.substr(0, text.size() - rest.size());
        if (!c) shown = "\xef\xbf\xbd";
        // The last two break lines for some readers of logs.
        const bool control = c && (*c < 0x20 || (*c >= 0x7f && *c < 0xa0) || *c == 0x2028 || *c == 0x2029);
        if (control) shown = " ";
        if (out.size() + shown.size() > most) return out + "...";
        out += shown;
        text = rest;
    }
    return out;
}

Status check_name(std::string_view name, std::string_view what) {
    const auto refuse = [&](std::string reason) {
        const std::string shown = valid_utf8(name) ? std::string(name.substr(0, limits::kName)) : "(not UTF-8)";
        return fail(Code::kInvalid, std::string(what) + " \"" + shown + "\" " + std::move(reason));
    };
    if (name.empty()) return refuse("is empty, expected 1 to " + std::to_string(limits::kName) + " bytes");
    if (name.size() > limits::kName)
        return fail(Code::kInvalid, std::string(what) + " has " + std::to_string(name.size()) +
                                        " bytes, expected at most " + std::to_string(limits::kName));
    if (!valid_utf8(name)) return refuse("is not valid UTF-8");
    if (name == "." || name == "..") return refuse("is reserved; choose another");
    for (auto rest = name; !rest.empty();) {
        const char32_t c = *take_code_point(rest);
        if (within(kInvisible, c)) return refuse("has a blank or a control character; use letters, digits, - and _");
        if (c < 0x80 && std::string_view("/\\\"'?#%").find(static_cast<char>(c)) != std::string_view::npos)
            return refuse("has the character " + std::string(1, static_cast<char>(c)) + " which names may not have");
    }
    return {};
}

std::uint64_t fnv1a(std::string_view text) {
    std::uint64_t hash = 14'695'981'039'346'656'037U;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1'099'511'628'211U;
    return hash;
}

std::size_t display_width(std::string_view text) {
    std::size_t width = 0;
    while (!text.empty()) {
        const auto c = take_code_point(text);
        if (!c)
            ++width;  // shown as one replacement character
        else if (*c < 0x20 || (*c >= 0x7f && *c < 0xa0) || within(kZero, *c))
            continue;
        else
            width += within(kWide, *c) ? 2 : 1;
    }
    return width;
}

}  // namespace gantry
