// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/http_server.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <list>
#include <thread>

#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using ErrorCode = boost::system::error_code;

constexpr auto kStall = std::chrono::seconds(60);  // without a byte, of a request under way or an answer's reader
constexpr auto kIdle = std::chrono::seconds(90);   // between two requests
constexpr auto kSlice = milliseconds(200);         // an interrupt is noticed so late
constexpr std::size_t kConnections = 32, kHeader = 16 << 10;

// A connection as Beast reads it.
class Connection {
  public:
    explicit Connection(int fd) : fd_(fd) {}
    ~Connection() { close(fd_); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void allow(std::chrono::seconds limit) { limit_ = limit; }

    template <class Buffers>
    std::size_t read_some(const Buffers& buffers, ErrorCode& error) {
        error = {};
        for (auto at = boost::asio::buffer_sequence_begin(buffers); at != boost::asio::buffer_sequence_end(buffers);
             ++at) {
            const boost::asio::mutable_buffer buffer(*at);
            if (buffer.size() == 0) continue;
            if (!wait(POLLIN)) {
                error = boost::asio::error::timed_out;
                return 0;
            }
            const auto got = recv(fd_, buffer.data(), buffer.size(), 0);
            if (got < 0) error = ErrorCode(errno, boost::system::system_category());
            if (got == 0) error = boost::asio::error::eof;
            return got > 0 ? static_cast<std::size_t>(got) : 0;
        }
        return 0;
    }
    template <class Buffers>
    std::size_t read_some(const Buffers& buffers) {
        ErrorCode error;
        const auto got = read_some(buffers, error);
        if (error) throw boost::system::system_error(error);
        return got;
    }

    bool write(std::string_view bytes) {
        while (!bytes.empty()) {
            if (!wait(POLLOUT)) return false;
            const auto sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (sent < 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

  private:
    bool wait(short events) const {
        const auto deadline = Clock::now() + limit_;
        while (Clock::now() < deadline) {
            const auto waited = wait_for(fd_, events, std::min(deadline, Clock::now() + kSlice));
            if (waited == Waited::kReady) return true;
            if (waited == Waited::kInterrupted) return false;
        }
        return false;
    }

    int fd_;
    std::chrono::seconds limit_ = kIdle;
};

using Parser = http::request_parser<http::buffer_body>;

class Conversation {
  public:
    Conversation(int fd, const HttpServer::Handler& handler) : connection_(fd), handler_(handler) {}

    void run() {
        while (!interrupted() && next()) continue;
    }

  private:
    bool next() {
        Parser parser;
        parser.header_limit(kHeader);
        parser.body_limit(boost::none);
        ErrorCode error;
        connection_.allow(kIdle);
        while (!parser.is_header_done() && !error) http::read_some(connection_, buffer_, parser, error);
        if (error) return false;  // it ended, or is no HTTP
        connection_.allow(kStall);
        if (beast::iequals(parser.get()[http::field::expect], "100-continue") &&
            !connection_.write("HTTP/1.1 100 Continue\r\n\r\n"))
            return false;
        const auto request = take(parser);
        auto answer = handler_(request);
        // What was not read would be taken for the next request.
        const bool keep = parser.is_done() && parser.keep_alive();
        return send(request, answer, keep) && keep;
    }

    HttpRequest take(Parser& parser) {
        const auto& head = parser.get();
        const auto text = [&](http::field field) { return std::string(head[field]); };
        HttpRequest request;
        request.method = std::string(head.method_string());
        const std::string target(head.target());
        const auto mark = std::min(target.find('?'), target.size());
        request.path = target.substr(0, mark);
        if (mark < target.size()) request.query = target.substr(mark + 1);
        request.authorization = text(http::field::authorization);
        request.content_type = text(http::field::content_type);
        request.content_range = text(http::field::content_range);
        request.range = text(http::field::range);
        request.body = [this, &parser](char* into, std::size_t size) { return read_body(parser, into, size); };
        return request;
    }

    Outcome<std::size_t> read_body(Parser& parser, char* into, std::size_t size) {
        while (!parser.is_done()) {
            auto& body = parser.get().body();
            body.data = into;
            body.size = size;
            ErrorCode error;
            http::read_some(connection_, buffer_, parser, error);
            if (error == http::error::need_buffer) error = {};
            if (const auto got = size - body.size; got > 0) return got;
            if (error) return trouble(exit_status::kFailed, Code::kFailed, "the client broke off: " + error.message());
        }
        return std::size_t{0};
    }

    bool send(const HttpRequest& request, HttpAnswer& answer, bool keep) {
        const auto length =
            answer.stream || answer.length >= 0 ? answer.length : static_cast<std::int64_t>(answer.body.size());
        std::string head = "HTTP/1.1 " + std::to_string(answer.code) + " ";
        head.append(http::obsolete_reason(http::int_to_status(static_cast<unsigned>(answer.code)))).append("\r\n");
        for (const auto& [name, value] : answer.headers) head.append(name).append(": ").append(value).append("\r\n");
        if (answer.code != 204) head += "Content-Length: " + std::to_string(length) + "\r\n";
        head += keep ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
        if (request.method == "HEAD" || answer.code == 204) return connection_.write(head);
        if (!answer.stream) return connection_.write(head + answer.body);
        if (!connection_.write(head)) return false;
        std::string piece;
        for (std::int64_t sent = 0; sent < length;) {
            const auto more = answer.stream(piece);
            if (!more || piece.empty()) return false;  // cut short, the connection ends
            piece.resize(std::min(piece.size(), static_cast<std::size_t>(length - sent)));
            if (!connection_.write(piece)) return false;
            sent += static_cast<std::int64_t>(piece.size());
        }
        return true;
    }

    Connection connection_;
    const HttpServer::Handler& handler_;
    beast::flat_buffer buffer_;
};

struct Worker {
    std::atomic<bool> ended{false};
    std::thread thread;
};

}  // namespace

std::string decode(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned value = 0;
        const bool escape =
            text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3;
        out += escape ? static_cast<char>(value) : text[i];
        if (escape) i += 2;
    }
    return out;
}

std::string HttpRequest::parameter(std::string_view name) const {
    std::string_view rest = query;
    while (!rest.empty()) {
        const auto end = std::min(rest.find('&'), rest.size());
        const auto one = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (one.size() > name.size() && one.starts_with(name) && one[name.size()] == '=')
            return decode(one.substr(name.size() + 1));
    }
    return {};
}

Outcome<HttpServer> HttpServer::listen(const std::string& address, Handler handler) {
    const auto colon = address.rfind(':');
    auto host = address.substr(0, colon == std::string::npos ? 0 : colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    std::uint16_t port = 0;
    const auto* end = address.data() + address.size();
    const auto digits = std::from_chars(address.data() + (colon == std::string::npos ? 0 : colon + 1), end, port);
    const bool number = colon != std::string::npos && digits.ec == std::errc() && digits.ptr == end;
    const bool is_v4 = inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1;
    const bool is_v6 = !is_v4 && inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1;
    if (!number || (!is_v4 && !is_v6)) {
        return trouble(exit_status::kUsage, Code::kInvalid,
                       "--listen: expected an address like 127.0.0.1:5000, got \"" + address + "\"");
    }
    v4.sin_family = AF_INET;
    v6.sin6_family = AF_INET6;
    v4.sin_port = v6.sin6_port = htons(port);
    const auto* where = is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
    const int fd = socket(where->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, where, is_v4 ? sizeof v4 : sizeof v6) != 0 || ::listen(fd, 64) != 0) {
        const int error = errno;
        if (fd >= 0) close(fd);
        return trouble(exit_status::kFailed, Code::kFailed,
                       "cannot listen on " + address + ": " + std::strerror(error));
    }
    return HttpServer(fd, std::move(handler));
}

HttpServer::~HttpServer() {
    if (fd_ >= 0) close(fd_);
}

std::string HttpServer::address() const {
    sockaddr_storage where{};
    socklen_t size = sizeof where;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&where), &size);
    char text[INET6_ADDRSTRLEN] = {};
    const bool v4 = where.ss_family == AF_INET;
    const auto* ip4 = reinterpret_cast<const sockaddr_in*>(&where);
    const auto* ip6 = reinterpret_cast<const sockaddr_in6*>(&where);
    inet_ntop(where.ss_family, v4 ? static_cast<const void*>(&ip4->sin_addr) : &ip6->sin6_addr, text, sizeof text);
    return endpoint_text(text, std::to_string(ntohs(v4 ? ip4->sin_port : ip6->sin6_port)));
}

void HttpServer::run() {
    catch_interrupts();
    std::list<Worker> workers;
    while (!interrupted()) {
        if (wait_for(fd_, POLLIN, Clock::now() + kSlice) == Waited::kReady) {
            const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd >= 0 && workers.size() >= kConnections) {
                close(fd);
            } else if (fd >= 0) {
                const int on = 1;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                auto& worker = workers.emplace_back();
                worker.thread = std::thread([this, fd, &worker] {
                    Conversation(fd, handler_).run();
                    worker.ended = true;
                });
            }
        }
        workers.remove_if([](Worker& worker) {
            if (!worker.ended) return false;
            worker.thread.join();
            return true;
        });
    }
    for (auto& worker : workers) worker.thread.join();
}

}  // namespace gantry::cli
