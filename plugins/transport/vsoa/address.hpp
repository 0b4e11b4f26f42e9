// SPDX-License-Identifier: Apache-2.0
//
// Address: an IP address with a port, as text "10.0.0.1:3900" or "[fe80::1]:3900". No names: nothing here waits.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <string_view>

namespace vsoa_transport {

struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;

    // Nothing: not of that form.
    static std::optional<Address> parse(std::string_view text);
    static Address of_socket(int fd);
    static Address of_peer(int fd);

    int family() const { return storage.ss_family; }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    // An IPv4 address inside an IPv6 one is written as IPv4. Empty if unknown.
    std::string text() const;
};

}  // namespace vsoa_transport
