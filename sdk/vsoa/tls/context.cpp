#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <new>

#include "sdk/vsoa/tls/session.hpp"

namespace vsoa::tls {
namespace {

// Of TLS 1.2, with forward secrecy only; those of 1.3 all have it.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr const char* kKeyCiphers =
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES256-CBC-SHA384:ECDHE-PSK-AES128-CBC-SHA256";
// Of TLS 1.3. A key goes with SHA-256: a server that also has a certificate would otherwise prefer another, and show
// that.
constexpr const char* kKeySuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr long kMaxChain = 32 * 1024;  // bytes of a peer's certificates: who is not logged in gets no more memory

/// The text that is wrong with a file of the program's. False.
bool bad_file(Trouble& trouble, const char* path, const char* wanted) {
    say(trouble, EBADMSG, "%s: expected %s: %s", path, wanted, last_error());
    return false;
}

bool readable(const char* path, Trouble& trouble) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    char byte;
    if (fd >= 0 && ::read(fd, &byte, 1) >= 0) {
        ::close(fd);
        return true;
    }
    const int error = errno;
    if (fd >= 0) ::close(fd);
    say(trouble, error, "%s: %s", path, std::strerror(error));
    return false;
}

int no_passphrase(char*, int, int, void*) { return -1; }

Context* open_context(const vsoa_tls_t& tls, bool server, Trouble& trouble) noexcept {
    try {
        return OpenSslContext::open(tls, server, trouble);
    } catch (const std::exception&) {
        say(trouble, ENOMEM, "%s", std::strerror(ENOMEM));
        return nullptr;
    }
}

}  // namespace

Context* OpenSslContext::open(const vsoa_tls_t& tls, bool server, Trouble& trouble) {
    // Threads may still encrypt what they were given when the process ends: nothing is torn down before that.
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
    ERR_clear_error();
    std::unique_ptr<OpenSslContext> made(new OpenSslContext);
    made->server_ = server;
    made->verify_ = (tls.flags & VSOA_TLS_NO_VERIFY) == 0;
    made->context_.reset(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    const bool good = made->context_ && made->limit(trouble) && made->load(tls, trouble);
    if (!good && trouble.error == 0) say(trouble, ENOMEM, "OpenSSL: %s", last_error());
    ERR_clear_error();
    return good ? made.release() : nullptr;
}

bool OpenSslContext::limit(Trouble&) {
    SSL_CTX* const context = context_.get();
    SSL_CTX_set_options(
        context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_max_cert_list(context, kMaxChain);
    SSL_CTX_set_default_passwd_cb(context, &no_passphrase);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, kCiphers) == 1;
}

bool OpenSslContext::load(const vsoa_tls_t& tls, Trouble& trouble) {
    return load_own(tls, trouble) && load_authorities(tls, trouble) && load_keys(tls, trouble);
}

bool OpenSslContext::load_own(const vsoa_tls_t& tls, Trouble& trouble) {
    if (tls.cert_file == nullptr) return true;
    if (!readable(tls.cert_file, trouble) || !readable(tls.key_file, trouble)) return false;
    if (SSL_CTX_use_certificate_chain_file(context_.get(), tls.cert_file) != 1) {
        return bad_file(trouble, tls.cert_file, "a certificate in PEM");
    }
    if (SSL_CTX_use_PrivateKey_file(context_.get(), tls.key_file, SSL_FILETYPE_PEM) != 1) {
        return bad_file(trouble, tls.key_file, "the certificate's private key in PEM, not encrypted");
    }
    return true;
}

bool OpenSslContext::load_authorities(const vsoa_tls_t& tls, Trouble& trouble) {
    SSL_CTX* const context = context_.get();
    if (tls.ca_file != nullptr) {
        if (!readable(tls.ca_file, trouble)) return false;
        if (SSL_CTX_load_verify_file(context, tls.ca_file) != 1) {
            return bad_file(trouble, tls.ca_file, "certificates of authorities in PEM");
        }
    } else if (!server_ && tls.psk_file == nullptr) {
        SSL_CTX_set_default_verify_paths(context);
    }
    if (server_ && tls.ca_file != nullptr) {
        // A key counts as a session of before, and those need a name where certificates are wanted.
        SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>("vsoa"), 4);
        // Tells clients that have several certificates which to show.
        SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(tls.ca_file));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    } else {
        SSL_CTX_set_verify(context, !server_ && verify_ ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    }
    return true;
}

bool OpenSslContext::load_keys(const vsoa_tls_t& tls, Trouble& trouble) {
    if (tls.psk_file == nullptr) return true;
    Keys keys = read_keys(tls.psk_file, trouble);
    if (keys.empty()) return false;
    keys_ = std::make_shared<const Keys>(std::move(keys));
    // These serve TLS 1.2 and 1.3.
    if (server_) {
        SSL_CTX_set_psk_server_callback(context_.get(), &OpenSslSession::find_key);
    } else {
        SSL_CTX_set_psk_client_callback(context_.get(), &OpenSslSession::show_key);
    }
    return SSL_CTX_set_cipher_list(context_.get(), kKeyCiphers) == 1 &&
           SSL_CTX_set_ciphersuites(context_.get(), kKeySuites) == 1;
}

Session* OpenSslContext::session(int fd, const char* name) noexcept {
    try {
        SSL* const ssl = SSL_new(context_.get());
        if (ssl == nullptr) return nullptr;
        auto made = std::make_unique<OpenSslSession>(ssl, fd, server_, keys_, name);
        return made->open() ? made.release() : nullptr;
    } catch (const std::exception&) {
        return nullptr;
    }
}

}  // namespace vsoa::tls

extern "C" {

/// What libvsoa looks for.
[[gnu::visibility("default")]] extern const vsoa::tls::Library vsoa_tls_library;
const vsoa::tls::Library vsoa_tls_library = {GANTRY_VERSION, &vsoa::tls::open_context};
}
