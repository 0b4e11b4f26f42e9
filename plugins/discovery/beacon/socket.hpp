// SPDX-License-Identifier: Apache-2.0
//
// Socket: one UDP socket of one family at the beacons' port, which sends and receives on chosen interfaces.
#pragma once

#include <gantry/address.hpp>
#include <gantry/view.hpp>
#include <optional>
#include <set>
#include <span>

#include "plugins/discovery/beacon/links.hpp"

namespace beacon {

struct Datagram {
    gantry::SocketAddress from;
    unsigned link = 0;  // index of the interface on which it came
    std::span<const std::uint8_t> bytes;
};

class Socket {
  public:
    // family: AF_INET or AF_INET6. Throws Failure(kUnavailable).
    Socket(int family, std::uint16_t port);
    int fd() const { return fd_.get(); }
    int family() const { return family_; }

    // Hears the group on these links and on no others. False, with errno, if one could not be joined.
    bool join(const std::vector<Link>& links);
    // To the group on one link; to one host, from our address on that link. False, with errno, if it was not sent.
    bool ask(const Link& link, const Raw& packet) const;
    bool reply(const Link& link, const gantry::SocketAddress& to, const Raw& packet) const;
    // The next datagram, into the buffer; nothing: there is none now.
    std::optional<Datagram> receive(std::span<std::uint8_t> buffer) const;
    // Our address of this family there.
    const std::optional<Token>& address_on(const Link& link) const { return family_ == AF_INET ? link.v4 : link.v6; }

  private:
    bool send(const Link& link, const gantry::SocketAddress& to, bool from_there, const Raw& packet) const;

    const int family_;
    const std::uint16_t port_;
    gantry::Fd fd_;
    std::set<unsigned> joined_;
};

}  // namespace beacon
