#include "tests/fuzz/targets/network.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "tests/fuzz/targets/input.hpp"

namespace fuzz {
namespace {

constexpr int kFirst = 1 << 20;  // above every descriptor of the kernel's

struct Interest {
    int fd;
    epoll_event wanted;
};

struct Network {
    std::map<int, SocketPtr> sockets;
    std::map<int, std::vector<Interest>> pollers;  // of epoll's descriptors
    std::function<void(const SocketPtr&)> on_connect;
    uint16_t next_port = 1024;

    uint16_t port() { return next_port == UINT16_MAX ? next_port = 1024 : ++next_port; }
    int add(SocketPtr socket) {
        int fd = kFirst;
        while (sockets.contains(fd)) ++fd;
        sockets.emplace(fd, std::move(socket));
        return fd;
    }
};

Network& network() {
    static auto* const all = new Network;
    return *all;
}

SocketPtr find(int fd) {
    if (fd < kFirst) return nullptr;
    const auto found = network().sockets.find(fd);
    demand(found != network().sockets.end(), "only open descriptors are used");
    return found->second;
}

int fail(int error) {
    errno = error;
    return -1;
}

void tell(const vsoa::Address& address, sockaddr* to, socklen_t* length) {
    if (to == nullptr) return;
    std::memcpy(to, &address.storage, std::min(*length, address.length));
    *length = address.length;
}

ssize_t take(Socket& socket, uint8_t* to, size_t room, vsoa::Address& from) {
    if (socket.type == SOCK_DGRAM) {
        if (socket.datagrams.empty()) return fail(EAGAIN);
        const auto [sender, bytes] = std::move(socket.datagrams.front());
        socket.datagrams.pop_front();
        from = sender;
        std::copy_n(bytes.data(), std::min(room, bytes.size()), to);
        return static_cast<ssize_t>(std::min(room, bytes.size()));
    }
    if (socket.broken) return fail(ECONNRESET);
    const size_t part = std::min(room, socket.in.size() - socket.taken);
    if (part == 0) return socket.in_ends ? 0 : fail(EAGAIN);
    std::memcpy(to, socket.in.data() + socket.taken, part);
    socket.taken += part;
    return static_cast<ssize_t>(part);
}

ssize_t put(Socket& socket, const iovec* pieces, size_t count) {
    if (socket.type == SOCK_STREAM && (socket.broken || socket.out_ends)) return fail(EPIPE);
    size_t length = 0;
    for (size_t i = 0; i < count; ++i) {
        const auto* bytes = static_cast<const uint8_t*>(pieces[i].iov_base);
        look_at(bytes, pieces[i].iov_len);
        if (socket.type == SOCK_STREAM) socket.out.insert(socket.out.end(), bytes, bytes + pieces[i].iov_len);
        length += pieces[i].iov_len;
    }
    return static_cast<ssize_t>(length);
}

}  // namespace

uint32_t Socket::ready() const {
    if (listens) return arriving.empty() ? 0 : EPOLLIN;
    if (type == SOCK_DGRAM) return EPOLLOUT | (datagrams.empty() ? 0u : EPOLLIN);
    if (broken) return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    return EPOLLOUT | (taken < in.size() || in_ends ? EPOLLIN : 0u) | (in_ends ? EPOLLRDHUP : 0u);
}

SocketPtr dial(const vsoa::Address& to) {
    for (auto& [fd, socket] : network().sockets) {
        if (!socket->listens || !socket->own.same(to)) continue;
        auto made = std::make_shared<Socket>();
        made->type = SOCK_STREAM;
        made->own = to;
        made->peer = *vsoa::Address::make("127.0.0.1", network().port());
        socket->arriving.push_back(made);
        return made;
    }
    return nullptr;
}

void deliver(const vsoa::Address& from, uint16_t to, std::span<const uint8_t> bytes) {
    for (auto& [fd, socket] : network().sockets) {
        if (socket->type == SOCK_DGRAM && (to == 0 || socket->own.port() == to))
            socket->datagrams.emplace_back(from, std::vector<uint8_t>(bytes.begin(), bytes.end()));
    }
}

void on_connect(std::function<void(const SocketPtr&)> told) { network().on_connect = std::move(told); }

}  // namespace fuzz

using fuzz::fail;
using fuzz::find;
using fuzz::network;
using fuzz::SocketPtr;
using vsoa::Address;

extern "C" {

int __real_socket(int domain, int type, int protocol);
int __real_bind(int fd, const sockaddr* address, socklen_t length);
int __real_listen(int fd, int backlog);
int __real_accept4(int fd, sockaddr* address, socklen_t* length, int flags);
int __real_connect(int fd, const sockaddr* address, socklen_t length);
int __real_getsockname(int fd, sockaddr* address, socklen_t* length);
int __real_getsockopt(int fd, int level, int name, void* value, socklen_t* length);
int __real_setsockopt(int fd, int level, int name, const void* value, socklen_t length);
int __real_shutdown(int fd, int how);
int __real_close(int fd);
ssize_t __real_recv(int fd, void* to, size_t room, int flags);
ssize_t __real_recvfrom(int fd, void* to, size_t room, int flags, sockaddr* address, socklen_t* length);
ssize_t __real_send(int fd, const void* from, size_t length, int flags);
ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
int __real_poll(pollfd* entries, nfds_t count, int timeout);
int __real_epoll_ctl(int poller, int what, int fd, epoll_event* event);
int __real_epoll_wait(int poller, epoll_event* events, int room, int timeout);

int __wrap_socket(int domain, int type, int protocol) {
    if (domain != AF_INET && domain != AF_INET6) return __real_socket(domain, type, protocol);
    auto made = std::make_shared<fuzz::Socket>();
    made->type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    return network().add(std::move(made));
}

int __wrap_bind(int fd, const sockaddr* address, socklen_t length) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_bind(fd, address, length);
    socket->own = *Address::from(address, length);
    if (socket->own.port() == 0) socket->own.port(network().port());
    return 0;
}

int __wrap_listen(int fd, int backlog) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_listen(fd, backlog);
    socket->listens = true;
    return 0;
}

int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_accept4(fd, address, length, flags);
    if (socket->arriving.empty()) return fail(EAGAIN);
    const SocketPtr made = socket->arriving.front();
    socket->arriving.pop_front();
    fuzz::tell(made->peer, address, length);
    return network().add(made);
}

int __wrap_connect(int fd, const sockaddr* address, socklen_t length) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_connect(fd, address, length);
    socket->peer = *Address::from(address, length);
    if (socket->own.length == 0) socket->own = *Address::make("127.0.0.1", network().port());
    if (socket->type == SOCK_STREAM && network().on_connect) network().on_connect(socket);
    return 0;
}

int __wrap_getsockname(int fd, sockaddr* address, socklen_t* length) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_getsockname(fd, address, length);
    fuzz::tell(socket->own, address, length);
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
    if (!find(fd)) return __real_getsockopt(fd, level, name, value, length);
    std::memset(value, 0, *length);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
    return find(fd) ? 0 : __real_setsockopt(fd, level, name, value, length);
}

int __wrap_shutdown(int fd, int how) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_shutdown(fd, how);
    socket->out_ends = socket->out_ends || how != SHUT_RD;
    socket->in_ends = socket->in_ends || how != SHUT_WR;
    return 0;
}

int __wrap_close(int fd) {
    const SocketPtr socket = find(fd);
    if (!socket) {
        network().pollers.erase(fd);
        return __real_close(fd);
    }
    socket->out_ends = true;
    network().sockets.erase(fd);
    for (auto& [poller, interests] : network().pollers) {
        std::erase_if(interests, [&](const fuzz::Interest& one) { return one.fd == fd; });
    }
    return 0;
}

ssize_t __wrap_recv(int fd, void* to, size_t room, int flags) {
    const SocketPtr socket = find(fd);
    Address from;
    return socket ? fuzz::take(*socket, static_cast<uint8_t*>(to), room, from) : __real_recv(fd, to, room, flags);
}

ssize_t __wrap_recvfrom(int fd, void* to, size_t room, int flags, sockaddr* address, socklen_t* length) {
    const SocketPtr socket = find(fd);
    if (!socket) return __real_recvfrom(fd, to, room, flags, address, length);
    Address from;
    const ssize_t got = fuzz::take(*socket, static_cast<uint8_t*>(to), room, from);
    if (got >= 0) fuzz::tell(from, address, length);
    return got;
}

ssize_t __wrap_send(int fd, const void* from, size_t length, int flags) {
    const SocketPtr socket = find(fd);
    const iovec piece = {const_cast<void*>(from), length};
    return socket ? fuzz::put(*socket, &piece, 1) : __real_send(fd, from, length, flags);
}

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
    const SocketPtr socket = find(fd);
    return socket ? fuzz::put(*socket, message->msg_iov, message->msg_iovlen) : __real_sendmsg(fd, message, flags);
}

int __wrap_poll(pollfd* entries, nfds_t count, int timeout) {
    int ready = 0;
    bool ours = false;
    for (nfds_t i = 0; i < count; ++i) {
        pollfd& entry = entries[i];
        const SocketPtr socket = entry.fd >= 0 ? find(entry.fd) : nullptr;
        if (!socket) continue;
        ours = true;
        const uint32_t all = socket->wait();  // the numbers of poll and epoll are the same
        entry.revents = static_cast<short>(all & (static_cast<uint32_t>(entry.events) | POLLHUP | POLLERR));
        ready += entry.revents != 0;
    }
    return ours ? ready : __real_poll(entries, count, timeout);
}

int __wrap_epoll_ctl(int poller, int what, int fd, epoll_event* event) {
    if (!find(fd)) return __real_epoll_ctl(poller, what, fd, event);
    auto& interests = network().pollers[poller];
    const auto found =
        std::find_if(interests.begin(), interests.end(), [&](const fuzz::Interest& one) { return one.fd == fd; });
    if ((what == EPOLL_CTL_ADD) != (found == interests.end())) return fail(what == EPOLL_CTL_ADD ? EEXIST : ENOENT);
    if (what == EPOLL_CTL_ADD) interests.push_back({fd, *event});
    if (what == EPOLL_CTL_MOD) found->wanted = *event;
    if (what == EPOLL_CTL_DEL) interests.erase(found);
    return 0;
}

int __wrap_epoll_wait(int poller, epoll_event* events, int room, int timeout) {
    const auto found = network().pollers.find(poller);
    if (found == network().pollers.end()) return __real_epoll_wait(poller, events, room, timeout);
    int count = std::max(__real_epoll_wait(poller, events, room, 0), 0);
    for (const fuzz::Interest& one : found->second) {
        const uint32_t now = find(one.fd)->wait() & (one.wanted.events | EPOLLHUP | EPOLLERR);
        if (now != 0 && count < room) events[count++] = {now, one.wanted.data};
    }
    return count;
}
}
