// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/semantic_version.hpp"

#include <algorithm>
#include <charconv>

namespace gantry::cli {

namespace {

bool is_number(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t value = 0;
    if (!is_number(text) || (text.size() > 1 && text.front() == '0')) return std::nullopt;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    if (parsed.ec != std::errc()) return std::nullopt;
    return value;
}

std::vector<std::string_view> parts_of(std::string_view text) {
    std::vector<std::string_view> out;
    while (true) {
        const auto dot = std::min(text.find('.'), text.size());
        out.push_back(text.substr(0, dot));
        if (dot == text.size()) return out;
        text.remove_prefix(dot + 1);
    }
}

bool is_word(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
    });
}

// Numbers by their value and below words; a shorter list that is the same so far is smaller.
std::strong_ordering compare_pre(const std::string& a, const std::string& b) {
    const bool an = is_number(a), bn = is_number(b);
    if (an != bn) return an ? std::strong_ordering::less : std::strong_ordering::greater;
    if (an && a.size() != b.size()) return a.size() <=> b.size();  // no leading zeros
    return a.compare(b) <=> 0;
}

}  // namespace

std::strong_ordering SemanticVersion::operator<=>(const SemanticVersion& other) const {
    if (const auto by_number = numbers <=> other.numbers; by_number != 0) return by_number;
    if (pre.empty() || other.pre.empty()) return pre.empty() <=> other.pre.empty();
    for (std::size_t i = 0; i < std::min(pre.size(), other.pre.size()); ++i) {
        if (const auto by_part = compare_pre(pre[i], other.pre[i]); by_part != 0) return by_part;
    }
    return pre.size() <=> other.pre.size();
}

std::optional<SemanticVersion> parse_version(std::string_view tag) {
    if (tag.starts_with('v')) tag.remove_prefix(1);
    if (const auto plus = tag.find('+'); plus != tag.npos) tag = tag.substr(0, plus);
    SemanticVersion out;
    if (const auto dash = tag.find('-'); dash != tag.npos) {
        for (const auto part : parts_of(tag.substr(dash + 1))) {
            if (!is_word(part) || (is_number(part) && part.size() > 1 && part.front() == '0')) return std::nullopt;
            out.pre.emplace_back(part);
        }
        tag = tag.substr(0, dash);
    }
    const auto numbers = parts_of(tag);
    if (numbers.size() > out.numbers.size()) return std::nullopt;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const auto value = number_of(numbers[i]);
        if (!value) return std::nullopt;
        out.numbers[i] = *value;
    }
    return out;
}

std::optional<std::string> larger_version(std::string_view current, const std::vector<std::string>& tags) {
    auto best = parse_version(current);
    if (!best) return std::nullopt;
    const bool with_pre = !best->pre.empty();
    std::optional<std::string> out;
    for (const auto& tag : tags) {
        auto version = parse_version(tag);
        if (!version || *version <= *best || (!with_pre && !version->pre.empty())) continue;
        best = std::move(version);
        out = tag;
    }
    return out;
}

}  // namespace gantry::cli
