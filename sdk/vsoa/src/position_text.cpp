// Texts of the position service, and the places that say where its servers are.
#include <strings.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/src/position.hpp"

namespace vsoa::position {
namespace {

// Domains on the wire are Linux's numbers, whatever the system.
constexpr int kWireV4 = 2, kWireV6 = 10;
constexpr int kMaxLines = 256;

std::mutex fixed_lock;
std::optional<Address> fixed;

int wire_domain(int family) { return family == AF_INET6 ? kWireV6 : kWireV4; }

std::string_view next_word(std::string_view& text, std::string_view separators) {
    const size_t begin = text.find_first_not_of(separators);
    if (begin == text.npos) return text = {};
    const size_t end = std::min(text.find_first_of(separators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    text.remove_prefix(end);
    return word;
}

void add(std::vector<Address>& out, const std::optional<Address>& address) {
    if (address && out.size() < kMaxServers) out.push_back(*address);
}

std::string bracketed(std::string_view ip) {
    std::string out(ip);
    const bool bare_v6 = out.find(':') != out.npos && !out.starts_with('[');
    return bare_v6 ? '[' + out + ']' : out;
}

void read_line(std::vector<Address>& out, std::string_view line) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const std::string_view ip = next_word(line, kBlanks);
    std::string_view port, word;
    while (!(word = next_word(line, kBlanks)).empty()) port = word;
    if (ip.empty()) return;
    const std::string text = port.empty() ? bracketed(ip) : bracketed(ip) + ':' + std::string(port);
    add(out, Address::parse(text, kDefaultPort));
}

}  // namespace

std::optional<Query> read_query(std::string_view text) {
    Query query;
    const bool good = json::read_object(text, [&](std::string_view key, const json::Value& value) {
        if (key == "name" && value.kind == json::Value::Kind::kString) query.name = value.text;
        if (key == "domain" && value.kind == json::Value::Kind::kInteger) {
            if (value.integer == kWireV4) query.domain = AF_INET;
            if (value.integer == kWireV6) query.domain = AF_INET6;
        }
    });
    if (!good || query.name.empty() || query.name.size() > VSOA_POSITION_MAX_NAME_LEN) return std::nullopt;
    // The name goes to the program as a C string.
    if (query.name.find('\0') != query.name.npos) return std::nullopt;
    return query;
}

std::string write_query(const Query& query) {
    std::string out = "{\"name\":";
    json::append_string(out, query.name);
    if (query.domain == AF_INET || query.domain == AF_INET6) {
        out += ",\"domain\":" + std::to_string(wire_domain(query.domain));
    }
    return out + '}';
}

std::optional<Answer> read_answer(std::string_view text) {
    Answer answer;
    if (text.empty()) return answer;
    std::string ip;
    int64_t port = 0;
    const bool good = json::read_object(text, [&](std::string_view key, const json::Value& value) {
        if (key == "name" && value.kind == json::Value::Kind::kString) answer.name = value.text;
        if (key == "addr" && value.kind == json::Value::Kind::kString) ip = value.text;
        if (key == "port" && value.kind == json::Value::Kind::kInteger) port = value.integer;
        if (key == "security" && value.kind == json::Value::Kind::kBool) answer.secure = value.boolean;
    });
    if (!good) return std::nullopt;
    if (ip.empty() && port == 0) return answer;
    if (port <= 0 || port > UINT16_MAX) return std::nullopt;
    // The family is that of the address; a "domain" that says otherwise is wrong anyhow.
    answer.address = Address::make(ip, static_cast<uint16_t>(port));
    return answer.address ? std::optional(answer) : std::nullopt;
}

std::string write_answer(const Answer& answer) {
    if (!answer.address) return "{}";
    std::string place = "\"domain\":" + std::to_string(wire_domain(answer.address->family())) + ",\"addr\":";
    json::append_string(place, answer.address->ip());
    place += ",\"port\":" + std::to_string(answer.address->port());
    place += answer.secure ? ",\"security\":true}" : ",\"security\":false}";
    std::string out = "{";
    if (!answer.name.empty()) {
        out += "\"name\":";
        json::append_string(out, answer.name);
        out += ',';
    }
    return out.size() + place.size() <= kMaxAnswer ? out + place : '{' + place;
}

std::vector<Address> configured_servers(const char* list, const char* file) {
    std::vector<Address> out;
    std::string_view entries = list != nullptr ? list : "";
    for (std::string_view entry; !(entry = next_word(entries, ", \t")).empty();) {
        add(out, Address::parse(entry, kDefaultPort));
    }
    if (!out.empty()) return out;
    const std::unique_ptr<FILE, int (*)(FILE*)> in(std::fopen(file, "re"), &std::fclose);
    if (!in) return out;
    char line[256];
    for (int i = 0; i < kMaxLines && std::fgets(line, sizeof line, in.get()) != nullptr; ++i) read_line(out, line);
    return out;
}

std::vector<Address> servers() {
    {
        const std::lock_guard guard(fixed_lock);
        if (fixed) return {*fixed};
    }
    return configured_servers(std::getenv("VSOA_POS_SERVER"), kServersFile);
}

void fix_server(std::optional<Address> address) {
    const std::lock_guard guard(fixed_lock);
    fixed = address;
}

}  // namespace vsoa::position
