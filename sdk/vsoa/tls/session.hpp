// TLS through OpenSSL: a connection's session and what connections share. The interface is sdk/vsoa/src/tls.hpp.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sdk/vsoa/src/tls.hpp"

namespace vsoa::tls {

/// A pre-shared key under its name.
struct Key {
    std::string identity;
    std::vector<unsigned char> secret;
};
using Keys = std::vector<Key>;

/// Reads the format of psktool. Empty with trouble.
Keys read_keys(const char* path, Trouble& trouble);

/// Writes error and a printf text.
[[gnu::format(printf, 3, 4)]] void say(Trouble& trouble, int error, const char* format, ...);

/// OpenSSL's own words for its last error.
const char* last_error();

class OpenSslContext final : public Context {
  public:
    /// Null with trouble.
    static Context* open(const vsoa_tls_t& tls, bool server, Trouble& trouble);

    Session* session(int fd, const char* name) noexcept override;
    int tunnel(int fd, Session* session) noexcept override;

  private:
    struct Free {
        void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    };

    OpenSslContext() = default;
    bool limit(Trouble& trouble);
    bool load(const vsoa_tls_t& tls, Trouble& trouble);
    bool load_own(const vsoa_tls_t& tls, Trouble& trouble);
    bool load_authorities(const vsoa_tls_t& tls, Trouble& trouble);
    bool load_keys(const vsoa_tls_t& tls, Trouble& trouble);

    bool server_ = false, verify_ = true;
    std::unique_ptr<SSL_CTX, Free> context_;
    std::shared_ptr<const Keys> keys_;  // null: none
};

class OpenSslSession final : public Session {
  public:
    /// Takes ssl.
    OpenSslSession(SSL* ssl, int fd, bool server, std::shared_ptr<const Keys> keys, const char* name);
    /// False: no memory.
    bool open();

    Step handshake() noexcept override;
    bool ready() const noexcept override { return ready_; }
    ssize_t read(void* to, size_t room) noexcept override;
    ssize_t write(const void* from, size_t length) noexcept override;
    bool pending() noexcept override;
    void goodbye() noexcept override;
    const Trouble& trouble() const noexcept override { return trouble_; }

  private:
    friend class OpenSslContext;
    struct Free {
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };

    static BIO_METHOD* socket_method();
    static int bio_read(BIO* bio, char* to, size_t room, size_t* done);
    static int bio_write(BIO* bio, const char* from, size_t length, size_t* done);
    static long bio_control(BIO* bio, int command, long number, void* pointer);
    static unsigned show_key(SSL* ssl, const char* hint, char* identity, unsigned room, unsigned char* secret,
                             unsigned secret_room);
    static unsigned find_key(SSL* ssl, const char* identity, unsigned char* secret, unsigned room);

    static void observe(int sent, int version, int kind, const void* bytes, size_t length, SSL* ssl, void* session);

    /// What an OpenSSL call that did not succeed means: true: it wants to go on later. Else trouble_ is filled in,
    /// unless the peer just ended the connection.
    bool wants_more(int result, Step& step);
    void judge_handshake();
    bool judge_certificate();

    std::mutex lock_;  // an SSL takes one call at a time
    std::unique_ptr<SSL, Free> ssl_;
    const int fd_;
    const bool server_;
    const std::shared_ptr<const Keys> keys_;
    const std::string name_;
    bool ready_ = false, said_goodbye_ = false;
    bool blocked_ = false;  // part of a record waits for the socket
    bool heard_ = false;    // bytes of the peer
    bool ended_ = false;    // the TCP connection, at least in its direction
    bool silent_ = false;   // the peer sends nothing more; it may still read
    bool broken_ = false;
    // Messages of TLS's own after the handshake: new keys, refused handshakes.
    int renewals_ = 0;
    std::chrono::steady_clock::time_point renewals_since_;
    bool restless_ = false;  // they were too many
    int socket_error_ = 0;
    Trouble trouble_;
};

}  // namespace vsoa::tls
