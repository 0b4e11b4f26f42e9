// SPDX-License-Identifier: Apache-2.0
//
// The interfaces of this host that beacons use, and the socket on which the kernel tells of changes.
#pragma once

#include <netinet/in.h>

#include <gantry/view.hpp>
#include <optional>
#include <string>
#include <vector>

#include "plugins/discovery/beacon/packet.hpp"

namespace beacon {

inline constexpr std::size_t kLinksMax = 16;  // below the 20 groups that Linux gives a socket

struct Link {
    unsigned index = 0;
    std::string name;
    std::optional<Token> v4, v6;  // an address at which others reach us there

    bool operator==(const Link&) const = default;
};

// Those that are up, can multicast and have an address that is not link-local; of `only` unless that is empty. Ordered
// by index; more than kLinksMax are cut off. Throws Failure(kFailed).
std::vector<Link> usable_links(const std::vector<std::string>& only);

// A netlink socket, not blocking, that hears of links and addresses; drained by forget_changes. Throws
// Failure(kUnavailable).
gantry::Fd watch_changes();
void forget_changes(int fd);

}  // namespace beacon
