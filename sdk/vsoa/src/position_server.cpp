#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "sdk/vsoa/src/position.hpp"

namespace vsoa::position {
namespace {

constexpr int kBatch = 64;  // queries handled in one turn of the program's loop
constexpr size_t kMaxQuery = 4096;

}  // namespace

bool Server::start(const Address& address) {
    if (fd_) {
        errno = EALREADY;
        return false;
    }
    Fd fd = open_socket(address.family(), SOCK_DGRAM);
    // The answer leaves from the address that was asked, which matters where the machine has several.
    if (!fd || !tell_destination(fd.get(), address.family()) || bind(fd.get(), address.raw(), address.length) != 0)
        return false;
    fd_ = std::move(fd);
    return true;
}

bool Server::take(int fd) {
    if (fd_) {
        errno = EALREADY;
        return false;
    }
    int kind = 0;
    socklen_t length = sizeof kind;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) != 0) return false;
    sockaddr_storage own{};
    length = sizeof own;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) != 0) return false;
    const bool internet = own.ss_family == AF_INET || own.ss_family == AF_INET6;
    if (kind != SOCK_DGRAM || !internet) {
        errno = EINVAL;
        return false;
    }
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || !tell_destination(fd, own.ss_family)) return false;
    fd_ = Fd(fd);
    return true;
}

void Server::input() {
    char text[kMaxQuery];
    for (int i = 0; i < kBatch && fd_; ++i) {
        Waiting waiting;
        const ssize_t got = receive_datagram(fd_.get(), text, sizeof text, waiting.from, waiting.own);
        if (got < 0) {
            if (errno == EINTR || errno == ECONNREFUSED) continue;
            return;
        }
        const auto query = read_query({text, static_cast<size_t>(got)});
        if (!query) continue;
        waiting.name = query->name;
        inside_ = true;
        on_query_(arg_, query->domain, query->name.c_str(), keep(std::move(waiting)));
        inside_ = false;
    }
}

vsoa_position_response_t* Server::keep(Waiting waiting) {
    const std::lock_guard guard(lock_);
    // A program that never answers must not eat all memory. The oldest goes: who asked it has given up first.
    if (unanswered_.size() >= kMaxUnanswered) unanswered_.erase(unanswered_.begin());
    unanswered_.emplace_hint(unanswered_.end(), ++last_number_, std::move(waiting));
    return reinterpret_cast<vsoa_position_response_t*>(last_number_);
}

void Server::respond(vsoa_position_response_t* response, const std::optional<Address>& address, bool secure) {
    Waiting waiting;
    {
        const std::lock_guard guard(lock_);
        const auto found = unanswered_.find(reinterpret_cast<uintptr_t>(response));
        if (found == unanswered_.end()) return;
        waiting = std::move(found->second);
        unanswered_.erase(found);
    }
    std::string text = write_answer({waiting.name, address, secure});
    const iovec piece = {text.data(), text.size()};
    send_datagram(fd_.get(), &piece, 1, waiting.from, waiting.own);
}

}  // namespace vsoa::position
