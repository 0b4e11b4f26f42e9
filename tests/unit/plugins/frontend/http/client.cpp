// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/plugins/frontend/http/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace {
constexpr int kPatienceMs = 20'000;
}

Client::Client(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
}

Client::~Client() { close(); }

void Client::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

bool Client::send(std::string_view bytes) {
    while (!bytes.empty()) {
        pollfd wait{fd_, POLLOUT, 0};
        if (poll(&wait, 1, kPatienceMs) <= 0) return false;
        const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) continue;
        if (sent < 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

bool Client::send_request(const std::string& method, const std::string& target, const std::string& body,
                          const std::string& headers) {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: gantry\r\n" + headers;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return send(text + "\r\n" + body);
}

bool Client::more() {
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, kPatienceMs) <= 0) return false;
    char piece[65536];
    const ssize_t got = recv(fd_, piece, sizeof piece, 0);
    if (got > 0) buffer_.append(piece, static_cast<std::size_t>(got));
    return got > 0;
}

std::optional<std::string> Client::line() {
    while (true) {
        if (const auto end = buffer_.find("\r\n"); end != std::string::npos) {
            std::string out = buffer_.substr(0, end);
            buffer_.erase(0, end + 2);
            return out;
        }
        if (!more()) return std::nullopt;
    }
}

std::optional<std::string> Client::exactly(std::size_t count) {
    while (buffer_.size() < count)
        if (!more()) return std::nullopt;
    std::string out = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return out;
}

std::optional<Response> Client::receive_head() {
    Response out;
    const auto status = line();
    if (!status || status->size() < 12) return std::nullopt;
    out.code = std::stoi(status->substr(9, 3));
    while (true) {
        const auto header = line();
        if (!header) return std::nullopt;
        if (header->empty()) return out;
        const auto colon = header->find(": ");
        std::string name = header->substr(0, colon);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
        out.headers[name] = header->substr(colon + 2);
    }
}

std::optional<std::string> Client::receive_chunk() {
    const auto size = line();
    if (!size || size->empty()) return std::nullopt;
    auto piece = exactly(std::stoul(*size, nullptr, 16));
    if (!piece || !line()) return std::nullopt;
    return piece;
}

std::optional<Response> Client::receive() {
    auto out = receive_head();
    if (!out) return std::nullopt;
    if (out->headers["transfer-encoding"] == "chunked") {
        while (true) {
            auto piece = receive_chunk();
            if (!piece) return std::nullopt;
            if (piece->empty()) return out;
            out->body += *piece;
        }
    }
    auto body = exactly(out->headers.contains("content-length") ? std::stoul(out->headers["content-length"]) : 0);
    if (!body) return std::nullopt;
    out->body = std::move(*body);
    return out;
}

std::optional<Response> Client::ask(const std::string& method, const std::string& target, const std::string& body) {
    if (!send_request(method, target, body)) return std::nullopt;
    return receive();
}

bool Client::ended() {
    while (true) {
        pollfd wait{fd_, POLLIN, 0};
        if (poll(&wait, 1, kPatienceMs) <= 0) return false;
        char piece[4096];
        if (recv(fd_, piece, sizeof piece, 0) <= 0) return true;
    }
}
