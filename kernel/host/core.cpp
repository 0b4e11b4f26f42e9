// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/core.hpp"

#include "kernel/host/border.hpp"

namespace gantry::host {

Core::Core(boost::asio::io_context& io, HostOptions with)
    : loop(io),
      options(std::move(with)),
      tree(options.tree),
      verifier(options.trust),
      operations(loop),
      pool(options.workers) {}

void Core::close() {
    tree = nullptr;
    operations.close();
    loop.close();
}

void Core::log(LogLevel level, std::string_view plugin, std::string_view text) {
    if (!options.log) return;
    std::lock_guard lock(log_mutex);
    options.log(level, plugin, line(text));
}

}  // namespace gantry::host
