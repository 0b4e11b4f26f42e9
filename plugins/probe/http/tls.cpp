// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/http/tls.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <array>
#include <gantry/status.hpp>
#include <stdexcept>

namespace http_probe {
namespace {

using gantry::Code;
using gantry::Failure;

std::string reason() {
    const unsigned long code = ERR_peek_last_error();
    const char* const text = code == 0 ? nullptr : ERR_reason_error_string(code);
    return text == nullptr ? "error " + std::to_string(code) : text;
}

bool is_address(const std::string& name) {
    std::array<unsigned char, sizeof(in6_addr)> ignored;
    return ::inet_pton(AF_INET, name.c_str(), ignored.data()) == 1 ||
           ::inet_pton(AF_INET6, name.c_str(), ignored.data()) == 1;
}

// What the handshake found, in words that say whom to ask.
std::string failure_of(const SSL* ssl) {
    const long verified = SSL_get_verify_result(ssl);
    if (verified != X509_V_OK)
        return std::string("its certificate is not believed: ") + X509_verify_cert_error_string(verified);
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        return "what answers does not speak TLS";
    return "TLS failed: " + reason();
}

}  // namespace

Trust trust_of(const std::string& ca, bool insecure) {
    ERR_clear_error();
    Trust out(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    if (!out) throw Failure(Code::kFailed, "OpenSSL: " + reason());
    SSL_CTX_set_min_proto_version(out.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(out.get(), SSL_MODE_RELEASE_BUFFERS);
    if (insecure) return out;
    SSL_CTX_set_verify(out.get(), SSL_VERIFY_PEER, nullptr);
    const int loaded = ca.empty() ? SSL_CTX_set_default_verify_paths(out.get())
                                  : SSL_CTX_load_verify_locations(out.get(), ca.c_str(), nullptr);
    if (loaded != 1)
        throw Failure(Code::kInvalid, "`ca`: " + (ca.empty() ? "the node's certificates" : ca) +
                                          " cannot be used (expected certificates in PEM): " + reason());
    return out;
}

Tls::Tls(const Trust& trust, const std::string& name, std::string plain)
    : ssl_(SSL_new(trust.get())), plain_(std::move(plain)) {
    BIO* const in = BIO_new(BIO_s_mem());
    BIO* const out = BIO_new(BIO_s_mem());
    if (!ssl_ || in == nullptr || out == nullptr) {
        BIO_free(in);
        BIO_free(out);
        throw Failure(Code::kFailed, "OpenSSL: no memory");
    }
    SSL_set_bio(ssl_.get(), in, out);
    SSL_set_connect_state(ssl_.get());
    if (is_address(name)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), name.c_str());
    } else {
        SSL_set1_host(ssl_.get(), name.c_str());
        SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    }
    ERR_clear_error();
    (void)SSL_do_handshake(ssl_.get());  // says hello, and wants an answer
}

std::string Tls::feed(std::string_view bytes) {
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    ERR_clear_error();
    if (!established()) {
        const int done = SSL_do_handshake(ssl_.get());
        if (done != 1 && SSL_get_error(ssl_.get(), done) != SSL_ERROR_WANT_READ)
            throw std::runtime_error(failure_of(ssl_.get()));
        if (done != 1) return {};
    }
    if (!plain_.empty()) {
        const int wrote = SSL_write(ssl_.get(), plain_.data(), static_cast<int>(plain_.size()));
        if (wrote <= 0) throw std::runtime_error("TLS failed: " + reason());
        plain_.clear();
    }
    std::string out;
    for (std::array<char, 4096> chunk;;) {
        const int got = SSL_read(ssl_.get(), chunk.data(), static_cast<int>(chunk.size()));
        if (got > 0) {
            out.append(chunk.data(), static_cast<std::size_t>(got));
            continue;
        }
        const int why = SSL_get_error(ssl_.get(), got);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_ZERO_RETURN) return out;
        throw std::runtime_error(failure_of(ssl_.get()));
    }
}

std::string Tls::take_output() {
    BIO* const bio = SSL_get_wbio(ssl_.get());
    std::string out(BIO_ctrl_pending(bio), '\0');
    if (!out.empty())
        out.resize(static_cast<std::size_t>(std::max(0, BIO_read(bio, out.data(), static_cast<int>(out.size())))));
    return out;
}

}  // namespace http_probe
