// SPDX-License-Identifier: Apache-2.0
//
// Which address a name has. Threads: the loop.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <gantry/directory.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vsoa_directory {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    int family() const { return storage.ss_family; }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }

    // Nothing: no IP address.
    static std::optional<SocketAddress> of(const std::string& ip, std::uint16_t port);
    // "10.0.0.1:54", "[::]:54"
    static std::optional<SocketAddress> parse(std::string_view text);
};

struct Place {
    SocketAddress address;
    bool secure = false, local = false;
};

class Table {
  public:
    // All at once. Returns the records that nothing can be made of, one line each.
    std::vector<std::string> replace(const std::vector<gantry::NameRecord>& records);
    // The places of one name in turn; one on this node goes before all others. Those of the family that was asked for
    // (AF_INET, AF_INET6, -1: any) go before others, but one of another family is better than none: clients exist that
    // name the family of their own socket, whatever they want.
    const Place* find(std::string_view name, int family);
    std::size_t size() const { return names_.size(); }

  private:
    struct Name {
        std::vector<Place> places;
        std::size_t turn = 0;
    };
    std::map<std::string, Name, std::less<>> names_;  // in lower case
};

}  // namespace vsoa_directory
