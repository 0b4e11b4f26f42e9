// SPDX-License-Identifier: Apache-2.0
//
// An HTTP client as small as the tests need it; every wait has a deadline.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

struct Response {
    int code = 0;
    std::map<std::string, std::string> headers;  // names in lower case
    std::string body;
};

class Client {
  public:
    explicit Client(const std::string& path);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    bool connected() const { return fd_ >= 0; }
    // False when the other side has gone.
    bool send(std::string_view bytes);
    bool send_request(const std::string& method, const std::string& target, const std::string& body = {},
                      const std::string& headers = {});
    // nullopt: no whole answer before the end of the connection or the deadline.
    std::optional<Response> receive();
    std::optional<Response> ask(const std::string& method, const std::string& target, const std::string& body = {});
    // Status line and headers only; the rest is read piecewise.
    std::optional<Response> receive_head();
    // The next chunk; empty at the end of the stream; nullopt on a broken one.
    std::optional<std::string> receive_chunk();
    // The other side ends the connection within the deadline; what it still sends is thrown away.
    bool ended();
    void close();
    // The next bytes of a body that has a length.
    std::optional<std::string> exactly(std::size_t count);

  private:
    bool more();
    std::optional<std::string> line();

    int fd_ = -1;
    std::string buffer_;
};
