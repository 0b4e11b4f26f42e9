// SPDX-License-Identifier: Apache-2.0
#include <gantry/trust/key.hpp>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <functional>
#include <new>

namespace gantry::trust {
namespace {

constexpr std::size_t kPublicBytes = 32;

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

EVP_PKEY* raw(const std::shared_ptr<void>& key) { return static_cast<EVP_PKEY*>(key.get()); }

// What is encrypted is refused, never asked for: gantry-plugin and gantryd have nobody to ask.
int no_password(char*, int, int, void*) { return -1; }

EVP_PKEY* parse(std::string_view pem, EVP_PKEY* (*read)(BIO*, EVP_PKEY**, pem_password_cb*, void*)) {
    if (pem.size() > kKeyFileMax) return nullptr;
    const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
    if (!bio) return nullptr;
    EVP_PKEY* const key = read(bio.get(), nullptr, no_password, nullptr);
    ERR_clear_error();
    return key;
}

std::string written(const std::function<int(BIO*)>& write) {
    const Bio bio(BIO_new(BIO_s_mem()), BIO_free);
    if (!bio || write(bio.get()) != 1) {
        ERR_clear_error();
        return {};
    }
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return std::string(text, static_cast<std::size_t>(size));
}

const unsigned char* bytes(const std::string& text) { return reinterpret_cast<const unsigned char*>(text.data()); }

}  // namespace

// Takes `key`, which may be nullptr.
std::optional<Key> Key::of(void* key, std::string& error) {
    Key out;
    out.key_ = std::shared_ptr<void>(key, [](void* p) { EVP_PKEY_free(static_cast<EVP_PKEY*>(p)); });
    if (key == nullptr || EVP_PKEY_get_id(raw(out.key_)) != EVP_PKEY_ED25519) return std::nullopt;
    std::array<std::uint8_t, kPublicBytes> point;
    std::size_t size = point.size();
    Digest digest;
    if (EVP_PKEY_get_raw_public_key(raw(out.key_), point.data(), &size) != 1 || size != point.size() ||
        EVP_Digest(point.data(), point.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
        error = "OpenSSL cannot use that key";
        return std::nullopt;
    }
    std::copy_n(digest.begin(), out.id_.size(), out.id_.begin());
    return out;
}

std::optional<Key> Key::read_public(std::string_view pem, std::string& error) {
    error = "is no public Ed25519 key in PEM, expected -----BEGIN PUBLIC KEY-----";
    return of(parse(pem, PEM_read_bio_PUBKEY), error);
}

std::optional<Key> Key::read_private(std::string_view pem, std::string& error) {
    error = "is no private Ed25519 key in PEM without a password, expected -----BEGIN PRIVATE KEY-----";
    return of(parse(pem, PEM_read_bio_PrivateKey), error);
}

std::optional<Key> Key::make() {
    std::string ignored;  // OpenSSL gave no key: there is one reason
    return of(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), ignored);
}

std::string Key::public_pem() const {
    return written([this](BIO* bio) { return PEM_write_bio_PUBKEY(bio, raw(key_)); });
}

std::string Key::private_pem() const {
    return written(
        [this](BIO* bio) { return PEM_write_bio_PrivateKey(bio, raw(key_), nullptr, nullptr, 0, nullptr, nullptr); });
}

Seal Key::sign(const Digest& before_seal) const {
    const std::string text = signed_text(before_seal);
    const Context context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    Seal out{id_, {}};
    std::size_t size = out.signature.size();
    if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, raw(key_)) != 1 ||
        EVP_DigestSign(context.get(), out.signature.data(), &size, bytes(text), text.size()) != 1) {
        throw std::bad_alloc();  // a private Ed25519 key signs anything
    }
    return out;
}

bool Key::signed_by(const Seal& seal, const Digest& before_seal) const {
    const std::string text = signed_text(before_seal);
    const Context context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    const bool good =
        seal.key == id_ && context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, raw(key_)) == 1 &&
        EVP_DigestVerify(context.get(), seal.signature.data(), seal.signature.size(), bytes(text), text.size()) == 1;
    ERR_clear_error();
    return good;
}

}  // namespace gantry::trust
