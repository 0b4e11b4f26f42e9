// SPDX-License-Identifier: Apache-2.0
#include "plugins/frontend/http/session.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>

namespace gantry::http {

namespace beast_http = beast::http;

Task<bool> Signal::wait(std::chrono::steady_clock::duration limit) {
    timer_.expires_after(limit);
    const auto [ec] = co_await timer_.async_wait(kTuple);
    co_return static_cast<bool>(ec);
}

Session::Session(Core& core, Socket socket, Principal principal)
    : core_(core), socket_(std::move(socket)), principal_(std::move(principal)), deadline_(core.io), signal_(core.io) {
    core_.sessions.insert(this);
}

Session::~Session() { core_.sessions.erase(this); }

void Session::close() {
    error_code ignored;
    socket_.close(ignored);
    if (pipe_) pipe_->cancel(ignored);
    deadline_.cancel();
    signal_.notify();
}

void Session::finish() {
    if (following_) return close();
    error_code ignored;
    if (!waiting_ || socket_.available(ignored) > 0) return;
    if (served_) return close();
    arm(kFirstTime);
}

void Session::arm(std::chrono::steady_clock::duration limit) {
    timed_out_ = false;
    deadline_.expires_after(limit);
    deadline_.async_wait([weak = weak_from_this()](error_code ec) {
        const auto self = weak.lock();
        // A timer that was set anew after its expiry had been queued is not over.
        if (ec || !self || self->deadline_.expiry() > std::chrono::steady_clock::now()) return;
        self->timed_out_ = true;
        error_code ignored;
        self->socket_.cancel(ignored);
        if (self->pipe_) self->pipe_->cancel(ignored);
    });
}

Task<> Session::run(std::shared_ptr<Session> self) {
    bool more = true;
    while (more && !self->over()) more = co_await self->next_request();
    if (self->unread_ && !self->over()) co_await self->linger();
}

Task<bool> Session::next_request() {
    if (buffer_.size() == 0) {
        if (core_.finishing && served_) co_return false;
        waiting_ = true;
        core_.finishing ? arm(kFirstTime) : arm(kIdleTime);
        const auto [ec] = co_await socket_.async_wait(Socket::wait_read, kTuple);
        waiting_ = false;
        disarm();
        if (ec) co_return false;
    }
    served_ = true;
    Parser parser;
    parser.header_limit(kHeaderBytes);
    parser.body_limit(boost::none);
    keep_ = false;
    arm(core_.settings.request_time);
    const auto [ec, count] = co_await beast_http::async_read_header(socket_, buffer_, parser, kTuple);
    if (ec) {
        disarm();
        co_await refuse(ec);
        co_return false;
    }
    keep_ = parser.keep_alive() && !core_.finishing;
    chunked_ = parser.get().version() >= 11;
    co_await serve(parser);
    disarm();
    co_return keep_ && !unread_;
}

Task<> Session::serve(Parser& parser) {
    const auto& head = parser.get();
    ControlRequest request{principal_, std::string(head.method_string()), std::string(head.target()), {}};
    const bool known =
        request.method == "GET" || request.method == "PUT" || request.method == "POST" || request.method == "DELETE";
    if (!known) {
        co_await refuse(parser,
                        error_answer(405, "unsupported", "expected GET, PUT, POST or DELETE, got " + request.method));
        co_return;
    }
    if (request.path.empty() || request.path.front() != '/') {
        co_await refuse(parser, error_answer(400, "invalid", "expected a path that begins with /"));
        co_return;
    }
    // A condition that is not looked at would let one client overwrite another's change.
    if (head.count(beast_http::field::if_match) != 0) {
        co_await refuse(parser, error_answer(501, "unsupported", "If-Match is not supported"));
        co_return;
    }

    const bool accepts_events = head[beast_http::field::accept].find("text/event-stream") != std::string_view::npos;
    const Kind kind = kind_of(request.method, request.path, accepts_events);
    const bool has_no_body = kind == Kind::kEvents || kind == Kind::kDownload || kind == Kind::kLogs;
    if (has_no_body && !parser.is_done()) {
        co_await refuse(parser, error_answer(400, "invalid", "this request has no body"));
        co_return;
    }
    switch (kind) {
        case Kind::kDocument:
            co_await serve_document(parser, std::move(request));
            break;
        case Kind::kUpload:
            co_await serve_upload(parser, std::move(request));
            break;
        case Kind::kEvents:
            following_ = true;
            co_await serve_events(parser, std::move(request.path));
            break;
        case Kind::kDownload:
            co_await serve_download(std::move(request), "application/octet-stream");
            break;
        case Kind::kExec:
            co_return co_await serve_exec(parser, std::move(request));
        case Kind::kLogs:
            following_ = request.path.find("follow=") != std::string::npos;
            co_return co_await serve_download(std::move(request), "text/plain; charset=utf-8");
    }
}

// What is to be run, then what it writes until it ends.
Task<> Session::serve_exec(Parser& parser, ControlRequest request) {
    auto body = co_await read_document(parser);
    if (!body) co_return;
    request.body = std::move(*body);
    following_ = true;
    co_await serve_download(std::move(request), "application/octet-stream");
}

Task<> Session::serve_document(Parser& parser, ControlRequest request) {
    auto body = co_await read_document(parser);
    if (!body) co_return;
    disarm();
    request.body = std::move(*body);
    const Status status = core_.host.request(request, response_handler());
    if (!status) {
        co_await respond(error_answer(status));
        co_return;
    }
    auto response = co_await answer();
    co_await respond(std::move(response));
}

Task<std::optional<std::string>> Session::read_document(Parser& parser) {
    const std::size_t max = core_.settings.body_max;
    const auto too_long = [&] {
        return error_answer(413, "invalid",
                            "the document is too long: expected at most " + std::to_string(max) + " bytes");
    };
    if (parser.content_length().value_or(0) > max) {
        co_await refuse(parser, too_long());
        co_return std::nullopt;
    }
    if (!parser.is_done()) co_await permit_body(parser);
    std::string body;
    std::string piece(parser.is_done() ? 0 : 16 << 10, '\0');
    while (!parser.is_done()) {
        error_code ec;
        const std::size_t got = co_await read_body(parser, piece.data(), piece.size(), ec);
        if (ec) {
            co_await refuse(ec);
            co_return std::nullopt;
        }
        body.append(piece, 0, got);
        if (body.size() > max) {
            co_await refuse(parser, too_long());
            co_return std::nullopt;
        }
    }
    co_return body;
}

Task<> Session::permit_body(Parser& parser) {
    if (beast::iequals(parser.get()[beast_http::field::expect], "100-continue"))
        co_await send("HTTP/1.1 100 Continue\r\n\r\n");
}

Task<std::size_t> Session::read_body(Parser& parser, char* into, std::size_t room, error_code& ec) {
    auto& body = parser.get().body();
    body.data = into;
    body.size = room;
    const auto [failed, count] = co_await beast_http::async_read_some(socket_, buffer_, parser, kTuple);
    ec = failed == beast_http::error::need_buffer ? error_code() : failed;
    co_return room - body.size;
}

Task<> Session::refuse(error_code ec) {
    keep_ = false;
    unread_ = true;
    const bool grammar = ec.category() == error_code(beast_http::error::bad_method).category();
    if (timed_out_) {
        co_await respond(error_answer(408, "deadline", "the request did not arrive in time"));
        co_return;
    }
    if (ec == beast_http::error::header_limit || ec == beast_http::error::buffer_overflow) {
        co_await respond(
            error_answer(431, "invalid", "the header is longer than " + std::to_string(kHeaderBytes) + " bytes"));
        co_return;
    }
    if (ec == beast_http::error::end_of_stream)
        unread_ = false;
    else if (grammar)
        co_await respond(error_answer(400, "invalid", "not a valid HTTP request: " + ec.message()));
}

Task<> Session::refuse(Parser& parser, ControlResponse response) {
    if (!parser.is_done()) {
        keep_ = false;
        unread_ = true;
    }
    co_await respond(std::move(response));
}

Task<> Session::respond(ControlResponse response) {
    const auto status = static_cast<unsigned>(response.code);
    std::string text = "HTTP/1.1 " + std::to_string(status) + " ";
    text.append(beast_http::obsolete_reason(beast_http::int_to_status(status))).append("\r\n");
    if (status == 405) text += "Allow: GET, PUT, POST, DELETE\r\n";
    if (response.revision != 0) text += "ETag: \"" + std::to_string(response.revision) + "\"\r\n";
    if (!response.body.empty()) text += "Content-Type: application/json\r\n";
    if (status != 204) text += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
    keep_ = keep_ && !core_.finishing;
    text += keep_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    if (status != 204) text += response.body;
    const bool sent = co_await send(text);
    if (!sent) keep_ = false;
}

Task<bool> Session::send(std::string_view bytes) {
    if (over()) co_return false;
    arm(kStallTime);
    const auto [ec, count] = co_await asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()), kTuple);
    disarm();
    if (ec) gone_ = true;
    co_return !ec;
}

// A client that is still sending would lose the answer if the connection were closed under it.
Task<> Session::linger() {
    error_code ec;
    socket_.shutdown(Socket::shutdown_send, ec);
    std::string piece(16 << 10, '\0');
    arm(kLingerTime);
    while (!ec && !timed_out_ && !over()) {
        const auto [failed, count] = co_await socket_.async_read_some(asio::buffer(piece), kTuple);
        ec = failed;
    }
    disarm();
}

std::function<void(ControlResponse)> Session::response_handler() {
    response_.reset();
    return [core = core_.shared_from_this(), weak = weak_from_this(), number = ++asked_](ControlResponse response) {
        // The posted part must not own the core, in whose queue it may stay.
        asio::post(core->io, [weak, number, response = std::move(response)]() mutable {
            const auto self = weak.lock();
            if (!self || self->asked_ != number) return;
            self->response_ = std::move(response);
            self->signal_.notify();
            if (!self->pipe_) return;
            // An upload is answered before its end: no more of it is wanted.
            error_code ignored;
            self->pipe_->cancel(ignored);
            self->socket_.cancel(ignored);
        });
    };
}

Task<ControlResponse> Session::answer() {
    const auto until = std::chrono::steady_clock::now() + kAnswerTime;
    bool in_time = true;
    while (!response_ && !over() && in_time) in_time = co_await signal_.wait(until - std::chrono::steady_clock::now());
    ++asked_;  // whatever comes from now on is too late
    if (response_) co_return std::move(*std::exchange(response_, std::nullopt));
    co_return error_answer(Status(over() ? Code::kStale : Code::kDeadline));
}

}  // namespace gantry::http
