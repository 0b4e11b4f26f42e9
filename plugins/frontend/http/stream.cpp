// SPDX-License-Identifier: Apache-2.0
//
// The part of a session that does not fit into one document: events, uploads, downloads.
#include <sys/socket.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>

#include "plugins/frontend/http/session.hpp"

namespace gantry::http {

std::expected<Socket, Status> Session::open_pipe(const ControlRequest& request) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return std::unexpected(Status(Code::kFull, "no descriptors left; try again"));
    Socket ours(core_.io, asio::local::stream_protocol(), ends[0]);
    if (const Status status = core_.host.open(request, Fd(ends[1]), response_handler()); !status)
        return std::unexpected(status);
    return ours;
}

void Session::watch_client() {
    socket_.async_wait(Socket::wait_read, [weak = weak_from_this()](error_code ec) {
        const auto self = weak.lock();
        if (ec || !self) return;
        char next = 0;
        const ssize_t got = recv(self->socket_.native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got > 0) return;  // the next request, which waits its turn
        self->gone_ = true;
        error_code ignored;
        if (self->pipe_) self->pipe_->cancel(ignored);
        self->signal_.notify();
    });
}

Task<bool> Session::begin_stream(const char* content_type, std::optional<std::uint64_t> length) {
    std::string head = "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: ";
    head.append(content_type).append("\r\n");
    if (length) {
        head += "Content-Length: " + std::to_string(*length) + "\r\n";
        chunked_ = false;
    } else if (chunked_)
        head += "Transfer-Encoding: chunked\r\n";
    else
        keep_ = false;  // only the end of the connection ends the stream
    head += keep_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
    const bool sent = co_await send(head);
    co_return sent;
}

Task<bool> Session::send_piece(std::string_view bytes) {
    if (!chunked_) {
        const bool sent = co_await send(bytes);
        co_return sent;
    }
    if (over()) co_return false;
    char size[20];
    const int length = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    const std::array<asio::const_buffer, 3> parts = {asio::buffer(size, static_cast<std::size_t>(length)),
                                                     asio::buffer(bytes.data(), bytes.size()), asio::buffer("\r\n", 2)};
    arm(kStallTime);
    const auto [ec, count] = co_await asio::async_write(socket_, parts, kTuple);
    disarm();
    if (ec) gone_ = true;
    co_return !ec;
}

Task<> Session::end_stream() {
    if (!chunked_) co_return;
    const bool sent = co_await send("0\r\n\r\n");
    if (!sent) keep_ = false;
}

// ---- events

void Session::take_event(const std::string& text) {
    if (events_.size() + text.size() > kEventBacklog)
        events_lost_ = true;
    else
        events_ += text;
    signal_.notify();
}

Task<> Session::serve_events(Parser& parser, std::string target) {
    // A browser that comes back repeats its first address, and says in this header what it has seen since.
    const auto seen = parser.get()["Last-Event-ID"];
    const auto text =
        seen.empty() ? parameter(target, "after").value_or("0") : std::string_view(seen.data(), seen.size());
    const auto after = number(text);
    if (!after) {
        co_await respond(error_answer(400, "invalid", "after: expected the number of an event"));
        co_return;
    }

    WatchId watch = 0;
    Status refused;
    try {
        watch = core_.host.watch_events(
            principal_, "/v1/events", *after,
            [core = core_.shared_from_this(), weak = weak_from_this()](std::uint64_t event, std::string_view document) {
                asio::post(core->io, [weak, piece = event_text(event, document)] {
                    if (const auto self = weak.lock()) self->take_event(piece);
                });
            });
    } catch (const Failure& failure) {
        refused = failure.status();
    }
    if (!refused) {
        co_await respond(error_answer(refused));
        co_return;
    }

    keep_ = false;
    bool good = co_await begin_stream("text/event-stream");
    watch_client();
    while (good && !over() && !events_lost_ && !core_.finishing) {
        std::string piece = std::exchange(events_, {});
        if (piece.empty()) {
            const bool woken = co_await signal_.wait(core_.settings.keepalive_time);
            if (woken) continue;
            piece = ": keepalive\n\n";
        }
        good = co_await send_piece(piece);
    }
    core_.host.unwatch_events(watch);
    if (events_lost_)
        core_.host.warn("a follower of the events was too slow and was disconnected", {{"user", principal_.name}});
}

// ---- uploads and downloads

Task<> Session::serve_upload(Parser& parser, ControlRequest request) {
    disarm();
    auto pipe = open_pipe(request);
    if (!pipe) {
        co_await refuse(parser, error_answer(pipe.error()));
        co_return;
    }
    if (!parser.is_done()) co_await permit_body(parser);
    const error_code ec = co_await pump_upload(parser, *pipe);
    error_code ignored;
    pipe->close(ignored);
    if (ec) {
        ++asked_;  // its answer is about half an upload
        co_await refuse(ec);
        co_return;
    }
    auto response = co_await answer();
    co_await refuse(parser, std::move(response));
}

// Moves the body into the pipe until one of them ends. An error is one of the client's side.
Task<error_code> Session::pump_upload(Parser& parser, Socket& pipe) {
    std::string piece(kChunkBytes, '\0');
    pipe_ = &pipe;
    error_code client;
    error_code host;
    while (!parser.is_done() && !response_ && !client && !host && !over()) {
        arm(kStallTime);
        const std::size_t got = co_await read_body(parser, piece.data(), piece.size(), client);
        if (client || got == 0) continue;
        arm(kAnswerTime);
        const auto [failed, count] = co_await asio::async_write(pipe, asio::buffer(piece.data(), got), kTuple);
        host = failed;
    }
    disarm();
    pipe_ = nullptr;
    co_return response_ ? error_code() : client;
}

Task<> Session::serve_download(ControlRequest request, const char* content_type) {
    disarm();
    auto pipe = open_pipe(request);
    if (!pipe) {
        co_await respond(error_answer(pipe.error()));
        co_return;
    }
    auto response = co_await answer();
    if (response.code != 200) {
        co_await respond(std::move(response));
        co_return;
    }
    const auto length = member_number(response.body, "size");
    const bool begun = co_await begin_stream(content_type, length);
    if (!begun) co_return;
    const std::uint64_t sent = co_await pump_download(*pipe);
    // Cut short, the connection must end: what is missing would else look like the next answer, or like nothing.
    const bool whole = ended_ && (!length || *length == sent);
    if (whole) co_await end_stream();
    keep_ = keep_ && whole;
}

// The bytes that were sent; ended_ says whether that was all.
Task<std::uint64_t> Session::pump_download(Socket& pipe) {
    std::string piece(kChunkBytes, '\0');
    std::uint64_t total = 0;
    pipe_ = &pipe;
    watch_client();
    ended_ = false;
    while (!over()) {
        const auto [ec, got] = co_await pipe.async_read_some(asio::buffer(piece), kTuple);
        ended_ = ec == asio::error::eof;
        if (ec) break;
        const bool sent = co_await send_piece({piece.data(), got});
        if (!sent) break;
        total += got;
    }
    pipe_ = nullptr;
    error_code ignored;
    if (!over()) socket_.cancel(ignored);  // the watch of the client
    ended_ = ended_ && !over();
    co_return total;
}

}  // namespace gantry::http
