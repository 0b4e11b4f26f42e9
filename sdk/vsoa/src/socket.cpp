#include "sdk/vsoa/src/socket.hpp"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

namespace vsoa {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int kLostProbes = 3;  // that end a connection

sockaddr_in& v4(Address& address) { return reinterpret_cast<sockaddr_in&>(address.storage); }
sockaddr_in6& v6(Address& address) { return reinterpret_cast<sockaddr_in6&>(address.storage); }
const sockaddr_in& v4(const Address& address) { return reinterpret_cast<const sockaddr_in&>(address.storage); }
const sockaddr_in6& v6(const Address& address) { return reinterpret_cast<const sockaddr_in6&>(address.storage); }

bool option(int fd, int level, int name, int value) { return setsockopt(fd, level, name, &value, sizeof value) == 0; }

constexpr size_t kControlRoom = CMSG_SPACE(sizeof(in6_pktinfo));  // the longer of the two

template <typename Info>
void put_control(msghdr& message, char* control, int level, int type, const Info& info) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof info);
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = level;
    part->cmsg_type = type;
    part->cmsg_len = CMSG_LEN(sizeof info);
    std::memcpy(CMSG_DATA(part), &info, sizeof info);
}

std::optional<uint16_t> parse_port(std::string_view text) {
    uint16_t port = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || stop != text.data() + text.size() || port == 0) return std::nullopt;
    return port;
}

}  // namespace

int64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * kNanosPerSecond + time.tv_nsec;
}

int64_t span_ns(const timespec* limit, int64_t default_ms) {
    if (limit == nullptr) return default_ms * kNanosPerMs;
    constexpr int64_t kMaxSeconds = int64_t{10} * 365 * 24 * 3600;  // far, and a sum with the clock cannot overflow
    const int64_t seconds = std::clamp<int64_t>(limit->tv_sec, 0, kMaxSeconds);
    return seconds * kNanosPerSecond + std::clamp<int64_t>(limit->tv_nsec, 0, kNanosPerSecond - 1);
}

int limit_ms(const timespec* limit) { return limit != nullptr ? poll_timeout_ms(span_ns(limit, 0), 0) : -1; }

int poll_timeout_ms(int64_t deadline, int64_t now) {
    if (deadline == kForever) return -1;
    const int64_t left = std::max<int64_t>(deadline - now, 0);
    return static_cast<int>(std::min<int64_t>((left + kNanosPerMs - 1) / kNanosPerMs, INT32_MAX));
}

// The system call itself: a condition variable would wake the sleeper into the lock that its waker still holds, and
// std::atomic's wait knows no deadline.
bool sleep_while(std::atomic<uint32_t>& word, uint32_t value, int64_t deadline) {
    const timespec until = {deadline / kNanosPerSecond, deadline % kNanosPerSecond};
    while (word == value) {
        const long result =
            syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, value, &until, nullptr, FUTEX_BITSET_MATCH_ANY);
        if (result != 0 && errno == ETIMEDOUT) return word != value;
    }
    return true;
}

void wake_sleepers(std::atomic<uint32_t>& word) {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

void Fd::reset() {
    if (fd_ < 0) return;
    const int saved = errno;
    ::close(std::exchange(fd_, -1));
    errno = saved;
}

std::optional<Address> Address::from(const sockaddr* address, socklen_t length) {
    errno = EINVAL;
    if (address == nullptr || length < sizeof(sa_family_t)) return std::nullopt;
    const bool is_v4 = address->sa_family == AF_INET && length >= sizeof(sockaddr_in);
    const bool is_v6 = address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6);
    if (!is_v4 && !is_v6) return std::nullopt;
    Address out;
    out.length = is_v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::memcpy(&out.storage, address, out.length);
    return out;
}

std::optional<Address> Address::make(std::string_view ip, uint16_t port) {
    char text[INET6_ADDRSTRLEN] = {};
    if (ip.size() >= sizeof text || ip.find('\0') != ip.npos) return std::nullopt;
    ip.copy(text, ip.size());
    Address out;
    if (inet_pton(AF_INET, text, &v4(out).sin_addr) == 1) {
        out.storage.ss_family = AF_INET;
        out.length = sizeof(sockaddr_in);
    } else if (inet_pton(AF_INET6, text, &v6(out).sin6_addr) == 1) {
        out.storage.ss_family = AF_INET6;
        out.length = sizeof(sockaddr_in6);
    } else {
        return std::nullopt;
    }
    out.port(port);
    return out;
}

std::optional<Address> Address::parse(std::string_view text, uint16_t default_port) {
    std::string_view ip = text, port_text;
    if (text.starts_with('[')) {
        const size_t close = text.find(']');
        if (close == text.npos) return std::nullopt;
        ip = text.substr(1, close - 1);
        port_text = text.substr(close + 1);
        if (!port_text.empty() && port_text.front() != ':') return std::nullopt;
    } else if (const size_t colon = text.find(':'); colon != text.npos && text.rfind(':') == colon) {
        ip = text.substr(0, colon);
        port_text = text.substr(colon);
    }
    uint16_t port = default_port;
    if (!port_text.empty()) {
        const auto parsed = parse_port(port_text.substr(1));
        if (!parsed) return std::nullopt;
        port = *parsed;
    }
    if (port == 0) return std::nullopt;
    return make(ip, port);
}

std::optional<Address> Address::local(int fd) {
    Address out;
    out.length = sizeof out.storage;
    if (getsockname(fd, out.raw(), &out.length) != 0) return std::nullopt;
    return out;
}

std::optional<Address> Address::peer(int fd) {
    Address out;
    out.length = sizeof out.storage;
    if (getpeername(fd, out.raw(), &out.length) != 0) return std::nullopt;
    return out;
}

uint16_t Address::port() const { return ntohs(family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port); }

void Address::port(uint16_t host_order) {
    (family() == AF_INET6 ? v6(*this).sin6_port : v4(*this).sin_port) = htons(host_order);
}

std::string Address::ip() const {
    char text[INET6_ADDRSTRLEN] = {};
    if (family() == AF_INET6) {
        inet_ntop(AF_INET6, &v6(*this).sin6_addr, text, sizeof text);
    } else {
        inet_ntop(AF_INET, &v4(*this).sin_addr, text, sizeof text);
    }
    return text;
}

bool Address::same(const Address& other) const {
    if (family() != other.family() || port() != other.port()) return false;
    if (family() == AF_INET6) return std::memcmp(&v6(*this).sin6_addr, &v6(other).sin6_addr, sizeof(in6_addr)) == 0;
    return v4(*this).sin_addr.s_addr == v4(other).sin_addr.s_addr;
}

bool Address::copy_to(sockaddr* to, socklen_t* room) const {
    if (to == nullptr || room == nullptr || *room < length) {
        errno = EINVAL;
        return false;
    }
    std::memcpy(to, &storage, length);
    *room = length;
    return true;
}

Fd open_socket(int family, int type) { return Fd(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); }

bool set_nodelay(int fd) { return option(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

bool set_keepalive(int fd, int seconds) {
    if (seconds <= 0) return option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    return option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds) && option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds) &&
           option(fd, IPPROTO_TCP, TCP_KEEPCNT, kLostProbes) && option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

bool set_silence_limit(int fd, int seconds) {
    return option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (kLostProbes + 1) * seconds * 1000);
}

bool set_linger(int fd, int seconds) {
    const linger value = {seconds >= 0 ? 1 : 0, seconds >= 0 ? seconds : 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, sizeof value) == 0;
}

bool set_priority(int fd, int family, int priority) {
    // The vendor's mapping: precedence bits, and "low delay" for everything above normal. The kernel's own queueing
    // priority above 6 needs a privilege, so 7 is asked for as 6.
    const int tos = priority << 5 | (priority > 0 ? 0x08 : 0);
    const bool marked =
        family == AF_INET6 ? option(fd, IPPROTO_IPV6, IPV6_TCLASS, tos) : option(fd, IPPROTO_IP, IP_TOS, tos);
    return option(fd, SOL_SOCKET, SO_PRIORITY, std::min(priority, 6)) && marked;
}

bool wait_for(int fd, short events, int64_t deadline, int stop_fd) {
    pollfd entries[] = {{fd, events, 0}, {stop_fd, POLLIN, 0}};  // poll passes over what is negative
    for (;;) {
        const int count = poll(entries, 2, poll_timeout_ms(deadline, now_ns()));
        if (count > 0 && entries[1].revents != 0) {
            errno = ECANCELED;
            return false;
        }
        if (count > 0) return true;
        if (count == 0 && now_ns() >= deadline) {
            errno = ETIMEDOUT;
            return false;
        }
        if (count < 0 && errno != EINTR) return false;
    }
}

bool connect_until(int fd, const Address& to, int64_t deadline, int stop_fd) {
    if (connect(fd, to.raw(), to.length) == 0) return true;
    if (errno != EINPROGRESS && errno != EINTR) return false;
    if (!wait_for(fd, POLLOUT, deadline, stop_fd)) return false;
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return false;
    errno = error;
    return error == 0;
}

bool tell_destination(int fd, int family) {
    return family == AF_INET6 ? option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : option(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

ssize_t receive_datagram(int fd, void* bytes, size_t room, Address& from, std::optional<Address>& own) {
    alignas(cmsghdr) char control[kControlRoom];
    iovec piece = {bytes, room};
    msghdr message{};
    message.msg_name = from.raw();
    message.msg_namelen = sizeof from.storage;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    own.reset();
    const ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0) return got;
    from.length = message.msg_namelen;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
            in_pktinfo info;
            std::memcpy(&info, CMSG_DATA(part), sizeof info);
            own.emplace();
            own->storage.ss_family = AF_INET;
            v4(*own).sin_addr = info.ipi_spec_dst;
        } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info;
            std::memcpy(&info, CMSG_DATA(part), sizeof info);
            own.emplace();
            own->storage.ss_family = AF_INET6;
            v6(*own).sin6_addr = info.ipi6_addr;
            v6(*own).sin6_scope_id = info.ipi6_ifindex;
        }
    }
    return got;
}

bool send_datagram(int fd, const iovec* pieces, size_t count, const Address& to, const std::optional<Address>& own) {
    alignas(cmsghdr) char control[kControlRoom] = {};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(to.raw());
    message.msg_namelen = to.length;
    message.msg_iov = const_cast<iovec*>(pieces);
    message.msg_iovlen = count;
    if (own && own->family() == AF_INET6) {
        in6_pktinfo info{};
        info.ipi6_addr = v6(*own).sin6_addr;
        // Elsewhere the route decides on the interface.
        if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = v6(*own).sin6_scope_id;
        put_control(message, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
    } else if (own) {
        in_pktinfo info{};
        info.ipi_spec_dst = v4(*own).sin_addr;
        put_control(message, control, IPPROTO_IP, IP_PKTINFO, info);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

bool Poller::open() {
    epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    timer_ = Fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    event_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    return epoll_ && timer_ && event_ && add(timer_.get(), EPOLLIN, kTimerTag) && add(event_.get(), EPOLLIN, kWakeTag);
}

bool Poller::add(int fd, uint32_t events, uint64_t tag) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

bool Poller::change(int fd, uint32_t events, uint64_t tag) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0;
}

void Poller::remove(int fd) {
    epoll_event unused{};
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, &unused);
}

void Poller::wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t full = write(event_.get(), &one, sizeof one);  // EAGAIN: it is awake already
}

void Poller::arm(int64_t deadline) {
    itimerspec when{};
    if (deadline != kForever) {
        // 0 would disarm; a deadline in the past fires at once.
        deadline = std::max<int64_t>(deadline, 1);
        when.it_value = {deadline / kNanosPerSecond, deadline % kNanosPerSecond};
    }
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

std::span<const epoll_event> Poller::ready(int timeout_ms) {
    const int count = epoll_wait(epoll_.get(), events_, std::size(events_), timeout_ms);
    size_t kept = 0;
    rang_ = false;
    for (int i = 0; i < count; ++i) {
        const uint64_t tag = events_[i].data.u64;
        uint64_t unused;
        rang_ = rang_ || tag == kTimerTag;
        if (tag == kTimerTag || tag == kWakeTag) {
            [[maybe_unused]] const ssize_t got =
                read(tag == kTimerTag ? timer_.get() : event_.get(), &unused, sizeof unused);
        } else {
            events_[kept++] = events_[i];
        }
    }
    return {events_, kept};
}

int Poller::add_to(fd_set* set) const {
    if (!epoll_ || epoll_.get() >= FD_SETSIZE || set == nullptr) {
        errno = EINVAL;
        return -1;
    }
    FD_SET(epoll_.get(), set);
    return epoll_.get();
}

bool Poller::in(const fd_set* set) const {
    return set == nullptr || (epoll_ && epoll_.get() < FD_SETSIZE && FD_ISSET(epoll_.get(), set));
}

}  // namespace vsoa
