// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP server on a Unix socket in a temporary folder, told what to answer: it can also answer what no gantryd
// would.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace gantry::cli {

// A folder of its own, removed with everything in it.
class TempFolder {
  public:
    TempFolder();
    ~TempFolder();
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    std::filesystem::path path;
};

struct FakeRequest {
    std::string method, target, body;
    std::string text() const { return method + " " + target; }
};

// The connection a request came by.
class FakeConnection {
  public:
    explicit FakeConnection(int fd) : fd_(fd) {}
    // False when the client is gone.
    bool send(std::string_view bytes);
    void answer(int code, std::string_view body);
    // The client's next bytes, "" when it is gone.
    std::string receive();

  private:
    int fd_;
};

class FakeServer {
  public:
    using Handler = std::function<void(const FakeRequest&, FakeConnection&)>;
    // The handler runs in a thread per connection, one at a time unless it sends a stream.
    explicit FakeServer(Handler handler);
    ~FakeServer();

    // Gets each connection as soon as the head of a request is there, before its body.
    void on_head(Handler handler) { head_handler_ = std::move(handler); }
    const std::string& socket() const { return socket_; }
    std::vector<FakeRequest> requests() const;
    // How often it was asked for "METHOD TARGET".
    int count(std::string_view text) const;
    bool stopping() const { return stopping_; }

  private:
    void serve(int fd);

    TempFolder folder_;
    std::string socket_;
    Handler handler_, head_handler_;
    int listener_ = -1;
    std::atomic<bool> stopping_{false};
    mutable std::mutex mutex_;
    std::vector<FakeRequest> requests_;
    std::list<int> open_;
    std::list<std::thread> threads_;
    std::thread acceptor_;
};

}  // namespace gantry::cli
