// SPDX-License-Identifier: Apache-2.0
//
// Listener: accepts connections on one address.
#pragma once

#include <functional>
#include <gantry/address.hpp>
#include <gantry/host.hpp>
#include <string>

namespace vsoa_transport {

class Listener {
  public:
    // Throws gantry::Failure (kInvalid, kUnavailable) with the reason.
    Listener(gantry::Host& host, const std::string& address);
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    // accepted(fd, address of the other side): fd does not block. [loop]
    void begin(std::function<void(gantry::Fd, std::string)> accepted);
    // While paused, connections wait in the kernel.
    void pause(bool on);
    std::string address() const { return gantry::SocketAddress::local(fd_.get()).text(); }

  private:
    void accept_some();

    gantry::Host& host_;
    gantry::Fd fd_;
    std::function<void(gantry::Fd, std::string)> accepted_;
    gantry::WatchId watch_ = 0;
    gantry::TimerId rest_ = 0;  // after the machine had no descriptors left
    bool paused_ = false;
};

}  // namespace vsoa_transport
