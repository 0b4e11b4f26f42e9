// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/digest.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <new>

namespace gantry::cli {

Sha256::Sha256() : context_(EVP_MD_CTX_new(), [](void* c) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(c)); }) {
    auto* context = static_cast<EVP_MD_CTX*>(context_.get());
    if (!context || EVP_DigestInit_ex(context, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
}

void Sha256::add(const void* bytes, std::size_t size) {
    EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_.get()), bytes, size);
}

std::string Sha256::digest() {
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_.get()), raw, &size);
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string out = "sha256:";
    for (unsigned int i = 0; i < size; ++i) out += {kHex[raw[i] >> 4], kHex[raw[i] & 15]};
    return out;
}

bool is_digest(std::string_view text) {
    if (!text.starts_with("sha256:") || text.size() != 71) return false;
    return std::all_of(text.begin() + 7, text.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string short_digest(std::string_view digest) { return std::string(digest.substr(0, 19)); }

}  // namespace gantry::cli
