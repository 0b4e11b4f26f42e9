// SPDX-License-Identifier: Apache-2.0
//
// Execs: further processes in this node's containers, run to their end for who waits for the outcome (probes). Their
// output is kept up to a limit, the rest is read and dropped.
//
// Threads: the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::control {

class Execs {
  public:
    using Answer = std::function<void(Result<json::value>)>;

    explicit Execs(boost::asio::io_context& io) : io_(io) {}

    // {"args": ["/bin/check"], "timeout_ms": 1000, "output_max": 4096} -> {"exit_code", "output", "cut" (more than that
    // came)}. Errors: kInvalid (the document), kNotFound (container, program), kConflict (it does not run), kDeadline
    // (it was killed), kFull (a limit of the container), kUnavailable (64 run already), what the runtime says.
    void run(host::Runtime& runtime, const std::string& container, const json::value& document, Answer answer);

  private:
    struct Run {
        Run(boost::asio::io_context& io, int fd) : out(io, fd), linger(io) {}
        boost::asio::posix::stream_descriptor out;
        boost::asio::steady_timer linger;
        char chunk[4096];
        std::size_t most = 0;
        std::string output;
        bool cut = false, open = true;
        std::optional<Result<int>> ended;
        Duration limit{};
        Answer answer;
    };
    using Shared = std::shared_ptr<Run>;
    static void read(const Shared& run);
    static void finish(const Shared& run);

    boost::asio::io_context& io_;
    std::shared_ptr<std::size_t> running_ = std::make_shared<std::size_t>(0);
};

}  // namespace gantry::control
