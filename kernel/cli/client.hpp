// SPDX-License-Identifier: Apache-2.0
//
// HTTP towards gantryd, one connection per request. client.cpp is the only file that knows Beast.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/base/json.hpp"
#include "kernel/cli/socket.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

// Percent-encodes one part of a path or a query: a name, a reference with '/' in it, a digest (':' stays).
std::string encode(std::string_view part);

struct Answer {
    int code = 0;          // of HTTP
    json::value document;  // null where the body is empty
};

// The Trouble that an answer of 400 and above stands for.
Trouble refusal(const Answer& answer);

class Client {
  public:
    // silence: how long gantryd may say nothing.
    explicit Client(std::string socket, milliseconds silence = std::chrono::seconds(30));

    // Any answer that gantryd gives, also a refusal. Errors: kUnreachable; kNotReady (silence); kFailed (what came is
    // no answer of gantryd's, or it broke off: whether a change happened is not known then).
    Outcome<Answer> ask(std::string_view method, const std::string& target, const std::string& body = {}) const;

    // Sends `size` bytes that `source` gives (0 bytes: it cannot, with its own Trouble). progress gets the bytes sent.
    // gantryd may answer before it has everything; then the rest is not sent.
    using Source = std::function<Outcome<std::size_t>(std::int64_t offset, char* into, std::size_t size)>;
    using Progress = std::function<void(std::int64_t sent)>;
    Outcome<Answer> upload(const std::string& target, std::int64_t size, const Source& source,
                           const Progress& progress = {}) const;

    // A body that comes bit by bit.
    class Stream {
      public:
        virtual ~Stream() = default;
        enum class Got { kData, kNothingYet, kEnd };
        // Replaces `into` by what came within `wait`.
        virtual Outcome<Got> read(std::string& into, milliseconds wait) = 0;
        // Bytes of the whole body, -1 if nobody said.
        virtual std::int64_t length() const = 0;
    };
    // GET, or, with a body, POST. Errors: as ask, and refusal() of what gantryd answers.
    Outcome<std::unique_ptr<Stream>> open(const std::string& target, const std::string& body = {}) const;

    const std::string& socket() const { return socket_; }

  private:
    std::string socket_;
    milliseconds silence_;
};

}  // namespace gantry::cli
