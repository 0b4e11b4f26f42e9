// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/machine.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

using gantry::control::port_is_free;

namespace {

// A program that listens on `port`, or on any free one, until it ends.
class Program {
  public:
    Program(int type, const char* address, std::uint16_t port = 0) : socket_(::socket(AF_INET, type, 0)) {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        REQUIRE(::inet_pton(AF_INET, address, &at.sin_addr) == 1);
        REQUIRE(::bind(socket_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
        if (type == SOCK_STREAM) REQUIRE(::listen(socket_, 1) == 0);
        socklen_t size = sizeof(at);
        REQUIRE(::getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &size) == 0);
        port_ = ntohs(at.sin_port);
    }
    ~Program() { ::close(socket_); }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    std::uint16_t port() const { return port_; }

  private:
    int socket_;
    std::uint16_t port_ = 0;
};

}  // namespace

TEST_CASE("a port is free when no program listens on it, on any address, with TCP or UDP") {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM})
        for (const char* address : {"0.0.0.0", "127.0.0.1"}) {
            INFO(type << " on " << address);
            std::uint16_t port = 0;
            {
                const Program program(type, address);
                port = program.port();
                CHECK_FALSE(port_is_free(port));
            }
            CHECK(port_is_free(port));
            CHECK(port_is_free(port));  // trying takes nothing
        }
}
