// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/carrier.hpp"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace gantry::control {

namespace {

// By the kernel's own routes (rtnetlink(7)): the address that it would send from may be another interface's. 0: it has
// none.
int interface_to(const sockaddr* to, int netlink) {
    const bool six = to->sa_family == AF_INET6;
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(to);
    if (six && in6->sin6_scope_id != 0) return static_cast<int>(in6->sin6_scope_id);
    struct {
        nlmsghdr head;
        rtmsg route;
        rtattr attribute;
        unsigned char address[sizeof(in6_addr)];
    } ask{};
    const std::size_t size = six ? sizeof(in6_addr) : sizeof(in_addr);
    ask.head.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof ask.route) + RTA_LENGTH(size));
    ask.head.nlmsg_type = RTM_GETROUTE;
    ask.head.nlmsg_flags = NLM_F_REQUEST;
    ask.route.rtm_family = static_cast<unsigned char>(to->sa_family);
    ask.route.rtm_dst_len = static_cast<unsigned char>(8 * size);
    ask.attribute.rta_type = RTA_DST;
    ask.attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
    std::memcpy(ask.address,
                six ? static_cast<const void*>(&in6->sin6_addr) : &reinterpret_cast<const sockaddr_in*>(to)->sin_addr,
                size);
    // The answer is there when send() returns.
    alignas(nlmsghdr) char answer[4096];
    if (::send(netlink, &ask, ask.head.nlmsg_len, 0) < 0) return 0;
    const auto got = ::recv(netlink, answer, sizeof answer, MSG_DONTWAIT);
    const auto* head = reinterpret_cast<const nlmsghdr*>(answer);
    if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(rtmsg))) || head->nlmsg_type != RTM_NEWROUTE) return 0;
    int left = static_cast<int>(got - static_cast<ssize_t>(NLMSG_LENGTH(sizeof(rtmsg))));
    for (const auto* at = RTM_RTA(NLMSG_DATA(head)); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
        int index = 0;
        if (at->rta_type != RTA_OIF || RTA_PAYLOAD(at) < sizeof index) continue;
        std::memcpy(&index, RTA_DATA(at), sizeof index);
        return index;
    }
    return 0;
}

}  // namespace

bool has_carrier(const std::string& address) {
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) return true;
    std::string ip = address.substr(0, colon);
    if (ip.size() > 2 && ip.front() == '[') ip = ip.substr(1, ip.size() - 2);
    addrinfo hints{}, *to = nullptr;
    hints.ai_flags = AI_NUMERICHOST;
    if (::getaddrinfo(ip.c_str(), nullptr, &hints, &to) != 0) return true;
    const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ifreq of{};
    const int index = netlink < 0 ? 0 : interface_to(to->ai_addr, netlink);
    const bool known = index != 0 && ::if_indextoname(static_cast<unsigned>(index), of.ifr_name) != nullptr &&
                       ::ioctl(netlink, SIOCGIFFLAGS, &of) == 0;
    if (netlink >= 0) ::close(netlink);
    ::freeaddrinfo(to);
    return !known || (of.ifr_flags & IFF_RUNNING) != 0;
}

}  // namespace gantry::control
