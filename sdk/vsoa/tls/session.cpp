#include "sdk/vsoa/tls/session.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace vsoa::tls {
namespace {

bool is_address(const std::string& name) {
    unsigned char bytes[sizeof(in6_addr)];
    return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

// A renewal costs the peer no more than this side, which has others to serve. Who keeps to the rules does it after
// gigabytes, or hours.
constexpr int kMostRenewals = 32;
constexpr auto kRenewalPeriod = std::chrono::minutes(1);

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS; }

/// The peer's words about what we showed; 0 for anything else it may have said.
int refusal(int reason) {
    switch (reason) {
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return ENOKEY;
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
        case SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
            return EKEYREJECTED;
        default:
            return 0;
    }
}

}  // namespace

void say(Trouble& trouble, int error, const char* format, ...) {
    trouble.error = error;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trouble.reason, sizeof trouble.reason, format, arguments);
    va_end(arguments);
}

const char* last_error() {
    const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason != nullptr ? reason : "OpenSSL does not say why";
}

OpenSslSession::OpenSslSession(SSL* ssl, int fd, bool server, std::shared_ptr<const Keys> keys, const char* name)
    : ssl_(ssl), fd_(fd), server_(server), keys_(std::move(keys)), name_(name != nullptr ? name : "") {}

bool OpenSslSession::open() {
    BIO_METHOD* const method = socket_method();
    BIO* const bio = method != nullptr ? BIO_new(method) : nullptr;
    if (bio == nullptr) return false;
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_app_data(ssl_.get(), this);
    SSL_set_msg_callback(ssl_.get(), &observe);
    SSL_set_msg_callback_arg(ssl_.get(), this);
    if (server_) {
        SSL_set_accept_state(ssl_.get());
        return true;
    }
    SSL_set_connect_state(ssl_.get());
    if (is_address(name_)) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name_.c_str()) == 1;
    SSL_set_hostflags(ssl_.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    // A name of a service need not be one that a server may be asked for; then it is only compared.
    if (SSL_set_tlsext_host_name(ssl_.get(), name_.c_str()) != 1) ERR_clear_error();
    return SSL_set1_host(ssl_.get(), name_.c_str()) == 1;
}

/// OpenSSL's own socket BIO would raise SIGPIPE.
BIO_METHOD* OpenSslSession::socket_method() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "vsoa socket");
        if (made == nullptr) return made;
        BIO_meth_set_read_ex(made, &bio_read);
        BIO_meth_set_write_ex(made, &bio_write);
        BIO_meth_set_ctrl(made, &bio_control);
        return made;
    }();
    return method;
}

int OpenSslSession::bio_read(BIO* bio, char* to, size_t room, size_t* done) {
    auto& self = *static_cast<OpenSslSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t got = recv(self.fd_, to, room, MSG_DONTWAIT);
    if (got > 0) {
        self.heard_ = true;
        *done = static_cast<size_t>(got);
        return 1;
    }
    if (got < 0 && would_block(errno)) {
        BIO_set_retry_read(bio);
        return 0;
    }
    self.ended_ = true;
    if (got < 0 && self.socket_error_ == 0) self.socket_error_ = errno;
    return 0;
}

int OpenSslSession::bio_write(BIO* bio, const char* from, size_t length, size_t* done) {
    auto& self = *static_cast<OpenSslSession*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t sent = send(self.fd_, from, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
        *done = static_cast<size_t>(sent);
        return 1;
    }
    if (would_block(errno)) {
        BIO_set_retry_write(bio);
        return 0;
    }
    self.ended_ = true;
    if (self.socket_error_ == 0) self.socket_error_ = errno;
    return 0;
}

long OpenSslSession::bio_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return static_cast<OpenSslSession*>(BIO_get_data(bio))->ended_ ? 1 : 0;
    return 0;
}

void OpenSslSession::observe(int sent, int, int kind, const void*, size_t, SSL* ssl, void* session) {
    auto& self = *static_cast<OpenSslSession*>(session);
    if (!self.ready_ || (sent != 0 ? kind != SSL3_RT_ALERT : kind != SSL3_RT_HANDSHAKE)) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - self.renewals_since_ > kRenewalPeriod) {
        self.renewals_since_ = now;
        self.renewals_ = 0;
    }
    if (++self.renewals_ <= kMostRenewals) return;
    self.restless_ = true;
    // OpenSSL would go on with all that it has read.
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

unsigned OpenSslSession::show_key(SSL* ssl, const char*, char* identity, unsigned room, unsigned char* secret,
                                  unsigned secret_room) {
    const auto& self = *static_cast<OpenSslSession*>(SSL_get_app_data(ssl));
    const Key& key = self.keys_->front();
    if (key.identity.size() >= room || key.secret.size() > secret_room) return 0;
    std::memcpy(identity, key.identity.c_str(), key.identity.size() + 1);
    std::copy(key.secret.begin(), key.secret.end(), secret);
    return static_cast<unsigned>(key.secret.size());
}

unsigned OpenSslSession::find_key(SSL* ssl, const char* identity, unsigned char* secret, unsigned room) {
    const auto& self = *static_cast<OpenSslSession*>(SSL_get_app_data(ssl));
    if (identity == nullptr) return 0;
    for (const Key& key : *self.keys_) {
        if (key.identity != identity || key.secret.size() > room) continue;
        std::copy(key.secret.begin(), key.secret.end(), secret);
        return static_cast<unsigned>(key.secret.size());
    }
    return 0;
}

Session::Step OpenSslSession::handshake() noexcept {
    const std::lock_guard guard(lock_);
    if (ready_) return Step::kDone;
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) {
        ready_ = true;
        return Step::kDone;
    }
    Step step = Step::kFailed;
    if (wants_more(result, step)) return step;
    broken_ = true;
    judge_handshake();
    ERR_clear_error();
    return Step::kFailed;
}

bool OpenSslSession::wants_more(int result, Step& step) {
    const int error = SSL_get_error(ssl_.get(), result);
    step = error == SSL_ERROR_WANT_READ ? Step::kReadable : Step::kWritable;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

bool OpenSslSession::judge_certificate() {
    const long verdict = SSL_get_verify_result(ssl_.get());
    if (verdict == X509_V_OK) return false;
    const char* const whose = server_ ? "client" : "server";
    const char* const why = X509_verify_cert_error_string(verdict);
    switch (verdict) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
        case X509_V_ERR_CERT_NOT_YET_VALID:
            say(trouble_, EKEYEXPIRED, "the %s's certificate is not accepted: %s", whose, why);
            return true;
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH:
            say(trouble_, EKEYREJECTED, "the server's certificate is not for \"%s\": %s", name_.c_str(), why);
            return true;
        default:
            say(trouble_, EKEYREJECTED, "the %s's certificate is not accepted: %s", whose, why);
            return true;
    }
}

void OpenSslSession::judge_handshake() {
    const unsigned long code = ERR_peek_last_error();
    const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    if (ended_ && (code == 0 || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
        if (server_ && !heard_) return;  // somebody looked whether the port is open
        say(trouble_, socket_error_ != 0 ? socket_error_ : ECONNRESET,
            "the connection ended in the TLS handshake; does the other side speak TLS?");
        return;
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && judge_certificate()) return;
    if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        say(trouble_, EKEYREJECTED, "the client showed no certificate");
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
               reason == SSL_R_HTTPS_PROXY_REQUEST) {
        say(trouble_, EPROTO, "the other side does not speak TLS");
    } else if (const int refused = refusal(reason); refused != 0) {
        say(trouble_, refused, "the other side refused the handshake: %s", last_error());
    } else if (keys_ && (reason == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER || reason == SSL_R_BINDER_DOES_NOT_VERIFY ||
                         reason == SSL_R_PSK_IDENTITY_NOT_FOUND || reason == SSL_R_NO_SHARED_CIPHER ||
                         reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM)) {
        say(trouble_, EKEYREJECTED, "the other side does not know the key: %s", last_error());
    } else {
        say(trouble_, EPROTO, "the TLS handshake failed: %s", last_error());
    }
}

ssize_t OpenSslSession::read(void* to, size_t room) noexcept {
    const std::lock_guard guard(lock_);
    if (broken_ || silent_) return 0;
    ERR_clear_error();
    size_t done = 0;
    int result = 1;
    // Small records that came together are read together: they are answered together.
    do {
        size_t got = 0;
        result = SSL_read_ex(ssl_.get(), static_cast<unsigned char*>(to) + done, room - done, &got);
        if (result == 1) done += got;
    } while (result == 1 && done < room && SSL_has_pending(ssl_.get()) == 1);
    if (done > 0) return static_cast<ssize_t>(done);
    Step step;
    if (wants_more(result, step)) {
        errno = EAGAIN;
        return -1;
    }
    const unsigned long code = ERR_peek_last_error();
    const int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    silent_ = true;
    if (restless_) {
        broken_ = true;
        say(trouble_, EPROTO, "the other side wants new keys again and again, more than %d times a minute",
            kMostRenewals);
        errno = EPROTO;
        return -1;
    }
    // An end without a goodbye is an end: packets know their length.
    if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return 0;
    if (ended_ && code == 0) {
        errno = socket_error_;
        return socket_error_ != 0 ? -1 : 0;
    }
    broken_ = true;
    // What a client shows is judged after its side of the handshake is done.
    if (const int refused = refusal(reason); refused != 0) {
        say(trouble_, refused, "the other side refused the handshake: %s", last_error());
    } else {
        say(trouble_, EPROTO, "what was received is not acceptable to TLS: %s", last_error());
    }
    ERR_clear_error();
    errno = trouble_.error;
    return -1;
}

ssize_t OpenSslSession::write(const void* from, size_t length) noexcept {
    const std::lock_guard guard(lock_);
    if (broken_) {
        errno = ECONNRESET;
        return -1;
    }
    ERR_clear_error();
    size_t done = 0;
    while (done < length) {
        size_t put = 0;
        const int result =
            SSL_write_ex(ssl_.get(), static_cast<const unsigned char*>(from) + done, length - done, &put);
        if (result == 1) {
            blocked_ = false;
            done += put;
            continue;
        }
        Step step;
        blocked_ = wants_more(result, step) && step == Step::kWritable;
        if (blocked_) break;
        // The reader is told why: what the peer said lies there.
        errno = socket_error_ != 0 ? socket_error_ : ECONNRESET;
        return done > 0 ? static_cast<ssize_t>(done) : -1;
    }
    return static_cast<ssize_t>(done);
}

bool OpenSslSession::pending() noexcept {
    const std::lock_guard guard(lock_);
    return ready_ && !broken_ && !silent_ && SSL_has_pending(ssl_.get()) == 1;
}

void OpenSslSession::goodbye() noexcept {
    const std::lock_guard guard(lock_);
    if (!ready_ || broken_ || blocked_ || ended_ || said_goodbye_) return;
    said_goodbye_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

}  // namespace vsoa::tls
