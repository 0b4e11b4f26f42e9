// SPDX-License-Identifier: Apache-2.0
//
// Other sides of connections that behave as badly as a test wants. They are driven from the condition of run_until.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <gantry/address.hpp>
#include <gantry/view.hpp>
#include <memory>
#include <optional>
#include <string>

#include "plugins/transport/vsoa/tls.hpp"
#include "plugins/transport/vsoa/wire.hpp"

namespace raw {

using gantry::SocketAddress;
using vsoa_transport::Step;

inline gantry::Fd connect_to(const std::string& address) {
    const auto where = SocketAddress::parse(address);
    REQUIRE(where);
    gantry::Fd fd(::socket(where->family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd.get(), where->raw(), where->length) == 0);
    ::fcntl(fd.get(), F_SETFL, O_NONBLOCK);
    return fd;
}

inline gantry::Fd listen_on_loopback(std::string& address) {
    const auto where = SocketAddress::parse("127.0.0.1:0");
    gantry::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    REQUIRE(::bind(fd.get(), where->raw(), where->length) == 0);
    REQUIRE(::listen(fd.get(), 16) == 0);
    address = SocketAddress::local(fd.get()).text();
    return fd;
}

// Bytes without TLS.
class Plain {
  public:
    explicit Plain(const std::string& address) : fd_(connect_to(address)) {}
    void send(std::string_view bytes) { ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
    // The other side ended it.
    bool ended() {
        char bytes[4096];
        for (;;) {
            const ssize_t got = ::recv(fd_.get(), bytes, sizeof bytes, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN)) return true;
            if (got < 0) return false;
        }
    }

  private:
    gantry::Fd fd_;
};

// Knows the secret (or another) and speaks TLS; what it says inside is the test's.
class Peer {
  public:
    Peer(const std::string& address, const std::string& secret)
        : key_(secret, vsoa_transport::kKeyLabel),
          context_(key_),
          fd_(connect_to(address)),
          tls_(context_, fd_.get(), false) {}

    void send(std::string_view bytes) { waiting_ += bytes; }
    // Moves what can be moved.
    void turn() {
        if (!shaken_) {
            const Step step = tls_.handshake();
            if (step != Step::kOk) return note(step);
            shaken_ = true;
        }
        while (!waiting_.empty()) {
            std::size_t done = 0;
            const Step step = tls_.write(waiting_.data(), waiting_.size(), done);
            if (step != Step::kOk) {
                note(step);
                break;
            }
            waiting_.erase(0, done);
        }
        char bytes[16384];
        while (reads) {
            std::size_t done = 0;
            const Step step = tls_.read(bytes, sizeof bytes, done);
            if (step != Step::kOk) return note(step);
            received.append(bytes, done);
        }
    }
    bool shaken() const { return shaken_; }
    bool sent() const { return waiting_.empty(); }
    // How it ended, if it did.
    std::optional<Step> end;
    std::string received;
    bool reads = true;

  private:
    void note(Step step) {
        if (step != Step::kWantRead && step != Step::kWantWrite) end = step;
    }
    vsoa_transport::Key key_;
    vsoa_transport::TlsContext context_;
    gantry::Fd fd_;
    vsoa_transport::TlsStream tls_;
    std::string waiting_;
    bool shaken_ = false;
};

// Passes bytes on in both directions and keeps them.
class Relay {
  public:
    explicit Relay(std::string to) : to_(std::move(to)), listener_(listen_on_loopback(address)) {}
    void turn() {
        if (!client_) {
            client_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!client_) return;
            server_ = connect_to(to_);
        }
        pass(client_.get(), server_.get());
        pass(server_.get(), client_.get());
    }
    std::string address;
    std::string seen;
    bool flip = false;  // one bit of what passes next

  private:
    void pass(int from, int to) {
        char bytes[65536];
        const ssize_t got = ::recv(from, bytes, sizeof bytes, 0);
        if (got == 0) ::shutdown(to, SHUT_WR);
        if (got <= 0) return;
        if (flip) bytes[got / 2] ^= 1;
        flip = false;
        seen.append(bytes, static_cast<std::size_t>(got));
        ssize_t sent = 0;
        while (sent < got) {
            const ssize_t n = ::send(to, bytes + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) return;
            if (n > 0) sent += n;
        }
    }
    const std::string to_;
    gantry::Fd listener_, client_, server_;
};

}  // namespace raw
