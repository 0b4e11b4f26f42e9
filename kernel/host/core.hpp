// SPDX-License-Identifier: Apache-2.0
//
// Core: what all instances of one Host share. It lives as long as anything that may call back.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <mutex>

#include "kernel/host/host.hpp"
#include "kernel/host/operations.hpp"
#include "kernel/host/pool.hpp"

namespace gantry::host {

struct Core {
    Core(boost::asio::io_context& loop, HostOptions with);

    // [any] One line at a time.
    void log(LogLevel level, std::string_view plugin, std::string_view text);
    // [any] Arrives on the loop.
    void event(std::string kind, std::string text, json::object fields);

    boost::asio::io_context& io;
    const HostOptions options;
    ResourceTree* tree = nullptr;  // used on the loop
    std::mutex log_mutex;
    Operations operations;
    Pool pool;  // last: its jobs use all the rest
};

}  // namespace gantry::host
