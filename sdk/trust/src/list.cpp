// SPDX-License-Identifier: Apache-2.0
#include <gantry/trust/list.hpp>

#include <charconv>

namespace gantry::trust {
namespace {

bool parse_digest(std::string_view text, Digest& out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
        const char* const at = text.data() + 2 * i;
        const auto [end, error] = std::from_chars(at, at + 2, out[i], 16);
        if (error != std::errc() || end != at + 2) return false;
    }
    return true;
}

}  // namespace

bool parse_list(std::string_view text, DigestList& out, std::string& error) {
    constexpr std::size_t kDigits = 2 * std::tuple_size_v<Digest>;
    out.clear();
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        const auto wrong = [&](const char* what) {
            error = "line " + std::to_string(number) + ": " + what;
            return false;
        };
        if (line.empty()) continue;
        Digest digest;
        const bool form = line.size() > kDigits + 2 && line[kDigits] == ' ' &&
                          (line[kDigits + 1] == ' ' || line[kDigits + 1] == '*') && parse_digest(line, digest);
        if (!form) return wrong("expected 64 hexadecimal digits, two spaces and a name, as sha256sum writes them");
        std::string_view name = line.substr(kDigits + 2);
        if (name.starts_with("./")) name.remove_prefix(2);
        if (name.empty() || name.front() == '/' || name.find('\0') != name.npos)
            return wrong("expected a name below the list's folder");
        if (!out.emplace(name, digest).second) return wrong("names a file a second time");
    }
    return true;
}

}  // namespace gantry::trust
