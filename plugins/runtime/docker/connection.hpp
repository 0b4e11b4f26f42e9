// SPDX-License-Identifier: Apache-2.0
//
// Connection: one request and its answer over a Unix socket, whole or in pieces.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <gantry/host.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace docker {

class Connection {
  public:
    // Throws Failure(kUnavailable): nobody is there, or kDeadline.
    static boost::asio::awaitable<std::unique_ptr<Connection>> to(const std::string& socket, gantry::Duration limit);
    ~Connection();

    // Sends the request and reads the answer's header. `limit` counts on from the connecting.
    boost::asio::awaitable<unsigned> request(std::string_view method, std::string_view target, std::string_view body,
                                             bool upgrade);
    // Of the answer's header; empty: it has none of that name.
    std::string header(std::string_view name) const;
    // The rest of the answer. Throws Failure: kUnavailable, kDeadline, kFailed (longer than 16 MiB).
    boost::asio::awaitable<std::string> body();
    // The next piece of the answer, without a limit of time; empty: it is over.
    boost::asio::awaitable<std::string> piece();

    // After an upgrade: bytes as they come; empty: the other side is done. send: all of it.
    boost::asio::awaitable<std::string> receive();
    boost::asio::awaitable<void> send(std::string bytes);
    void send_end();

    // What waits ends as kUnavailable.
    void close();

  private:
    struct Parts;
    explicit Connection(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace docker
