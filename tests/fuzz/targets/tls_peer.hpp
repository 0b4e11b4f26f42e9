// The other end of a TLS connection, made with OpenSSL itself: honest until an input makes it do otherwise.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_tls.h"
#include "sdk/vsoa/src/packet.hpp"
#include "tests/fuzz/targets/input.hpp"
#include "tests/fuzz/targets/network.hpp"

namespace fuzz {

/// What OpenSSL takes for random is the same from here on, in every run.
void fixed_random();

/// The files of both sides: a certificate of 127.0.0.1 that is its own authority, or a key.
vsoa_tls_t tls_files(bool key, bool server);

/// How an input goes on behind its first byte: steps of a kind, a length and so many bytes.
class Script {
  public:
    struct Step {
        uint8_t kind = 0;
        std::span<const uint8_t> bytes;
    };
    explicit Script(std::span<const uint8_t> text) : left_(text) {}
    bool empty() const { return left_.empty(); }
    Step next();

  private:
    std::span<const uint8_t> left_;
};

class TlsPeer {
  public:
    /// key: with the key, else with the certificate. old: TLS 1.2.
    TlsPeer(SocketPtr socket, bool server, bool key, bool old);

    /// One turn of the handshake, as it should be. False: nothing was left to do or to say.
    bool shake_hands();
    bool ready() const { return SSL_is_init_finished(ssl_.get()) == 1; }
    /// As application data.
    void say(std::span<const uint8_t> bytes);
    /// How many packets have come.
    size_t receive();
    void play(const Script::Step& step);
    void end() { socket_->in_ends = true; }
    void reset() { socket_->broken = true; }

  private:
    struct Free {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };
    void hear();
    std::vector<uint8_t> written();
    std::vector<uint8_t> turn();

    const SocketPtr socket_;
    const bool server_;
    std::unique_ptr<SSL, Free> ssl_;
    BIO *from_, *to_;  // of ssl_
    vsoa::Receiver receiver_;
};

/// A packet for the other side.
std::vector<uint8_t> packet_of(uint8_t type, uint8_t flags, uint32_t seqno, std::string_view param,
                               std::string_view data = {});

}  // namespace fuzz
