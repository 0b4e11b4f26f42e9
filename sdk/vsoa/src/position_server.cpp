#include <sys/socket.h>

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
    if (!fd || bind(fd.get(), address.raw(), address.length) != 0) return false;
    fd_ = std::move(fd);
    return true;
}

void Server::input() {
    char text[kMaxQuery];
    for (int i = 0; i < kBatch && fd_; ++i) {
        Address from;
        from.length = sizeof from.storage;
        const ssize_t got = recvfrom(fd_.get(), text, sizeof text, 0, from.raw(), &from.length);
        if (got < 0) {
            if (errno == EINTR || errno == ECONNREFUSED) continue;
            return;
        }
        if (const auto query = read_query({text, static_cast<size_t>(got)})) ask(*query, from);
    }
}

void Server::ask(const Query& query, const Address& from) {
    auto owned = std::make_unique<vsoa_position_response_t>(vsoa_position_response_t{from, query.name});
    vsoa_position_response_t* response = owned.get();
    {
        const std::lock_guard guard(lock_);
        // A program that never answers must not eat all memory; whoever asked will ask again.
        if (unanswered_.size() >= kMaxUnanswered) return;
        unanswered_.emplace(response, std::move(owned));
    }
    on_query_(arg_, query.domain, query.name.c_str(), response);
}

void Server::respond(vsoa_position_response_t* response, const std::optional<Address>& address, bool secure) {
    std::unique_ptr<vsoa_position_response_t> owned;
    {
        const std::lock_guard guard(lock_);
        const auto found = unanswered_.find(response);
        if (found == unanswered_.end()) return;
        owned = std::move(found->second);
        unanswered_.erase(found);
    }
    const std::string text = write_answer({owned->name, address, secure});
    sendto(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT, owned->from.raw(), owned->from.length);
}

}  // namespace vsoa::position
