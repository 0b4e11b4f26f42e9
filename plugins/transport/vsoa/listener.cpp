// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/vsoa/listener.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace vsoa_transport {
namespace {

using gantry::Code;
using gantry::Failure;
using gantry::SocketAddress;

constexpr int kBacklog = 512;
constexpr int kPerTurn = 64;
constexpr gantry::Duration kRest = std::chrono::milliseconds(100);

[[noreturn]] void refuse(const std::string& address, int error) {
    std::string text = "cannot listen on " + address + ": " + std::strerror(error);
    if (error == EADDRINUSE) text += "; is another gantryd running?";
    if (error == EADDRNOTAVAIL) text += "; no interface of this machine has it";
    throw Failure(Code::kUnavailable, text);
}

}  // namespace

Listener::Listener(gantry::Host& host, const std::string& address) : host_(host) {
    const auto where = SocketAddress::parse(address);
    if (!where) {
        throw Failure(Code::kInvalid,
                      "cannot listen on '" + address + "': expected IP:PORT, for example 0.0.0.0:3900 or [::]:3900");
    }
    fd_ = host.inherit("tcp:" + where->text());
    if (fd_) return;
    fd_.reset(::socket(where->family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_) refuse(address, errno);
    const int on = 1;
    setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd_.get(), where->raw(), where->length) != 0) refuse(address, errno);
    if (::listen(fd_.get(), kBacklog) != 0) refuse(address, errno);
    (void)host.keep(fd_.get());  // an older host: the address is free while the plugin is exchanged
}

Listener::~Listener() {
    host_.unwatch(watch_);
    host_.cancel(rest_);
}

void Listener::begin(std::function<void(gantry::Fd, std::string)> accepted) {
    accepted_ = std::move(accepted);
    watch_ = host_.watch(fd_.get(), gantry::kReadable, [this](std::uint32_t) { accept_some(); });
}

void Listener::pause(bool on) {
    if (on == paused_) return;
    paused_ = on;
    if (rest_ == 0) host_.change(watch_, paused_ ? 0 : gantry::kReadable);
}

void Listener::accept_some() {
    for (int i = 0; i < kPerTurn && !paused_; ++i) {
        SocketAddress from;
        from.length = sizeof from.storage;
        gantry::Fd fd(::accept4(fd_.get(), from.raw(), &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (fd) {
            accepted_(std::move(fd), from.text());
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            // The connection stays in the kernel's queue and would wake us without end.
            host_.warn(std::string("cannot accept connections for a moment: ") + std::strerror(errno));
            host_.change(watch_, 0);
            rest_ = host_.timer(kRest, [this] {
                rest_ = 0;
                host_.change(watch_, paused_ ? 0 : gantry::kReadable);
            });
            return;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) return;
        // ECONNABORTED and what the network says about that one connection (accept(2)): on to the next.
    }
}

}  // namespace vsoa_transport
