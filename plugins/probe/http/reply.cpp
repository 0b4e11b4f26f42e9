// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/http/reply.hpp"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <stdexcept>

namespace http_probe {

namespace http = boost::beast::http;

struct Reply::Parser {
    http::response_parser<http::string_body> http;
};

Reply::Reply(bool with_body) : parser_(std::make_unique<Parser>()), with_body_(with_body) {
    parser_->http.eager(true);
    parser_->http.body_limit(boost::none);
}
Reply::~Reply() = default;
Reply::Reply(Reply&&) noexcept = default;
Reply& Reply::operator=(Reply&&) noexcept = default;

bool Reply::feed(std::string_view bytes) {
    unread_ += bytes;
    auto& parser = parser_->http;
    while (!parser.is_done() && !unread_.empty()) {
        boost::beast::error_code error;
        const std::size_t used = parser.put(boost::asio::buffer(unread_), error);
        unread_.erase(0, used);
        if (error && error != http::error::need_more)
            throw std::runtime_error("what answers does not speak HTTP: " + error.message());
        if (parser.is_header_done() && (!with_body_ || body().size() >= kBodyMost)) return true;
        if (error || used == 0) break;
    }
    return parser.is_done();
}

bool Reply::closed() {
    auto& parser = parser_->http;
    if (!parser.is_header_done()) return false;
    boost::beast::error_code error;
    parser.put_eof(error);
    return !error;
}

int Reply::status() const { return static_cast<int>(parser_->http.get().result_int()); }
const std::string& Reply::body() const { return parser_->http.get().body(); }

}  // namespace http_probe
