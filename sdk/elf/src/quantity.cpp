// SPDX-License-Identifier: Apache-2.0
#include <gantry/elf/quantity.hpp>
#include <span>
#include <utility>

namespace gantry::elf {
namespace {

using Unit = std::pair<std::string_view, std::int64_t>;

// "12", "1.5" with one of the units; exact, in integers.
std::optional<std::int64_t> parse(std::string_view text, std::span<const Unit> units, std::int64_t max) {
    std::size_t i = 0;
    __int128 mantissa = 0, scale = 1;
    bool digits = false, fraction = false;
    for (; i < text.size() && (text[i] == '.' || (text[i] >= '0' && text[i] <= '9')); ++i) {
        if (text[i] == '.') {
            if (fraction || !digits) return std::nullopt;
            fraction = true;
            continue;
        }
        digits = true;
        mantissa = mantissa * 10 + (text[i] - '0');
        if (fraction) scale *= 10;
        if (mantissa > (__int128{1} << 62) || scale > 1'000'000'000'000) return std::nullopt;
    }
    if (!digits || (fraction && scale == 1)) return std::nullopt;
    for (const auto& [name, factor] : units) {
        if (text.substr(i) != name) continue;
        const __int128 value = mantissa * factor;
        if (value % scale != 0 || value / scale > max) return std::nullopt;
        return static_cast<std::int64_t>(value / scale);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::int64_t> parse_duration_ns(std::string_view text) {
    static constexpr Unit kUnits[] = {{"ns", 1},
                                      {"us", 1'000},
                                      {"ms", 1'000'000},
                                      {"s", 1'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"h", 3'600'000'000'000}};
    constexpr std::int64_t kTenYears = std::int64_t{3'653} * 24 * 3'600 * 1'000'000'000;
    return parse(text, kUnits, kTenYears);
}

std::optional<std::int64_t> parse_size_bytes(std::string_view text) {
    static constexpr Unit kUnits[] = {{"", 1},
                                      {"B", 1},
                                      {"kB", 1'000},
                                      {"KB", 1'000},
                                      {"MB", 1'000'000},
                                      {"GB", 1'000'000'000},
                                      {"TB", 1'000'000'000'000},
                                      {"KiB", std::int64_t{1} << 10},
                                      {"MiB", std::int64_t{1} << 20},
                                      {"GiB", std::int64_t{1} << 30},
                                      {"TiB", std::int64_t{1} << 40}};
    return parse(text, kUnits, std::int64_t{1} << 53);
}

}  // namespace gantry::elf
