// SPDX-License-Identifier: Apache-2.0
//
// Session: one connection, from accept to close. Everything of it runs on the server's thread.
//
// g++ 12 miscompiles co_await behind && and inside conditions: give its result a name first.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "plugins/frontend/http/answer.hpp"
#include "plugins/frontend/http/settings.hpp"

namespace gantry::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;
template <class T = void>
using Task = asio::awaitable<T>;

class Session;

// What the sessions share. Callbacks that the host keeps own it; sessions live inside `io`, so they only refer to it.
struct Core : std::enable_shared_from_this<Core> {
    Core(Settings s, Host& h) : settings(std::move(s)), host(h) {}

    const Settings settings;
    Host& host;
    std::set<Session*> sessions;
    bool finishing = false;  // nothing new is taken
    bool stopping = false;   // nothing goes on
    asio::io_context io{1};  // last: it ends the sessions, which reach for the members above
};

inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// Lets one coroutine wait until another handler of the same thread has something for it.
class Signal {
  public:
    explicit Signal(asio::io_context& io) : timer_(io) {}
    // False when the time ran out.
    Task<bool> wait(std::chrono::steady_clock::duration limit);
    void notify() { timer_.cancel(); }

  private:
    asio::steady_timer timer_;
};

class Session : public std::enable_shared_from_this<Session> {
  public:
    Session(Core& core, Socket socket, Principal principal);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Serves requests until the connection ends.
    static Task<> run(std::shared_ptr<Session> self);
    // Ends everything that is under way.
    void close();
    // Ends what follows without an end, and waits for no further request. A client whose first one is on its way to us
    // has a moment for it.
    void finish();

  private:
    using Parser = beast::http::request_parser<beast::http::buffer_body>;

    // ---- one request (session.cpp)
    Task<bool> next_request();
    Task<> serve(Parser& parser);
    Task<> serve_document(Parser& parser, ControlRequest request);
    Task<> serve_exec(Parser& parser, ControlRequest request);
    Task<std::optional<std::string>> read_document(Parser& parser);
    // Says that a body is welcome where the client waits to hear it.
    Task<> permit_body(Parser& parser);
    Task<std::size_t> read_body(Parser& parser, char* into, std::size_t room, error_code& ec);
    Task<> respond(ControlResponse response);
    Task<> refuse(Parser& parser, ControlResponse response);
    Task<> refuse(error_code ec);
    Task<bool> send(std::string_view bytes);
    Task<> linger();

    // ---- streams (stream.cpp)
    Task<> serve_events(Parser& parser, std::string target);
    Task<> serve_upload(Parser& parser, ControlRequest request);
    Task<> serve_download(ControlRequest request, const char* content_type);
    Task<error_code> pump_upload(Parser& parser, Socket& pipe);
    Task<std::uint64_t> pump_download(Socket& pipe);
    std::expected<Socket, Status> open_pipe(const ControlRequest& request);
    // length: what follows, if that is known; else it goes in chunks.
    Task<bool> begin_stream(const char* content_type, std::optional<std::uint64_t> length = std::nullopt);
    Task<bool> send_piece(std::string_view bytes);
    Task<> end_stream();
    void take_event(const std::string& text);
    // Notices when the client leaves although nothing is read from it.
    void watch_client();

    // ---- the answer to the question under way
    std::function<void(ControlResponse)> response_handler();
    Task<ControlResponse> answer();

    // What is under way on the connection and the pipe is cancelled after `limit`.
    void arm(std::chrono::steady_clock::duration limit);
    void disarm() { deadline_.cancel(); }
    bool over() const { return gone_ || core_.stopping; }

    Core& core_;
    Socket socket_;
    const Principal principal_;
    beast::flat_buffer buffer_{kChunkBytes};
    asio::steady_timer deadline_;
    Signal signal_;
    bool chunked_ = true;      // the client understands chunks (HTTP/1.1)
    bool ended_ = false;       // the stream under way came to its end
    bool keep_ = false;        // the connection serves another request afterwards
    bool unread_ = false;      // an answer was given before the request was read whole
    bool timed_out_ = false;   // by arm()
    bool gone_ = false;        // the client left
    bool waiting_ = false;     // for a request
    bool following_ = false;   // events, a log or a command
    bool served_ = false;      // a request before
    std::uint64_t asked_ = 0;  // number of the question under way
    std::optional<ControlResponse> response_;
    Socket* pipe_ = nullptr;  // the stream under way
    std::string events_;      // text that waits to be sent
    bool events_lost_ = false;
};

}  // namespace gantry::http
