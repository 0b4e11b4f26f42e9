// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/document.hpp"

#include <cstdio>
#include <ctime>

#include "kernel/base/units.hpp"

namespace gantry::cli {

const json::value* member_of(const json::value& document, std::string_view key) {
    const auto* object = document.if_object();
    return object ? object->if_contains(key) : nullptr;
}

std::string written(const json::value& value) {
    if (value.is_null()) return {};
    if (const auto* text = value.if_string()) return std::string(*text);
    if (const auto* list = value.if_array()) {
        std::string out;
        for (const auto& item : *list) {
            if (!out.empty()) out += ", ";
            out += written(item);
        }
        return out;
    }
    return to_text(value);
}

std::string text_of(const json::value& document, std::string_view key) {
    const auto* member = member_of(document, key);
    return member ? written(*member) : std::string();
}

std::int64_t number_of(const json::value& document, std::string_view key, std::int64_t fallback) {
    const auto* member = member_of(document, key);
    if (!member) return fallback;
    if (member->is_int64()) return member->as_int64();
    if (member->is_uint64()) return static_cast<std::int64_t>(member->as_uint64());
    return fallback;
}

bool flag_of(const json::value& document, std::string_view key) {
    const auto* member = member_of(document, key);
    return member && member->is_bool() && member->as_bool();
}

const json::array& items_of(const json::value& document, std::string_view key) {
    static const json::array kNone;
    const auto* member = member_of(document, key);
    const auto* list = member ? member->if_array() : nullptr;
    return list ? *list : kNone;
}

std::string endpoint_text(const std::string& address, const std::string& port) {
    return (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + port;
}

namespace {

std::string seconds_text(std::int64_t ms) {
    char text[48];
    std::snprintf(text, sizeof text, "%lld.%03lld s", static_cast<long long>(ms / 1'000),
                  static_cast<long long>(ms % 1'000));
    return text;
}

}  // namespace

std::string figure_text(const json::value* figure) {
    if (!figure || !figure->is_object()) return "";
    const auto value = number_of(*figure, "ms"), error = number_of(*figure, "error_ms");
    if (error == 0) return value == 0 ? "0 s" : seconds_text(value);
    return value <= error ? "at most " + seconds_text(value + error)
                          : seconds_text(value) + " ± " + seconds_text(error);
}

std::string age_text(std::int64_t ms) { return ms < 0 ? "-" : format_duration(milliseconds(ms)); }

std::string local_time(std::chrono::system_clock::time_point at, bool with_date) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
    const std::time_t whole = static_cast<std::time_t>(ms / 1000);
    std::tm parts{};
    localtime_r(&whole, &parts);
    char text[64];
    const auto size = std::strftime(text, sizeof text, with_date ? "%Y-%m-%d %H:%M:%S" : "%H:%M:%S", &parts);
    std::snprintf(text + size, sizeof text - size, ".%03d", static_cast<int>(ms % 1000));
    return text;
}

std::optional<std::chrono::system_clock::time_point> time_of(std::string_view given) {
    std::tm parts{};
    int ms = 0, offset_hours = 0, offset_minutes = 0, used = 0;
    char joint = 0;
    const std::string text(given);
    if (std::sscanf(text.c_str(), "%4d-%2d-%2d%c%2d:%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &joint,
                    &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &used) != 7 ||
        (joint != 'T' && joint != ' ')) {
        return std::nullopt;
    }
    if (parts.tm_year < 1700 || parts.tm_year > 2200) return std::nullopt;  // more nanoseconds than a time_point holds
    auto rest = std::string_view(text).substr(static_cast<std::size_t>(used));
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        for (int place = 100; !rest.empty() && rest[0] >= '0' && rest[0] <= '9'; place /= 10) {
            ms += place * (rest[0] - '0');
            rest.remove_prefix(1);
        }
    }
    parts.tm_year -= 1900;
    parts.tm_mon -= 1;
    const std::tm meant = parts;
    const auto as_meant = [&] {  // the 31st of June becomes the 1st of July, which nobody wrote
        return parts.tm_mon == meant.tm_mon && parts.tm_mday == meant.tm_mday && parts.tm_min == meant.tm_min;
    };
    const std::string zone(rest);
    if (zone.empty()) {
        parts.tm_isdst = -1;
        const auto at = std::chrono::system_clock::from_time_t(mktime(&parts));
        return as_meant() ? std::optional(at + std::chrono::milliseconds(ms)) : std::nullopt;
    }
    char sign = '+';
    if (zone != "Z" && (std::sscanf(zone.c_str(), "%c%2d:%2d%n", &sign, &offset_hours, &offset_minutes, &used) != 3 ||
                        static_cast<std::size_t>(used) != zone.size() || (sign != '+' && sign != '-'))) {
        return std::nullopt;
    }
    const auto offset = (offset_hours * 60 + offset_minutes) * 60 * (sign == '-' ? -1 : 1);
    const auto at = std::chrono::system_clock::from_time_t(timegm(&parts) - offset);
    return as_meant() ? std::optional(at + std::chrono::milliseconds(ms)) : std::nullopt;
}

std::string local_time(std::string_view rfc3339, bool with_date) {
    const auto at = time_of(rfc3339);
    return at ? local_time(*at, with_date) : std::string(rfc3339);
}

}  // namespace gantry::cli
