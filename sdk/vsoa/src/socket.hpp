// Descriptors, addresses, socket options and the one descriptor a program waits on. Functions that fail return an empty
// Fd, false or nothing and leave errno as the system call set it.
#pragma once

#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

struct iovec;
struct timespec;

namespace vsoa {

inline constexpr int64_t kNanosPerMs = 1'000'000;
inline constexpr int64_t kForever = INT64_MAX;

/// CLOCK_MONOTONIC, in nanoseconds.
int64_t now_ns();
/// A time limit of the C interface in nanoseconds; null means default_ms. Negative parts count as 0.
int64_t span_ns(const timespec* limit, int64_t default_ms);
/// What poll wants for a time limit of the C interface; null = endless.
int limit_ms(const timespec* limit);
/// What poll wants for waiting until deadline (kForever: endless), rounded up.
int poll_timeout_ms(int64_t deadline, int64_t now);

/// Sleeps while word has this value, until deadline. True: it has another.
bool sleep_while(std::atomic<uint32_t>& word, uint32_t value, int64_t deadline);
/// After word was changed. Only its address counts: whoever saw the change may have freed it.
void wake_sleepers(std::atomic<uint32_t>& word);

/// Owns a descriptor.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        other.reset();
        return *this;
    }
    ~Fd() { reset(); }

    void reset();
    int release() { return std::exchange(fd_, -1); }
    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

/// An IPv4 or IPv6 socket address.
struct Address {
    sockaddr_storage storage{};
    socklen_t length = 0;

    static std::optional<Address> from(const sockaddr* address, socklen_t length);
    /// "1.2.3.4:5", "[::1]:5"; without a port default_port, and with default_port 0 nothing. No host names.
    static std::optional<Address> parse(std::string_view text, uint16_t default_port);
    static std::optional<Address> make(std::string_view ip, uint16_t port);
    static std::optional<Address> local(int fd);
    static std::optional<Address> peer(int fd);

    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    int family() const { return storage.ss_family; }
    uint16_t port() const;
    void port(uint16_t host_order);
    std::string ip() const;
    /// Same family, IP and port.
    bool same(const Address& other) const;
    /// Copies to the C interface's pair. False with errno EINVAL when there is no room.
    bool copy_to(sockaddr* to, socklen_t* room) const;
};

/// A non-blocking, close-on-exec socket.
Fd open_socket(int family, int type);
bool set_nodelay(int fd);
bool set_keepalive(int fd, int seconds);
/// The kernel sends no probes while something is unacknowledged, and tries to send that for a quarter of an hour; this
/// bounds it to the time that keepalive needs. Also of a peer that takes nothing, so not for streams. 0 = off.
bool set_silence_limit(int fd, int seconds);
bool set_linger(int fd, int seconds);
/// Priority 0 to 7 for what is sent from now on.
bool set_priority(int fd, int family, int priority);
/// Connects within the deadline. False with errno; stop_fd as in wait_for.
bool connect_until(int fd, const Address& to, int64_t deadline, int stop_fd = -1);
/// Waits for poll events until deadline, or until stop_fd is readable. False with errno ETIMEDOUT, ECANCELED (stop_fd)
/// or of poll.
bool wait_for(int fd, short events, int64_t deadline, int stop_fd = -1);

/// From now on `receive_datagram` knows which of this machine's addresses a datagram was sent to.
bool tell_destination(int fd, int family);
/// One datagram, as recvmsg. own: the address it was sent to, without port; nothing when not told.
ssize_t receive_datagram(int fd, void* bytes, size_t room, Address& from, std::optional<Address>& own);
/// One datagram, never waiting. own: the address of this machine that it leaves from, its port does not count; nothing:
/// the kernel chooses.
bool send_datagram(int fd, const iovec* pieces, size_t count, const Address& to, const std::optional<Address>& own);

/// An epoll set with a timer and a wake-up inside: the one descriptor that programs put into their fd_set.
class Poller {
  public:
    bool open();
    int fd() const { return epoll_.get(); }
    bool add(int fd, uint32_t events, uint64_t tag);
    void remove(int fd);
    /// Other events for a descriptor that was added.
    bool change(int fd, uint32_t events, uint64_t tag);

    /// Makes the descriptor readable once, until `ready` is called. Any thread.
    void wake();
    /// Makes the descriptor readable at this time; kForever = never. Any thread.
    void arm(int64_t deadline);

    /// The ready tags; resets wake-up and timer. Waits at most so long for the first one, -1: endless.
    std::span<const epoll_event> ready(int timeout_ms = 0);
    /// Whether `ready` found the timer's time over.
    bool rang() const { return rang_; }

    /// For vsoa_*_fds: adds the descriptor to set. Returns it, or -1.
    int add_to(fd_set* set) const;
    bool in(const fd_set* set) const;

  private:
    static constexpr uint64_t kTimerTag = UINT64_MAX, kWakeTag = UINT64_MAX - 1;

    Fd epoll_, timer_, event_;
    bool rang_ = false;
    epoll_event events_[64];
};

}  // namespace vsoa
