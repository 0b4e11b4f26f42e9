// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/connection.hpp"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace docker {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using gantry::Code;
using gantry::Failure;

constexpr std::size_t kBodyMax = 16 << 20;
constexpr std::size_t kPiece = 16 << 10;

[[noreturn]] void broken(const std::string& socket, const error_code& error) {
    if (error == beast::error::timeout)
        throw Failure(Code::kDeadline,
                      "the engine at " + socket + " does not answer in time; is it overloaded or stuck?");
    throw Failure(Code::kUnavailable, "the engine at " + socket + " is not there: " + error.message() +
                                          "; start it (systemctl start docker), or correct 'socket'");
}

}  // namespace

struct Connection::Parts {
    Parts(const asio::any_io_executor& on, std::string where) : stream(on), socket(std::move(where)) {
        parser.body_limit(boost::none);
    }
    beast::basic_stream<asio::local::stream_protocol> stream;
    std::string socket;
    beast::flat_buffer buffer;
    http::response_parser<http::buffer_body> parser;
};

Connection::Connection(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Connection::~Connection() = default;

asio::awaitable<std::unique_ptr<Connection>> Connection::to(const std::string& socket, gantry::Duration limit) {
    auto parts = std::make_unique<Parts>(co_await asio::this_coro::executor, socket);
    parts->stream.expires_after(std::max(limit, gantry::Duration(std::chrono::milliseconds(1))));
    error_code error;
    co_await parts->stream.async_connect(asio::local::stream_protocol::endpoint(socket),
                                         asio::redirect_error(asio::use_awaitable, error));
    if (error) broken(socket, error);
    co_return std::unique_ptr<Connection>(new Connection(std::move(parts)));
}

asio::awaitable<unsigned> Connection::request(std::string_view method, std::string_view target, std::string_view body,
                                              bool upgrade) {
    http::request<http::string_body> request;
    request.method_string({method.data(), method.size()});
    request.target({target.data(), target.size()});
    request.version(11);
    request.set(http::field::host, "docker");
    if (upgrade) {
        request.set(http::field::connection, "Upgrade");
        request.set(http::field::upgrade, "tcp");
    } else {
        request.set(http::field::connection, "close");
    }
    if (!body.empty()) request.set(http::field::content_type, "application/json");
    request.body() = body;
    if (!body.empty() || method == "POST") request.prepare_payload();
    error_code error;
    co_await http::async_write(parts_->stream, request, asio::redirect_error(asio::use_awaitable, error));
    if (error) broken(parts_->socket, error);
    co_await http::async_read_header(parts_->stream, parts_->buffer, parts_->parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error) broken(parts_->socket, error);
    co_return parts_->parser.get().result_int();
}

std::string Connection::header(std::string_view name) const {
    const auto value = parts_->parser.get()[beast::string_view(name.data(), name.size())];
    return {value.data(), value.size()};
}

asio::awaitable<std::string> Connection::body() {
    std::string out;
    while (!parts_->parser.is_done()) {
        const std::size_t had = out.size();
        out.resize(had + kPiece);
        auto& part = parts_->parser.get().body();
        part.data = out.data() + had;
        part.size = kPiece;
        error_code error;
        co_await http::async_read_some(parts_->stream, parts_->buffer, parts_->parser,
                                       asio::redirect_error(asio::use_awaitable, error));
        out.resize(had + (kPiece - part.size));
        if (error && error != http::error::need_buffer) broken(parts_->socket, error);
        if (out.size() > kBodyMax) throw Failure(Code::kFailed, "the engine's answer is longer than 16 MiB");
    }
    co_return out;
}

asio::awaitable<std::string> Connection::piece() {
    parts_->stream.expires_never();
    std::string out;
    while (out.empty() && !parts_->parser.is_done()) {
        out.resize(kPiece);
        auto& part = parts_->parser.get().body();
        part.data = out.data();
        part.size = kPiece;
        error_code error;
        co_await http::async_read_some(parts_->stream, parts_->buffer, parts_->parser,
                                       asio::redirect_error(asio::use_awaitable, error));
        out.resize(kPiece - part.size);
        if (error == http::error::end_of_stream || error == http::error::partial_message) break;
        if (error && error != http::error::need_buffer) broken(parts_->socket, error);
    }
    co_return out;
}

asio::awaitable<std::string> Connection::receive() {
    parts_->stream.expires_never();
    std::string out;
    if (parts_->buffer.size() > 0) {  // came with the header
        out = beast::buffers_to_string(parts_->buffer.data());
        parts_->buffer.consume(parts_->buffer.size());
        co_return out;
    }
    out.resize(kPiece);
    error_code error;
    const std::size_t got =
        co_await parts_->stream.async_read_some(asio::buffer(out), asio::redirect_error(asio::use_awaitable, error));
    if (error && error != asio::error::eof) broken(parts_->socket, error);
    out.resize(error ? 0 : got);
    co_return out;
}

asio::awaitable<void> Connection::send(std::string bytes) {
    error_code error;
    co_await asio::async_write(parts_->stream.socket(), asio::buffer(bytes),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error) broken(parts_->socket, error);
}

void Connection::send_end() {
    error_code ignored;
    parts_->stream.socket().shutdown(asio::local::stream_protocol::socket::shutdown_send, ignored);
}

void Connection::close() {
    error_code ignored;
    parts_->stream.socket().close(ignored);
}

}  // namespace docker
