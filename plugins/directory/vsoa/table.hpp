// SPDX-License-Identifier: Apache-2.0
//
// Which address a name has. Threads: the loop.
#pragma once

#include <gantry/address.hpp>
#include <gantry/directory.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vsoa_directory {

struct Place {
    gantry::SocketAddress address;
    bool secure = false, local = false;
};

class Table {
  public:
    // All at once. Returns the records that nothing can be made of, one line each.
    std::vector<std::string> replace(const std::vector<gantry::NameRecord>& records);
    // Records in the address family that was asked for (AF_INET, AF_INET6; -1: any) go before others, among them those
    // of the own node, and equals are answered in turn.
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
