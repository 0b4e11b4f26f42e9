// SPDX-License-Identifier: Apache-2.0
//
// Core: what all instances of one Host share. It lives as long as anything that may call back.
#pragma once

#include <atomic>
#include <mutex>

#include "kernel/host/host.hpp"
#include "kernel/host/loop.hpp"
#include "kernel/host/operations.hpp"
#include "kernel/host/pool.hpp"

namespace gantry::host {

struct Core {
    Core(boost::asio::io_context& io, HostOptions with);

    // The loop ends: what still hangs in a plugin reaches nothing any more. [loop]
    void close();

    // [any] One line at a time; what may break a log is taken out of the text.
    void log(LogLevel level, std::string_view plugin, std::string_view text);

    Loop loop;
    const HostOptions options;
    std::atomic<ResourceTree*> tree;        // used on the loop
    std::atomic<std::size_t> followers{0};  // of events, at most limits::kWatchers; see Seat
    std::mutex log_mutex;
    trust::Verifier verifier;  // used on the loop
    Operations operations;
    Pool pool;  // last: its jobs use all the rest
};

}  // namespace gantry::host
