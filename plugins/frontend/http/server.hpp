// SPDX-License-Identifier: Apache-2.0
//
// Server: accepts connections and answers them on a thread of its own.
#pragma once

#include <chrono>
#include <gantry/host.hpp>
#include <memory>

#include "plugins/frontend/http/settings.hpp"

namespace gantry::http {

struct Core;

class Server {
  public:
    // `host` outlives the server.
    Server(const Settings& settings, Host& host);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // Opens the door and begins to serve; throws Failure.
    void start();
    // Takes no connection and no request any more, ends what follows without an end, answers what was asked for up to
    // `limit`; then closes every connection and joins the thread. [any, but not the server's own]
    void stop(Duration limit = {});

  private:
    struct Thread;
    // Callbacks that the host still holds keep the core alive; they find it stopped.
    std::shared_ptr<Core> core_;
    std::unique_ptr<Thread> thread_;
};

}  // namespace gantry::http
