// SPDX-License-Identifier: Apache-2.0
//
// `gantry resolve`: what the controller knows, and what a position server answers over UDP: one JSON text each way,
// {"name": ...} and {"addr", "port", ...}, or {} for an unknown name.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

constexpr std::uint16_t kPositionPort = 54;
constexpr auto kResend = std::chrono::seconds(1);
constexpr int kSends = 2;

struct ServerAddress {
    std::string text;
    sockaddr_storage address{};
    socklen_t size = 0;
};

// "10.0.0.1:54", "10.0.0.1", "[fd00::1]:54".
std::optional<ServerAddress> parse_address(std::string_view text) {
    ServerAddress out{std::string(text)};
    std::string host(text), port;
    const auto bracket = text.find(']');
    const auto colon = text.starts_with('[') ? text.find(':', bracket) : text.find(':');
    if (colon != std::string_view::npos) {
        host = text.substr(0, colon);
        port = text.substr(colon + 1);
    }
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    std::uint16_t number = kPositionPort;
    if (!port.empty()) {
        const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
        if (error != std::errc() || end != port.data() + port.size() || number == 0) return std::nullopt;
    } else if (colon != std::string_view::npos) {
        return std::nullopt;
    }
    auto* four = reinterpret_cast<sockaddr_in*>(&out.address);
    auto* six = reinterpret_cast<sockaddr_in6*>(&out.address);
    if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(number);
        out.size = sizeof *four;
    } else if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(number);
        out.size = sizeof *six;
    } else {
        return std::nullopt;
    }
    return out;
}

Outcome<std::vector<ServerAddress>> parse_servers(std::string_view list) {
    std::vector<ServerAddress> out;
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        auto entry = list.substr(0, comma);
        list.remove_prefix(std::min(comma + 1, list.size()));
        while (entry.starts_with(' ')) entry.remove_prefix(1);
        while (entry.ends_with(' ')) entry.remove_suffix(1);
        if (entry.empty()) continue;
        auto address = parse_address(entry);
        if (!address) {
            return trouble(
                exit_status::kUsage, Code::kInvalid,
                "this is no position server: expected ip:port (\"10.0.0.1:54\"), got \"" + std::string(entry) + "\"");
        }
        out.push_back(std::move(*address));
    }
    return out;
}

// What it answered as text for a person; `found` if it knows the name. document: the answer, for --json.
struct Asked {
    std::string text;
    json::value document;
    bool found = false;
};

Asked as_asked(std::string_view datagram, milliseconds took) {
    const auto document = parse_json(datagram.empty() ? "{}" : datagram);
    if (!document || !document->is_object()) {
        return {"answered what is no JSON object: \"" + clean(datagram.substr(0, 64)) + "\"", nullptr, false};
    }
    const auto time = " (in " + age_text(took.count()) + ")";
    if (text_of(*document, "addr").empty()) return {"does not know the name" + time, *document, false};
    return {endpoint_text(text_of(*document, "addr"), text_of(*document, "port")) +
                (flag_of(*document, "security") ? ", TLS" : "") + time,
            *document, true};
}

Outcome<Asked> ask_server(const ServerAddress& server, const std::string& name) {
    const int fd = socket(server.address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const auto failed = [&](const char* what) {
        const Asked out{std::string(what) + ": " + std::strerror(errno), nullptr, false};
        if (fd >= 0) close(fd);
        return out;
    };
    if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&server.address), server.size) != 0) {
        return failed("cannot be reached");
    }
    const auto question = to_text(json::object{{"name", name}});
    const auto start = Clock::now();
    std::array<char, 4096> room;
    for (int sent = 1; sent <= kSends; ++sent) {
        if (send(fd, question.data(), question.size(), MSG_NOSIGNAL) < 0) return failed("cannot be asked");
        const auto waited = wait_for(fd, POLLIN, start + sent * kResend);
        if (waited == Waited::kTimeout) continue;
        const auto got = recv(fd, room.data(), room.size(), 0);
        if (got < 0) return failed("does not answer");  // nobody listens on that port
        close(fd);
        return as_asked({room.data(), static_cast<std::size_t>(got)},
                        std::chrono::duration_cast<milliseconds>(Clock::now() - start));
    }
    close(fd);
    return Asked{"did not answer within 2 s", nullptr, false};
}

// True: the controller knows it.
bool show_names(const Session& session, const json::value& answer) {
    const bool is_list = member_of(answer, "items") != nullptr;
    const json::array single{answer};
    const auto& items = is_list ? items_of(answer) : single;
    if (session.json()) {
        session.show(answer);
        return !items.empty();
    }
    Table table({"NAME", "ADDRESS", "INSTANCE", "NODE", "SINCE"});
    for (const auto& name : items) {
        table.add({text_of(name, "name"), endpoint_text(text_of(name, "address"), text_of(name, "port")),
                   text_of(name, "instance"), text_of(name, "node"), age_text(number_of(name, "since_ms", -1))});
    }
    if (table.size() > 0) session.show(table);
    return table.size() > 0;
}

}  // namespace

Outcome<int> resolve(const Session& session, const std::string& name, const std::string& server) {
    const char* environment = std::getenv("VSOA_POS_SERVER");
    GANTRY_TRY(servers, parse_servers(!server.empty() ? server : environment ? environment : ""));
    auto answer = session.get("/v1/names/" + encode(name));
    // With a position server to ask, a controller that is away or does not know is half of the answer.
    if (!answer && (servers.empty() || answer.error().status == exit_status::kInterrupted)) {
        return std::unexpected(std::move(answer).error());
    }
    bool found = false;
    if (answer) {
        found = show_names(session, *answer);
        if (!found && servers.empty()) {
            return trouble(exit_status::kNotFound, Code::kNotFound, "nobody answers the name " + name);
        }
    } else {
        session.note("controller: " + answer.error().error.text());
    }
    for (const auto& at : servers) {
        GANTRY_TRY(asked, ask_server(at, name));
        found = found || asked.found;
        if (session.json()) {
            session.show(json::object{{"server", at.text}, {"answer", asked.document}, {"text", asked.text}});
        } else {
            session.say_line("position server " + at.text + ": " + asked.text);
        }
    }
    if (!found) return trouble(exit_status::kNotFound, Code::kNotFound, "nobody answers the name " + name);
    return exit_status::kOk;
}

}  // namespace gantry::cli
