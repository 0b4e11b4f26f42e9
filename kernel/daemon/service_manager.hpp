// SPDX-License-Identifier: Apache-2.0
//
// What gantryd says to the service manager that started it, if one did: sd_notify(3)'s protocol, datagrams to the
// socket in NOTIFY_SOCKET, and a sign of life for WATCHDOG_USEC. [loop]; nothing here blocks or fails aloud: without a
// manager, or when it does not listen, gantryd runs as well.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <string>

namespace gantry::daemon {

class ServiceManager {
  public:
    // Takes the variables out of the environment: a container that inherited them would speak for gantryd, and runc
    // waits for it to do so.
    explicit ServiceManager(boost::asio::io_context& loop);

    // The sign of life is given by the loop, three times in the time that the manager allows: a loop that hangs is
    // seen.
    void ready(const std::string& status);
    void stopping();

    // Puts the variables back, for the program that this process becomes.
    void give_back() const;

  private:
    void say(const std::string& text) const;
    void live();

    std::string socket_, watchdog_;
    boost::asio::steady_timer timer_;
    std::chrono::microseconds pause_{0};
};

}  // namespace gantry::daemon
