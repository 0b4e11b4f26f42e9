// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/core.hpp"

#include <boost/asio/post.hpp>

namespace gantry::host {

Core::Core(boost::asio::io_context& loop, HostOptions with)
    : io(loop), options(std::move(with)), tree(options.tree), operations(loop), pool(options.workers) {}

void Core::log(LogLevel level, std::string_view plugin, std::string_view text) {
    if (!options.log) return;
    std::lock_guard lock(log_mutex);
    options.log(level, plugin, text);
}

void Core::event(std::string kind, std::string text, json::object fields) {
    if (!options.event) return;
    boost::asio::post(
        io, [event = options.event, kind = std::move(kind), text = std::move(text),
             fields = std::move(fields)]() mutable { event(std::move(kind), std::move(text), std::move(fields)); });
}

}  // namespace gantry::host
