// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP server over TCP, a thread for each connection: for `gantry registry`. http_server.cpp is the only file
// that knows Beast on this side. Ends on SIGINT and SIGTERM.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/cli/socket.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

struct HttpRequest {
    std::string method, path;  // path: without the query, as it was sent
    std::string query;
    std::string authorization, content_type, content_range, range;
    // The next bytes of the body, 0 at its end. Errors: the client broke off or stalled.
    std::function<Outcome<std::size_t>(char* into, std::size_t size)> body;

    // A parameter of the query, decoded; empty if it is not there.
    std::string parameter(std::string_view name) const;
};

struct HttpAnswer {
    int code = 200;
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string body{};
    // Instead of `body`: `length` bytes that come bit by bit, an empty piece at the end.
    std::int64_t length = -1;
    std::function<Outcome<bool>(std::string& piece)> stream{};
};

// "%2F" -> "/". What is no escape stays.
std::string decode(std::string_view text);

class HttpServer {
  public:
    // Called by the connections' threads, several at a time.
    using Handler = std::function<HttpAnswer(const HttpRequest&)>;
    // Binds at once. address: "127.0.0.1:5000", "[::1]:5000", port 0 for a free one. Errors: kUsage, kFailed.
    static Outcome<HttpServer> listen(const std::string& address, Handler handler);
    HttpServer(HttpServer&& other) noexcept : fd_(other.fd_), handler_(std::move(other.handler_)) { other.fd_ = -1; }
    ~HttpServer();

    std::string address() const;
    // Serves until an interrupt, then ends every connection.
    void run();

  private:
    HttpServer(int fd, Handler handler) : fd_(fd), handler_(std::move(handler)) {}

    int fd_;
    Handler handler_;
};

}  // namespace gantry::cli
