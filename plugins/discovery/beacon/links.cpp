// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/beacon/links.hpp"

#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>
#include <map>
#include <memory>
#include <string_view>

namespace beacon {
namespace {

using gantry::Code;
using gantry::Failure;

Token mapped(const in_addr& address) {
    Token out{};
    out[10] = out[11] = 0xff;
    std::memcpy(&out[12], &address, sizeof address);
    return out;
}

}  // namespace

std::vector<Link> usable_links(const std::vector<std::string>& only) {
    ifaddrs* raw = nullptr;
    if (::getifaddrs(&raw) != 0)
        throw Failure(Code::kFailed, std::string("cannot read the interfaces: ") + std::strerror(errno));
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(raw, &::freeifaddrs);
    // Not if_nametoindex(), whose ioctl a plugin in a process of its own may not call.
    std::map<std::string_view, unsigned> indexes;
    for (const ifaddrs* one = raw; one != nullptr; one = one->ifa_next) {
        if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_PACKET) continue;
        indexes[one->ifa_name] =
            static_cast<unsigned>(reinterpret_cast<const sockaddr_ll*>(one->ifa_addr)->sll_ifindex);
    }
    std::map<unsigned, Link> links;
    for (const ifaddrs* one = raw; one != nullptr; one = one->ifa_next) {
        constexpr unsigned kWanted = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
        if (one->ifa_addr == nullptr || (one->ifa_flags & (kWanted | IFF_LOOPBACK)) != kWanted) continue;
        if (!only.empty() && std::ranges::find(only, one->ifa_name) == only.end()) continue;
        const auto known = indexes.find(one->ifa_name);
        if (known == indexes.end()) continue;
        const unsigned index = known->second;
        Token address{};
        const bool four = one->ifa_addr->sa_family == AF_INET;
        if (four) {
            address = mapped(reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr);
        } else if (one->ifa_addr->sa_family == AF_INET6) {
            std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr,
                        address.size());
        }
        if (!dialable(address)) continue;
        Link& link = links[index];
        link.index = index;
        link.name = one->ifa_name;
        auto& place = four ? link.v4 : link.v6;
        if (!place) place = address;  // the first one is the primary
    }
    std::vector<Link> out;
    for (auto& [index, link] : links) {
        if (out.size() < kLinksMax) out.push_back(std::move(link));
    }
    return out;
}

gantry::Fd watch_changes() {
    gantry::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    sockaddr_nl here{};
    here.nl_family = AF_NETLINK;
    here.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) != 0) {
        throw Failure(Code::kUnavailable,
                      std::string("the kernel does not tell of changed links: ") + std::strerror(errno));
    }
    return fd;
}

void forget_changes(int fd) {
    char buffer[8192];
    // ENOBUFS: some were lost, which makes no difference to who looks at everything anew.
    for (int i = 0; i < 64; ++i) {
        if (::recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) < 0 && errno != ENOBUFS && errno != EINTR) return;
    }
}

}  // namespace beacon
