// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/plugins/transport/world.hpp"

namespace contract {
namespace {

std::string text_of(int (*name)(int, sockaddr*, socklen_t*), int fd) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    if (name(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0 || address.sin_family != AF_INET) return {};
    return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

}  // namespace

void cut_sockets(End& end) {
    for (const auto& event : end.of(Event::Kind::kUp)) {
        for (int fd = 3; fd < 1024; ++fd) {
            if (text_of(&::getsockname, fd) == event.local && text_of(&::getpeername, fd) == event.text) {
                ::shutdown(fd, SHUT_RDWR);
            }
        }
    }
}

}  // namespace contract
