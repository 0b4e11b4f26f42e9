// SPDX-License-Identifier: Apache-2.0
//
// Avahi: what avahi-daemon says of the services of one type, and the service that it announces for us. On the loop.
// https://avahi.org/doxygen/html/ and the daemon's D-Bus introspection files (org.freedesktop.Avahi.*.xml).
#pragma once

#include <functional>
#include <gantry/host.hpp>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "plugins/discovery/mdns/bus.hpp"

namespace mdns {

inline constexpr std::size_t kServicesMax = 256;  // of a network; further ones are not looked at

struct Announcement {
    std::string service;  // its name
    std::uint16_t port = 0;
};

class Avahi {
  public:
    struct Events {
        std::function<void(const std::string&address)> found, gone;  // "10.0.0.1:3900"
        std::function<void(const std::string& why)> trouble;         // nothing can be said of services now
        std::function<void()> well;                                  // it can (again)
    };

    // announce: nothing to announce if it has no value. Throws Failure(kUnavailable) without D-Bus.
    Avahi(gantry::Host& host, std::optional<Announcement> announce, Events events,
          std::function<void(const std::string&)> lost);

    // Looks up the address of every service again, and finds those that are still there anew.
    void resolve_all();

  private:
    using Item = std::tuple<std::int32_t, std::int32_t, std::string, std::string>;  // link, protocol, name, domain

    void begin();
    void on_signal(const Reply& signal);
    void browse();
    void state(std::int32_t now);
    void announce();
    void withdrawn(const Reply& signal);
    void resolve(const Item& item);
    void forget(std::map<Item, std::string>::iterator item);
    void forget_all();
    void not_there(const std::string& error);

    gantry::Host& host_;
    const std::optional<Announcement> announce_;
    const Events events_;
    Bus bus_;
    std::string browser_, group_;
    bool announced_ = false;
    int collisions_ = 0;
    std::map<Item, std::string> items_;  // with their address, empty until resolved
};

}  // namespace mdns
