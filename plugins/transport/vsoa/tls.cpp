// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/vsoa/tls.hpp"

#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>
#include <string_view>

namespace vsoa_transport {
namespace {

using gantry::Code;
using gantry::Failure;

// Names the derivation, not the secret: it travels in clear.
constexpr std::string_view kIdentity = "gantry/1";
constexpr unsigned char kCipher[] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256
// OpenSSL takes the key for a session of the past and forgets it after 304 s of the wall clock, if nobody says
// otherwise. A hundred years are more than a gateway without a battery leaps over when it learns the time.
constexpr long kKeptFor = 100L * 366 * 24 * 3600;  // seconds

std::string last_error() {
    const unsigned long code = ERR_peek_last_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "error " + std::to_string(code) : reason;
}

[[noreturn]] void give_up(const char* what) {
    throw Failure(Code::kFailed, std::string("OpenSSL: ") + what + ": " + last_error());
}

SSL_SESSION* session_of(const SSL* ssl) {
    return static_cast<SSL_SESSION*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

// Client: offers the key.
int use_session(SSL* ssl, const EVP_MD*, const unsigned char** id, std::size_t* id_length, SSL_SESSION** session) {
    *session = session_of(ssl);
    SSL_SESSION_up_ref(*session);
    *id = reinterpret_cast<const unsigned char*>(kIdentity.data());
    *id_length = kIdentity.size();
    return 1;
}

// Server: the key that a client names.
int find_session(SSL* ssl, const unsigned char* identity, std::size_t length, SSL_SESSION** session) {
    *session = nullptr;
    if (std::string_view(reinterpret_cast<const char*>(identity), length) != kIdentity) return 1;
    *session = session_of(ssl);
    SSL_SESSION_up_ref(*session);
    return 1;
}

// OpenSSL has said why it gave up on a handshake: was it the key?
bool about_the_key(unsigned long code) {
    if (ERR_GET_LIB(code) != ERR_LIB_SSL) return true;  // the cipher found a wrong key
    switch (ERR_GET_REASON(code)) {
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_HTTPS_PROXY_REQUEST:
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_UNEXPECTED_MESSAGE:
        case SSL_R_UNKNOWN_PROTOCOL:
        case SSL_R_VERSION_TOO_LOW:
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        case SSL_R_BAD_RECORD_TYPE:
        case SSL_R_BAD_PACKET_LENGTH:
        case SSL_R_RECORD_TOO_SMALL:
        case SSL_R_LENGTH_MISMATCH:
        case SSL_R_LENGTH_TOO_SHORT:
            return false;
        default:
            return true;
    }
}

}  // namespace

TlsContext::TlsContext(const Key& key) {
    // Alerts and reasons are needed as text only when something is wrong; OpenSSL loads them by then.
    context_ = SSL_CTX_new(TLS_method());
    if (context_ == nullptr) give_up("no TLS context");
    session_ = SSL_SESSION_new();
    method_ = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gantry socket");
    if (session_ == nullptr || method_ == nullptr) give_up("no memory");
    BIO_meth_set_read_ex(method_, &TlsStream::bio_read);
    BIO_meth_set_write_ex(method_, &TlsStream::bio_write);
    BIO_meth_set_ctrl(method_, &TlsStream::bio_control);

    if (SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context_, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(context_, "X25519:P-256") != 1) {
        give_up("TLS 1.3 with TLS_AES_128_GCM_SHA256 is not there");
    }
    SSL_CTX_set_options(context_, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(context_, SSL_OP_ALLOW_NO_DHE_KEX);
    SSL_CTX_set_num_tickets(context_, 0);
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_early_data(context_, 0);
    SSL_CTX_set_mode(context_,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context_, 1);
    SSL_CTX_set_app_data(context_, session_);
    SSL_CTX_set_psk_use_session_callback(context_, &use_session);
    SSL_CTX_set_psk_find_session_callback(context_, &find_session);

    const std::unique_ptr<SSL, void (*)(SSL*)> probe(SSL_new(context_), &SSL_free);
    const SSL_CIPHER* cipher = probe ? SSL_CIPHER_find(probe.get(), kCipher) : nullptr;
    if (cipher == nullptr || SSL_SESSION_set1_master_key(session_, key.data(), Key::kSize) != 1 ||
        SSL_SESSION_set_cipher(session_, cipher) != 1 ||
        SSL_SESSION_set_protocol_version(session_, TLS1_3_VERSION) != 1 ||
        SSL_SESSION_set_timeout(session_, kKeptFor) == 0) {
        give_up("the key is not taken");
    }
}

TlsContext::~TlsContext() {
    SSL_CTX_free(context_);
    SSL_SESSION_free(session_);
    BIO_meth_free(method_);
}

TlsStream::TlsStream(const TlsContext& context, int fd, bool inbound) : ssl_(SSL_new(context.context_)), fd_(fd) {
    BIO* bio = ssl_ == nullptr ? nullptr : BIO_new(context.method_);
    if (bio == nullptr) {
        SSL_free(ssl_);
        give_up("no memory for a connection");
    }
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    if (inbound) {
        SSL_set_accept_state(ssl_);
    } else {
        // No authority is trusted, so that a server that answers with a certificate instead of the key is refused.
        SSL_set_verify(ssl_, SSL_VERIFY_PEER, nullptr);
        SSL_set_connect_state(ssl_);
    }
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

int TlsStream::bio_read(BIO* bio, char* to, std::size_t room, std::size_t* done) {
    auto& self = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t got = ::recv(self.fd_, to, room, 0);
    if (got > 0) {
        self.heard_ = true;
        *done = static_cast<std::size_t>(got);
        return 1;
    }
    if (got == 0) {
        self.ended_ = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        BIO_set_retry_read(bio);
    } else {
        self.ended_ = true;
        if (self.error_ == 0) self.error_ = errno;  // the first one says why; what follows is a broken pipe
    }
    return 0;
}

int TlsStream::bio_write(BIO* bio, const char* from, std::size_t length, std::size_t* done) {
    auto& self = *static_cast<TlsStream*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t sent = ::send(self.fd_, from, length, MSG_NOSIGNAL);
    if (sent >= 0) {
        *done = static_cast<std::size_t>(sent);
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        BIO_set_retry_write(bio);
    } else {
        self.ended_ = true;
        if (self.error_ == 0) self.error_ = errno;  // the first one says why; what follows is a broken pipe
    }
    return 0;
}

long TlsStream::bio_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return static_cast<TlsStream*>(BIO_get_data(bio))->ended_ ? 1 : 0;
    return 0;
}

Step TlsStream::judge(int result) {
    const int what = SSL_get_error(ssl_, result);
    if (what == SSL_ERROR_WANT_READ) return Step::kWantRead;
    if (what == SSL_ERROR_WANT_WRITE) return Step::kWantWrite;
    if (what == SSL_ERROR_ZERO_RETURN) return Step::kEnd;
    if (ended_) {
        text_ = error_ != 0 ? std::strerror(error_) : "the other side ended the connection without goodbye";
        return Step::kBroken;
    }
    text_ = last_error();
    if (!ready_ && about_the_key(ERR_peek_last_error())) return Step::kRefused;
    return Step::kFailed;
}

Step TlsStream::handshake() {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_);
    if (result != 1) return judge(result);
    // Belt and braces: nothing but the key may have let the other side in.
    if (SSL_session_reused(ssl_) != 1) {
        text_ = "the other side showed something else than the key";
        return Step::kRefused;
    }
    ready_ = true;
    return Step::kOk;
}

Step TlsStream::read(char* to, std::size_t room, std::size_t& done) {
    ERR_clear_error();
    const int result = SSL_read_ex(ssl_, to, room, &done);
    return result == 1 ? Step::kOk : judge(result);
}

Step TlsStream::write(const char* from, std::size_t length, std::size_t& done) {
    ERR_clear_error();
    const int result = SSL_write_ex(ssl_, from, length, &done);
    return result == 1 ? Step::kOk : judge(result);
}

Step TlsStream::shut() {
    ERR_clear_error();
    const int result = SSL_shutdown(ssl_);
    return result >= 0 ? Step::kOk : judge(result);
}

}  // namespace vsoa_transport
