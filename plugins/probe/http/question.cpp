// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/http/question.hpp"

#include <algorithm>
#include <charconv>

#include "plugins/probe/endpoint/params.hpp"

namespace http_probe {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr std::string_view kUsualStatuses = "200-399";

[[noreturn]] void wrong(std::string_view key, const std::string& expected, std::string_view got) {
    throw Failure(Code::kInvalid, "`" + std::string(key) + "`: expected " + expected + ", got \"" +
                                      std::string(got.substr(0, 80)) + "\"");
}

// "200", "200-299", "200-299,404"
std::vector<std::pair<int, int>> statuses_of(const std::string& text) {
    std::vector<std::pair<int, int>> out;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (;;) {
        int first = 0;
        auto read = std::from_chars(at, end, first);
        int last = first;
        bool good = read.ec == std::errc();
        if (good && read.ptr != end && *read.ptr == '-') {
            read = std::from_chars(read.ptr + 1, end, last);
            good = read.ec == std::errc();
        }
        if (!good || first < 100 || last > 599 || first > last) break;
        out.emplace_back(first, last);
        if (read.ptr == end) return out;
        if (*read.ptr != ',') break;
        at = read.ptr + 1;
    }
    wrong("status", "a status or a range (\"200\", \"200-299,404\")", text);
}

bool is_token(std::string_view text) {
    constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kOther.find(c) != std::string_view::npos;
    });
}

bool same_name(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// The lines of the header, of which the manifest's replace ours.
std::string headers_of(const std::vector<std::string>& given, const std::string& host) {
    std::string out;
    const auto named = [&](std::string_view name) {
        return std::any_of(given.begin(), given.end(), [&](const std::string& line) {
            return same_name(std::string_view(line).substr(0, line.find(':')), name);
        });
    };
    if (!named("Host")) out += "Host: " + host + "\r\n";
    if (!named("User-Agent")) out += "User-Agent: gantry-probe\r\n";
    if (!named("Accept")) out += "Accept: */*\r\n";
    for (const std::string& line : given) {
        const std::size_t colon = line.find(':');
        const bool control = std::any_of(line.begin(), line.end(), [](unsigned char c) { return c < 0x20; });
        if (colon == std::string::npos || !is_token(std::string_view(line).substr(0, colon)) || control)
            wrong("headers", "lines like \"Name: value\"", line);
        if (same_name(std::string_view(line).substr(0, colon), "Connection"))
            wrong("headers", "no line \"Connection\", which is the probe's own", line);
        out += line + "\r\n";
    }
    return out + "Connection: close\r\n\r\n";
}

}  // namespace

bool Question::wants(int status) const {
    return std::any_of(statuses.begin(), statuses.end(),
                       [&](const auto& range) { return status >= range.first && status <= range.second; });
}

Question question_of(const gantry::ProbeRequest& request) {
    const probe_endpoint::Params params(request.params, {"path", "host", "headers", "status", "body", "tls", "ca",
                                                         "insecure", "server_name", "password"});
    Question out;
    const std::string path = params.text("path", "/");
    if (!path.starts_with('/') || path.find_first_of(" #") != std::string::npos)
        wrong("path", "a path (\"/healthz\", \"/ready?full=1\")", path);
    const bool v6 = request.address.find(':') != std::string::npos;
    const std::string address = v6 ? "[" + request.address + "]" : request.address;
    const std::string host = params.text("host", address + ":" + std::to_string(request.port));
    if (host.empty() || host.find_first_of(" /") != std::string::npos) wrong("host", "the name of a host", host);
    out.request = "GET " + path + " HTTP/1.1\r\n" + headers_of(params.list("headers"), host);
    out.statuses = statuses_of(params.text("status", kUsualStatuses));
    out.body = params.text("body");
    out.tls = params.flag("tls");
    out.insecure = params.flag("insecure");
    out.ca = params.text("ca");
    if (!out.tls && (out.insecure || !out.ca.empty() || params.has("server_name")))
        throw Failure(Code::kInvalid, "`ca`, `insecure` and `server_name` are for `tls = true`, which is not there");
    if (out.insecure && !out.ca.empty())
        throw Failure(Code::kInvalid, "`insecure` believes every certificate: leave `ca` or `insecure` out");
    if (!out.ca.empty() && !out.ca.starts_with('/')) wrong("ca", "the absolute path of a file on the node", out.ca);
    out.name = params.text("server_name", params.has("host") ? host.substr(0, host.rfind(':')) : request.address);
    return out;
}

}  // namespace http_probe
