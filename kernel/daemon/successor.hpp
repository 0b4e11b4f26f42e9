// SPDX-License-Identifier: Apache-2.0
//
// Successor: the gantryd that takes this process over. It is tried in a child first; then there is no way back but its
// own.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "kernel/daemon/handover.hpp"
#include "kernel/host/kept.hpp"

namespace gantry::daemon {

struct Program {
    std::string path;                    // where this gantryd was started from, and an upgrade puts the next one
    std::vector<std::string> arguments;  // the first is its name
};

// Runs `path --check` with what it would be given: it must start, take the configuration, and load every plugin that
// runs now. The error has its words. Done comes in a later turn, within 10 s.
void try_successor(boost::asio::io_context& io, const Program& program, const Handover& handover,
                   host::Done<void> done);

// Becomes it: same process, new program, the same sockets. All plugins have been stopped. If it cannot be executed, the
// present program goes on as its own way back.
[[noreturn]] void become_successor(const Program& program, Handover handover, host::Kept& kept);
// Becomes what ran before, which is told why.
[[noreturn]] void go_back(const Program& program, Handover handover, host::Kept& kept, std::string why);

}  // namespace gantry::daemon
