// SPDX-License-Identifier: Apache-2.0
#include "plugins/frontend/http/answer.hpp"

#include <charconv>
#include <cstdio>

namespace gantry::http {

namespace {

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

bool is_logs(std::string_view path) {
    constexpr std::string_view kFront = "/v1/instances/";
    constexpr std::string_view kBack = "/logs";
    return path.size() > kFront.size() + kBack.size() && path.starts_with(kFront) && path.ends_with(kBack);
}

}  // namespace

ControlResponse error_answer(int code, std::string_view name, std::string_view message) {
    return {code, 0, "{\"error\":{\"code\":" + quoted(name) + ",\"message\":" + quoted(message) + "}}"};
}

ControlResponse error_answer(const Status& status) {
    const std::string text = status.text();
    const auto say = [&](int code, const char* name, const char* otherwise) {
        return error_answer(code, name, text.empty() ? otherwise : std::string_view(text));
    };
    switch (status.code()) {
        case Code::kInvalid:
            return say(400, "invalid", "the request is not valid");
        case Code::kNotFound:
            return say(404, "not_found", "there is no such thing");
        case Code::kExists:
            return say(409, "exists", "it exists already");
        case Code::kConflict:
            return say(409, "conflict", "it changed meanwhile");
        case Code::kDenied:
            return say(403, "refused", "you are not permitted to do this");
        case Code::kUnsupported:
            return say(501, "unsupported", "not supported here");
        case Code::kFull:
            return say(507, "full", "too many requests are under way; try again");
        case Code::kDeadline:
            return say(504, "deadline", "it took too long");
        case Code::kUnavailable:
        case Code::kStale:
            return say(503, "unavailable", "gantryd is stopping; try again");
        case Code::kUnknown:
            return say(500, "unknown", "it may have happened or not; look before you try again");
        default:
            return say(500, "failed", "it failed");
    }
}

std::optional<std::string_view> parameter(std::string_view target, std::string_view name) {
    const auto mark = target.find('?');
    std::string_view rest = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const auto one = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (one == name) return std::string_view();
        if (one.size() > name.size() && one.starts_with(name) && one[name.size()] == '=')
            return one.substr(name.size() + 1);
    }
    return std::nullopt;
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::uint64_t> member_number(std::string_view document, std::string_view name) {
    const std::string key = quoted(name) + ":";
    const auto at = document.find(key);
    if (at == std::string_view::npos) return std::nullopt;
    document.remove_prefix(at + key.size());
    return number(document.substr(0, document.find_first_not_of("0123456789")));
}

Kind kind_of(std::string_view method, std::string_view target, bool accepts_events) {
    const auto path = path_of(target);
    if (path.starts_with("/v1/blobs/")) {
        if (method == "PUT") return Kind::kUpload;
        if (method == "GET") return Kind::kDownload;
    }
    if (method == "POST" && path.starts_with("/v1/instances/") && path.ends_with("/exec")) return Kind::kExec;
    if (method != "GET") return Kind::kDocument;
    if (path == "/v1/events" && (accepts_events || parameter(target, "follow") == "1")) return Kind::kEvents;
    if (is_logs(path)) return Kind::kLogs;
    return Kind::kDocument;
}

std::string event_text(std::uint64_t number, std::string_view document) {
    std::string out = "id: " + std::to_string(number) + "\n";
    // A line break inside would end the event.
    while (true) {
        const auto end = document.find('\n');
        out.append("data: ").append(document.substr(0, end)).append("\n");
        if (end == std::string_view::npos) break;
        document.remove_prefix(end + 1);
    }
    return out + "\n";
}

}  // namespace gantry::http
