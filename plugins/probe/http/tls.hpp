// SPDX-License-Identifier: Apache-2.0
//
// TLS of a probe, over bytes in memory: nothing here touches a socket.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

namespace http_probe {

using Trust = std::shared_ptr<SSL_CTX>;

// Whose certificates are believed: those that a file signs, those that the node trusts (an empty name), or everybody's.
// Reads files, so not for the loop. Throws gantry::Failure(kInvalid): the file cannot be used. [any]
Trust trust_of(const std::string& ca, bool insecure);

class Tls {
  public:
    // name: that the certificate must have; a name or an address. Throws gantry::Failure(kFailed). `plain` is sent when
    // the handshake is done.
    Tls(const Trust& trust, const std::string& name, std::string plain);
    Tls(Tls&&) noexcept = default;
    Tls& operator=(Tls&&) noexcept = default;

    // Bytes of the server; returns what they say. Throws std::runtime_error with what is wrong with them, for people.
    std::string feed(std::string_view bytes);
    // Bytes for the server; each call gives what came up since the last.
    std::string take_output();
    bool established() const { return SSL_is_init_finished(ssl_.get()) != 0; }

  private:
    struct Free {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };
    std::unique_ptr<SSL, Free> ssl_;
    std::string plain_;
};

}  // namespace http_probe
