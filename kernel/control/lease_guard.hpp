// SPDX-License-Identifier: Apache-2.0
//
// LeaseGuard: gantryd's end of gantry-guard. Finds the guard that an earlier gantryd left, starts one when the first
// deadline is to be held, and starts another one when it dies: that one is told all deadlines again. If that takes
// longer than 100 ms, the core hears that nothing is held, and kills.
//
// Threads: the loop. Handlers and Dones are called on it, in a later turn.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "kernel/base/time.hpp"
#include "kernel/core/agent.hpp"
#include "kernel/guard/protocol.h"
#include "kernel/host/host.hpp"

namespace gantry::control {

class LeaseGuard {
  public:
    struct Parts {
        boost::asio::io_context& io;
        std::filesystem::path program, folder;  // of gantry-guard; the state folder
        std::function<void(host::LogLevel, std::string_view)> log;
        std::function<void(core::GuardState)> state;
    };
    explicit LeaseGuard(Parts parts);
    ~LeaseGuard();

    // Tells the state once it is known, then whenever it changes.
    void start();
    void stop();  // the guard stays
    // The folder of a container whose deadline is held, or was when the guard was found; empty: not known.
    std::filesystem::path folder_of(const std::string& container) const;
    void arm(const std::string& container, const std::filesystem::path& folder, Instant until, host::Done<void> done);
    void disarm(const std::string& container);

  private:
    enum class Is : std::uint8_t { kAbsent, kLooking, kGreeted, kUp };  // kLooking: started, not found yet
    struct Held {
        std::filesystem::path folder;
        Instant until{};
        bool covered = false;  // by the guard that is there now
    };
    struct Request {
        guard_message message;
        Instant by{};  // unanswered then, the guard hangs
        host::Done<void> done;
        bool ours = false;  // not to be asked of the next guard
    };

    bool connect();
    void run_program();
    void find_again(const std::string& why);
    void replace(const std::string& why);
    void look();
    void seek();
    void send(guard_message message, host::Done<void> done, bool ours = false);
    void listen();
    void hear();
    void answered(const guard_message& message);
    void greeted(const guard_message& hello);
    void cover(const std::string& container, const Held& held);
    void up();
    void give_up();
    void flush();
    void watch();

    Parts parts_;
    boost::asio::posix::stream_descriptor socket_;
    boost::asio::steady_timer timer_, watch_timer_;
    Is is_ = Is::kAbsent;
    std::map<std::string, Held> held_;
    std::map<std::uint64_t, Request> asked_;
    std::deque<Request> waiting_;       // for a guard
    std::deque<guard_message> unsent_;  // for room in the socket
    std::uint64_t last_id_ = 0, connections_ = 0;
    std::size_t covering_ = 0;
    pid_t starter_ = 0, guard_ = 0;  // the process that was started, which leaves the guard behind; the guard
    Instant lost_at_{}, heard_{};
    bool told_down_ = false, told_ = false, was_up_ = false, warned_ = false, stopped_ = false;
};

}  // namespace gantry::control
