// SPDX-License-Identifier: Apache-2.0
//
// Engine: Docker's API over its Unix socket, one connection for each request. Used on the thread of its io_context.
// https://docs.docker.com/reference/api/engine/ (1.24 to 1.41); Podman's service speaks the same.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <gantry/host.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/runtime/docker/connection.hpp"

namespace docker {

template <class T>
using Task = boost::asio::awaitable<T>;

struct Answer {
    unsigned status = 0;
    std::string body;

    bool ok() const { return status >= 200 && status < 300; }
    // The engine's own words.
    std::string words() const;
    // Throws Failure(kFailed, "WHAT: the engine's words") unless it is ok or one of 304 and `also`.
    const Answer& expect(std::string_view what, unsigned also = 0) const;
    // Throws Failure(kFailed) if it is no JSON.
    boost::json::value json(std::string_view what) const;
};

class Engine {
  public:
    explicit Engine(std::string socket) : socket_(std::move(socket)) {}

    // target: "/containers/json?all=1", without a version. limit: for connecting, asking and the whole answer. Throws
    // Failure: kUnavailable (nobody there, or the connection broke), kDeadline.
    Task<Answer> ask(std::string_view method, std::string target, std::string body, gantry::Duration limit);
    // The same; the connection is given out when the answer's header is there, and a status that is not ok is thrown.
    Task<std::unique_ptr<Connection>> open(std::string_view method, std::string target, std::string body,
                                           gantry::Duration limit, bool upgrade = false);
    // The prefix of every target, "/v1.41": what both sides know. Asked for once, and again after a break.
    Task<std::string> version(gantry::Duration limit);

    const std::string& socket() const { return socket_; }

  private:
    const std::string socket_;
    std::string version_;
};

// A target's part: everything but letters, digits and -._~ as %XX.
std::string escaped(std::string_view text);

// The version that both know, of the newest that the engine does: "1.41". Throws Failure(kUnsupported). An engine that
// no longer knows it says so itself, to each request.
std::string common_version(std::string_view newest);

}  // namespace docker
