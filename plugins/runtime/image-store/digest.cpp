// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/digest.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <gantry/status.hpp>
#include <memory>

namespace image_store {

using gantry::Code;
using gantry::Failure;

Digest Digest::parse(std::string_view text, std::string_view what) {
    const bool good = text.size() == 71 && text.substr(0, 7) == "sha256:" &&
                      text.substr(7).find_first_not_of("0123456789abcdef") == std::string_view::npos;
    if (!good) {
        throw Failure(Code::kInvalid, std::string(what) + ": digest must be \"sha256:\" and 64 hex digits, got \"" +
                                          std::string(text.substr(0, 80)) + "\"");
    }
    return Digest(std::string(text));
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    if (context_ == nullptr || EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) != 1) {
        EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
        throw Failure(Code::kFailed, "OpenSSL has no SHA-256");
    }
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256::add(const void* data, std::size_t len) {
    if (EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), data, len) != 1) {
        throw Failure(Code::kFailed, "OpenSSL failed to hash");
    }
}

Digest Sha256::finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
    unsigned len = 0;
    if (EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), raw.data(), &len) != 1) {
        throw Failure(Code::kFailed, "OpenSSL failed to hash");
    }
    static constexpr char kHex[] = "0123456789abcdef";
    std::string text = "sha256:";
    for (unsigned i = 0; i < len; ++i) {
        text += kHex[raw[i] >> 4];
        text += kHex[raw[i] & 15];
    }
    return Digest(std::move(text));
}

gantry::Fd open_verified(const std::filesystem::path& file, const Digest& digest, long long size, std::string_view what,
                         const Cancelled& cancelled) {
    const std::string name = std::string(what) + " " + digest.text();
    gantry::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
        const int error = errno;
        throw Failure(error == ENOENT ? Code::kInvalid : Code::kFailed, name + (error == ENOENT ? " is missing" : "") +
                                                                            ": cannot open " + file.string() + ": " +
                                                                            std::strerror(error));
    }
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) {
        throw Failure(Code::kInvalid, name + ": " + file.string() + " is not a regular file");
    }
    if (size >= 0 && st.st_size != size) {
        throw Failure(Code::kInvalid, name + " is damaged: expected " + std::to_string(size) + " bytes, found " +
                                          std::to_string(st.st_size) + "; import the image again");
    }
    Sha256 hash;
    constexpr std::size_t kChunk = 1 << 18;
    const auto buffer = std::make_unique<char[]>(kChunk);
    for (;;) {
        if (cancelled && cancelled()) throw Failure(Code::kCancelled, name + ": cancelled");
        const ssize_t n = ::read(fd.get(), buffer.get(), kChunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Failure(Code::kFailed, name + ": cannot read: " + std::strerror(errno));
        if (n == 0) break;
        hash.add(buffer.get(), static_cast<std::size_t>(n));
    }
    const Digest found = hash.finish();
    if (found != digest) {
        throw Failure(Code::kInvalid,
                      name + " is damaged: its content has digest " + found.text() + "; import the image again");
    }
    if (::lseek(fd.get(), 0, SEEK_SET) != 0) throw Failure(Code::kFailed, name + ": cannot rewind");
    return fd;
}

}  // namespace image_store
