// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/beacon/socket.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>

namespace beacon {
namespace {

constexpr const char* kGroup4 = "239.255.71.66";  // organization-local (RFC 2365)
constexpr const char* kGroup6 = "ff02::4754:42";  // link-local scope
constexpr int kBuffer = 256 << 10;                // bytes; what a flood may fill

template <class T>
void set(int fd, int level, int option, const T& value) {
    (void)::setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

Socket::Socket(int family, std::uint16_t port) : family_(family), port_(port) {
    fd_.reset(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const auto here = gantry::SocketAddress::of(family == AF_INET ? "0.0.0.0" : "::", port);
    const int on = 1, off = 0;
    if (fd_) {
        set(fd_.get(), SOL_SOCKET, SO_REUSEADDR, on);  // the plugin's successor binds before this one goes
        set(fd_.get(), SOL_SOCKET, SO_RCVBUF, kBuffer);
        if (family == AF_INET) {
            set(fd_.get(), IPPROTO_IP, IP_PKTINFO, on);
            set(fd_.get(), IPPROTO_IP, IP_MULTICAST_ALL, off);
        } else {
            set(fd_.get(), IPPROTO_IPV6, IPV6_V6ONLY, on);
            set(fd_.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, on);
        }
    }
    if (!fd_ || ::bind(fd_.get(), here->raw(), here->length) != 0) {
        throw gantry::Failure(gantry::Code::kUnavailable,
                              "no socket at UDP port " + std::to_string(port) + ": " + std::strerror(errno));
    }
}

bool Socket::join(const std::vector<Link>& links) {
    std::set<unsigned> wanted;
    bool all = true;
    for (const Link& link : links) {
        if (!address_on(link)) continue;
        wanted.insert(link.index);
        if (joined_.contains(link.index)) continue;
        int done = 0;
        if (family_ == AF_INET) {
            ip_mreqn request{};
            inet_pton(AF_INET, kGroup4, &request.imr_multiaddr);
            request.imr_ifindex = static_cast<int>(link.index);
            done = ::setsockopt(fd_.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
        } else {
            ipv6_mreq request{};
            inet_pton(AF_INET6, kGroup6, &request.ipv6mr_multiaddr);
            request.ipv6mr_interface = link.index;
            done = ::setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request);
        }
        if (done == 0 || errno == EADDRINUSE) {
            joined_.insert(link.index);
        } else {
            all = false;
        }
    }
    // A link that is gone has lost the membership; one that was only down still has it, and says EADDRINUSE.
    std::erase_if(joined_, [&](unsigned index) { return !wanted.contains(index); });
    return all;
}

bool Socket::ask(const Link& link, const Raw& packet) const {
    return send(link, *gantry::SocketAddress::of(family_ == AF_INET ? kGroup4 : kGroup6, port_), false, packet);
}

bool Socket::reply(const Link& link, const gantry::SocketAddress& to, const Raw& packet) const {
    return send(link, to, true, packet);
}

bool Socket::send(const Link& link, const gantry::SocketAddress& to, bool from_there, const Raw& packet) const {
    gantry::SocketAddress target = to;
    iovec part{const_cast<std::uint8_t*>(packet.data()), packet.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))]{};
    msghdr message{};
    message.msg_name = target.raw();
    message.msg_namelen = target.length;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    const auto& address = address_on(link);
    auto* header = reinterpret_cast<cmsghdr*>(control);
    if (family_ == AF_INET) {
        in_pktinfo info{};
        info.ipi_ifindex = static_cast<int>(link.index);
        if (address) std::memcpy(&info.ipi_spec_dst, address->data() + 12, sizeof info.ipi_spec_dst);
        header->cmsg_level = IPPROTO_IP;
        header->cmsg_type = IP_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof info);
        std::memcpy(CMSG_DATA(header), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    } else {
        in6_pktinfo info{};
        info.ipi6_ifindex = link.index;
        // A query goes from the link-local address, an answer to one as well.
        const auto& scope = reinterpret_cast<const sockaddr_in6*>(target.raw())->sin6_addr;
        if (from_there && address && !IN6_IS_ADDR_LINKLOCAL(&scope))
            std::memcpy(&info.ipi6_addr, address->data(), sizeof info.ipi6_addr);
        header->cmsg_level = IPPROTO_IPV6;
        header->cmsg_type = IPV6_PKTINFO;
        header->cmsg_len = CMSG_LEN(sizeof info);
        std::memcpy(CMSG_DATA(header), &info, sizeof info);
        message.msg_controllen = CMSG_SPACE(sizeof info);
    }
    return ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

std::optional<Datagram> Socket::receive(std::span<std::uint8_t> buffer) const {
    Datagram out;
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) char control[256];
    msghdr message{};
    message.msg_name = out.from.raw();
    message.msg_namelen = sizeof out.from.storage;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    if (got < 0) return std::nullopt;
    out.from.length = message.msg_namelen;
    out.bytes = buffer.first((message.msg_flags & MSG_TRUNC) != 0 ? 0 : static_cast<std::size_t>(got));
    for (cmsghdr* h = CMSG_FIRSTHDR(&message); h != nullptr; h = CMSG_NXTHDR(&message, h)) {
        if (h->cmsg_level == IPPROTO_IP && h->cmsg_type == IP_PKTINFO) {
            in_pktinfo info;
            std::memcpy(&info, CMSG_DATA(h), sizeof info);
            out.link = static_cast<unsigned>(info.ipi_ifindex);
        } else if (h->cmsg_level == IPPROTO_IPV6 && h->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info;
            std::memcpy(&info, CMSG_DATA(h), sizeof info);
            out.link = info.ipi6_ifindex;
        }
    }
    return out;
}

}  // namespace beacon
