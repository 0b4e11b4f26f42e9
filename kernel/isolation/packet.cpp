// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/packet.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace gantry::isolation {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

ssize_t send_once(int socket, std::string_view bytes, std::span<const int> fds) {
    constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (fds.empty()) return ::send(socket, bytes.data(), bytes.size(), kFlags);
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    return ::sendmsg(socket, &message, kFlags);
}

Sent send_packet(int socket, std::string_view bytes, std::span<const int> fds) {
    for (;;) {
        if (send_once(socket, bytes, fds) >= 0) return Sent::kYes;
        if (errno == EINTR) continue;
        // Too many descriptors on their way (ETOOMANYREFS) and no memory pass as well.
        const bool passes = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ETOOMANYREFS;
        return passes ? Sent::kLater : Sent::kNo;
    }
}

// A sealed file in memory that holds the message; -1 if there is no room for it.
Fd large_file(std::string_view message) {
    Fd file(::memfd_create("gantry-message", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) return file;
    for (std::string_view rest = message; !rest.empty();) {
        const ssize_t n = ::write(file.get(), rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return Fd();
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fcntl(file.get(), F_ADD_SEALS, kSeals) != 0) return Fd();
    return file;
}

}  // namespace

void Fd::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

Sent send_message(int socket, std::string_view message, std::span<const int> fds) {
    if (fds.size() >= kDescriptorsMax || message.size() > kLargeMax) return Sent::kNo;
    if (message.size() <= kPacketMax) return send_packet(socket, message, fds);
    const Fd file = large_file(message);
    if (!file) return Sent::kNo;
    std::vector<int> all(fds.begin(), fds.end());
    all.push_back(file.get());
    // A packet of SOCK_SEQPACKET with no bytes would look like the end: one stands for "the last descriptor".
    return send_packet(socket, std::string_view("", 1), all);
}

Message::~Message() { drop(); }

void Message::drop() {
    fds_.clear();
    bytes_ = {};
    if (mapped_ != nullptr) ::munmap(std::exchange(mapped_, nullptr), mapped_size_);
}

Message::Got Message::broken(std::string what) {
    drop();
    fault_ = std::move(what);
    return Got::kBroken;
}

Message::Got Message::receive(int socket, bool wait) {
    drop();
    if (!buffer_) buffer_ = std::make_unique_for_overwrite<char[]>(kPacketMax);
    iovec part{buffer_.get(), kPacketMax};
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t n = 0;
    do {
        n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Got::kNothing;
    if (n <= 0) return Got::kEnd;
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
            fds_.emplace_back(fd);
        }
    }
    if ((message.msg_flags & MSG_TRUNC) != 0) return broken("it sent a packet above the limit");
    if ((message.msg_flags & MSG_CTRUNC) != 0) return broken("it sent too many descriptors");
    bytes_ = {buffer_.get(), static_cast<std::size_t>(n)};
    return bytes_.size() == 1 ? take_large() : Got::kOne;
}

Message::Got Message::take_large() {
    if (fds_.empty()) return broken("it sent a packet of one byte");
    const Fd file = std::move(fds_.back());
    fds_.pop_back();
    const int seals = ::fcntl(file.get(), F_GET_SEALS);
    if (seals < 0 || (seals & kSeals) != kSeals) return broken("it sent a large message that it can still change");
    struct stat info {};
    if (::fstat(file.get(), &info) != 0 || info.st_size <= 0 || static_cast<std::uint64_t>(info.st_size) > kLargeMax) {
        return broken("it sent a large message of " + std::to_string(info.st_size) + " bytes, expected at most " +
                      std::to_string(kLargeMax));
    }
    mapped_size_ = static_cast<std::size_t>(info.st_size);
    void* const at = ::mmap(nullptr, mapped_size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (at == MAP_FAILED) return broken("there is no memory for its large message");
    mapped_ = at;
    bytes_ = {static_cast<const char*>(at), mapped_size_};
    return Got::kOne;
}

}  // namespace gantry::isolation
