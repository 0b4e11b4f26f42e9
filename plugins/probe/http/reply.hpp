// SPDX-License-Identifier: Apache-2.0
//
// One answer of an HTTP server, as far as a probe looks at it. Beast reads it; nothing here touches a socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace http_probe {

class Reply {
  public:
    static constexpr std::size_t kBodyMost = 64 << 10;  // bytes that are looked at

    explicit Reply(bool with_body);
    ~Reply();
    Reply(Reply&&) noexcept;
    Reply& operator=(Reply&&) noexcept;

    // Bytes of the server. True: nothing more is needed. Throws std::runtime_error: that is no HTTP.
    bool feed(std::string_view bytes);
    // It closed the connection. True: the answer is whole by that.
    bool closed();
    int status() const;
    const std::string& body() const;

  private:
    struct Parser;
    std::unique_ptr<Parser> parser_;
    std::string unread_;
    bool with_body_;
};

}  // namespace http_probe
