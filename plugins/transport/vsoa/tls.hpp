// SPDX-License-Identifier: Apache-2.0
//
// TLS 1.3 with an external pre-shared key (RFC 8446, 4.2.11), always with an ephemeral key exchange, never with a
// certificate, over a socket that does not block.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "plugins/transport/secret/secret.hpp"

namespace vsoa_transport {

using cluster_secret::Key;

// What the pre-shared key is derived for.
inline constexpr std::string_view kKeyLabel = "gantry/1 transport psk";

// What all connections of an instance share.
class TlsContext {
  public:
    // Throws gantry::Failure.
    explicit TlsContext(const Key& key);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

  private:
    friend class TlsStream;
    SSL_CTX* context_ = nullptr;
    SSL_SESSION* session_ = nullptr;  // carries the key
    BIO_METHOD* method_ = nullptr;
};

enum class Step {
    kOk,
    kWantRead,   // again when the socket is readable
    kWantWrite,  // again when it is writable
    kEnd,        // the other side said goodbye (close_notify)
    kBroken,     // the connection ended without goodbye
    kRefused,    // handshake: the other side does not know the key
    kFailed,     // the other side does not speak TLS, or wrongly
};

class TlsStream {
  public:
    // fd stays the caller's and must outlive this. Throws gantry::Failure when memory is short.
    TlsStream(const TlsContext& context, int fd, bool inbound);
    ~TlsStream();
    TlsStream(const TlsStream&) = delete;
    TlsStream& operator=(const TlsStream&) = delete;

    Step handshake();
    // kOk: done bytes were moved, at least one.
    Step read(char* to, std::size_t room, std::size_t& done);
    // After kWant... the next write must begin with the same bytes.
    Step write(const char* from, std::size_t length, std::size_t& done);
    // Says goodbye.
    Step shut();
    // Bytes came from the other side.
    bool heard() const { return heard_; }
    // errno of a broken connection, 0: it ended.
    int error() const { return error_; }
    // What went wrong last.
    const std::string& text() const { return text_; }

  private:
    static int bio_read(BIO* bio, char* to, std::size_t room, std::size_t* done);
    static int bio_write(BIO* bio, const char* from, std::size_t length, std::size_t* done);
    static long bio_control(BIO* bio, int command, long number, void* pointer);
    friend class TlsContext;

    // What the last call of OpenSSL, which answered `result`, means.
    Step judge(int result);

    SSL* ssl_ = nullptr;
    const int fd_;
    bool ready_ = false, heard_ = false, ended_ = false;
    int error_ = 0;
    std::string text_;
};

}  // namespace vsoa_transport
