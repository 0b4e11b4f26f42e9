// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/client.hpp"

#include <algorithm>
#include <array>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include "kernel/base/units.hpp"

namespace gantry::cli {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using ErrorCode = boost::system::error_code;

constexpr std::size_t kMaxAnswer = 64 << 20;  // a list of 100,000 instances fits
constexpr std::size_t kUploadChunk = 256 << 10;

// Socket as Beast wants to see it.
struct Reader {
    Socket& socket;

    template <class Buffers>
    std::size_t read_some(const Buffers& buffers, ErrorCode& error) {
        error = {};
        for (auto at = boost::asio::buffer_sequence_begin(buffers); at != boost::asio::buffer_sequence_end(buffers);
             ++at) {
            const boost::asio::mutable_buffer buffer(*at);
            if (buffer.size() == 0) continue;
            const auto got = socket.read(buffer.data(), buffer.size(), error);
            if (got == 0 && !error) error = boost::asio::error::eof;
            return got;
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
};

bool is(const ErrorCode& error, boost::system::errc::errc_t what) {
    return error == boost::system::errc::make_error_code(what);
}

Trouble transport_trouble(const std::string& socket, std::string_view doing, const ErrorCode& error,
                          milliseconds silence) {
    namespace errc = boost::system::errc;
    if (is(error, errc::operation_canceled)) return interrupted_trouble().error();
    const std::string gantryd = "gantryd at " + socket;
    if (is(error, errc::timed_out)) {
        return {exit_status::kNotReady,
                {Code::kDeadline, gantryd + " said nothing for " + format_duration(silence) + " while " +
                                      std::string(doing) + "; see `journalctl -u gantryd` and try again"}};
    }
    const bool ended = error == http::error::end_of_stream || error == http::error::partial_message ||
                       error == boost::asio::error::eof || is(error, errc::connection_reset) ||
                       is(error, errc::broken_pipe);
    if (ended) {
        const bool reads = doing.starts_with("GET ");
        return {exit_status::kFailed,
                {Code::kUnknown,
                 gantryd + " closed the connection while " + std::string(doing) +
                     (reads ? ", so the answer is not whole; try again"
                            : ", so whether it happened is not known; look (`gantry services`), then try again")}};
    }
    if (error == http::error::body_limit) {
        return {exit_status::kFailed, {Code::kFailed, gantryd + " answered more than 64 MiB"}};
    }
    return {exit_status::kFailed,
            {Code::kFailed, "no answer of a gantryd at " + socket + ": expected HTTP, got what cannot be read (" +
                                error.message() + "); is --socket the right one?"}};
}

std::string doing(std::string_view method, const std::string& target) { return std::string(method) + " " + target; }

std::string head(std::string_view method, const std::string& target, std::int64_t size, std::string_view type) {
    std::string text(method);
    text +=
        " " + target + " HTTP/1.1\r\nHost: gantry\r\nUser-Agent: gantry/" GANTRY_VERSION "\r\nConnection: close\r\n";
    if (size > 0 || method != "GET") text += "Content-Length: " + std::to_string(size) + "\r\n";
    if (size > 0) text += "Content-Type: " + std::string(type) + "\r\n";
    return text + "\r\n";
}

// Writes everything, unless an answer is there before; then `early` is set.
ErrorCode send(Socket& socket, std::string_view bytes, milliseconds silence, bool& early) {
    ErrorCode error;
    while (!bytes.empty()) {
        socket.set_deadline(Clock::now() + silence);
        const auto sent = socket.write(bytes.data(), bytes.size(), error);
        // A server that has already answered may have closed: its answer counts, not the broken pipe.
        early = socket.readable();
        if (error || (early && sent == 0)) return error;
        bytes.remove_prefix(sent);
    }
    return error;
}

Answer as_answer(int code, const std::string& body) {
    Answer answer{code, nullptr};
    if (body.empty()) return answer;
    auto document = parse_json(body, kMaxAnswer);
    // A body that is no document is kept as text: it may say what is wrong.
    answer.document = document ? std::move(*document) : json::value(json::string(body.substr(0, 4096)));
    return answer;
}

Outcome<Answer> receive(Socket& socket, const Client& client, const std::string& what, milliseconds silence) {
    Reader reader{socket};
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(kMaxAnswer);
    ErrorCode error;
    while (!parser.is_done()) {
        socket.set_deadline(Clock::now() + silence);
        http::read_some(reader, buffer, parser, error);
        if (error) return std::unexpected(transport_trouble(client.socket(), what, error, silence));
    }
    auto answer = as_answer(static_cast<int>(parser.get().result_int()), parser.get().body());
    if (answer.code < 400 && answer.document.is_string()) {
        return trouble(exit_status::kFailed, Code::kFailed,
                       "cannot read the answer to " + what + " at " + client.socket() +
                           ": expected a JSON document, got \"" + parser.get().body().substr(0, 64) + "\"");
    }
    return answer;
}

Code code_of(std::string_view name, int http) {
    for (int i = 0; i <= static_cast<int>(Code::kFailed); ++i) {
        if (code_name(static_cast<Code>(i)) == name) return static_cast<Code>(i);
    }
    switch (http) {
        case 400:
            return Code::kInvalid;
        case 401:
        case 403:
            return Code::kRefused;
        case 404:
            return Code::kNotFound;
        case 409:
            return Code::kConflict;
        case 413:
        case 507:
            return Code::kFull;
        case 501:
            return Code::kUnsupported;
        case 503:
            return Code::kUnavailable;
        case 504:
            return Code::kDeadline;
        default:
            return Code::kFailed;
    }
}

class BodyStream final : public Client::Stream {
  public:
    BodyStream(Socket socket, std::string path, std::string what)
        : socket_(std::move(socket)), path_(std::move(path)), what_(std::move(what)) {
        parser_.body_limit(boost::none);
    }

    ErrorCode read_head(milliseconds silence) {
        Reader reader{socket_};
        ErrorCode error;
        socket_.set_deadline(Clock::now() + silence);
        while (!parser_.is_header_done() && !error) http::read_some(reader, buffer_, parser_, error);
        return error;
    }
    int code() const { return static_cast<int>(parser_.get().result_int()); }
    std::int64_t length() const override {
        const auto length = parser_.content_length();
        return length ? static_cast<std::int64_t>(*length) : -1;
    }

    Outcome<Got> read(std::string& into, milliseconds wait) override {
        Reader reader{socket_};
        into.clear();
        socket_.set_deadline(Clock::now() + wait);
        while (!parser_.is_done()) {
            auto& body = parser_.get().body();
            body.data = room_.data();
            body.size = room_.size();
            ErrorCode error;
            http::read_some(reader, buffer_, parser_, error);
            if (error == http::error::need_buffer) error = {};
            into.assign(room_.data(), room_.size() - body.size);
            if (!into.empty()) return Got::kData;
            if (is(error, boost::system::errc::timed_out)) return Got::kNothingYet;
            if (error) return std::unexpected(transport_trouble(path_, what_, error, wait));
        }
        return Got::kEnd;
    }

  private:
    Socket socket_;
    std::string path_, what_;
    beast::flat_buffer buffer_;
    http::response_parser<http::buffer_body> parser_;
    std::array<char, 16 << 10> room_;
};

}  // namespace

std::string encode(std::string_view part) {
    constexpr std::string_view kHex = "0123456789ABCDEF";
    std::string out;
    for (const char c : part) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '.' || c == '_' || c == '~' || c == ':';
        if (plain) {
            out += c;
        } else {
            out += {'%', kHex[byte >> 4], kHex[byte & 15]};
        }
    }
    return out;
}

Trouble refusal(const Answer& answer) {
    const auto* document = answer.document.if_object();
    const auto* error = document ? document->if_contains("error") : nullptr;
    const auto text = [&](std::string_view key) -> std::string {
        const auto* member = error && error->is_object() ? error->as_object().if_contains(key) : nullptr;
        return member && member->is_string() ? std::string(member->as_string()) : std::string();
    };
    Error out{code_of(text("code"), answer.code), text("message"), text("field")};
    if (out.message.empty()) {
        out.message = "gantryd answered " + std::to_string(answer.code);
        if (answer.document.is_string()) out.message += ": " + std::string(answer.document.as_string());
    }
    return out;
}

Client::Client(std::string socket, milliseconds silence) : socket_(std::move(socket)), silence_(silence) {}

Outcome<Answer> Client::ask(std::string_view method, const std::string& target, const std::string& body) const {
    GANTRY_TRY(socket, Socket::connect(socket_));
    const auto what = doing(method, target);
    bool early = false;
    const auto size = static_cast<std::int64_t>(body.size());
    const auto error = send(socket, head(method, target, size, "application/json") + body, silence_, early);
    if (error && !early) return std::unexpected(transport_trouble(socket_, what, error, silence_));
    return receive(socket, *this, what, silence_);
}

Outcome<Answer> Client::upload(const std::string& target, std::int64_t size, const Source& source,
                               const Progress& progress) const {
    GANTRY_TRY(socket, Socket::connect(socket_));
    const auto what = doing("PUT", target);
    bool early = false;
    auto error = send(socket, head("PUT", target, size, "application/octet-stream"), silence_, early);
    std::string chunk;
    for (std::int64_t sent = 0; sent < size && !error && !early;) {
        chunk.resize(static_cast<std::size_t>(std::min<std::int64_t>(size - sent, kUploadChunk)));
        GANTRY_TRY(got, source(sent, chunk.data(), chunk.size()));
        if (got == 0) return trouble(exit_status::kFailed, Code::kFailed, what + ": the file became shorter");
        error = send(socket, std::string_view(chunk).substr(0, got), silence_, early);
        sent += static_cast<std::int64_t>(got);
        if (progress && !error) progress(sent);
    }
    if (error && !early) return std::unexpected(transport_trouble(socket_, what, error, silence_));
    return receive(socket, *this, what, silence_);
}

Outcome<std::unique_ptr<Client::Stream>> Client::open(const std::string& target, const std::string& body) const {
    GANTRY_TRY(socket, Socket::connect(socket_));
    const auto* method = body.empty() ? "GET" : "POST";
    const auto what = doing(method, target);
    const auto size = static_cast<std::int64_t>(body.size());
    bool early = false;
    auto error = send(socket, head(method, target, size, "application/json") + body, silence_, early);
    if (error && !early) return std::unexpected(transport_trouble(socket_, what, error, silence_));
    auto stream = std::make_unique<BodyStream>(std::move(socket), socket_, what);
    error = stream->read_head(silence_);
    if (error) return std::unexpected(transport_trouble(socket_, what, error, silence_));
    if (stream->code() < 400) return std::unique_ptr<Stream>(std::move(stream));
    std::string refused, part;
    while (refused.size() < (1 << 20)) {
        GANTRY_TRY(got, stream->read(part, silence_));
        if (got != Stream::Got::kData) break;
        refused += part;
    }
    return std::unexpected(refusal(as_answer(stream->code(), refused)));
}

}  // namespace gantry::cli
