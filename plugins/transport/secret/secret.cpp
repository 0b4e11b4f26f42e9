// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/secret/secret.hpp"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <gantry/status.hpp>
#include <gantry/view.hpp>
#include <memory>

namespace cluster_secret {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr uid_t kOverflowUser = 65'534;

struct Wiped {
    std::string text;
    ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }
};

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
    throw Failure(Code::kInvalid, "secret_file " + path + ": " + why);
}

std::string permissions(mode_t mode) {
    char text[8];
    std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
    return text;
}

bool in_user_namespace() {
    std::ifstream map("/proc/self/uid_map");
    std::uint64_t inside = 0, outside = 0, count = 0;
    return (map >> inside >> outside >> count) && count < 0xffff'ffff;
}

void read_secret(const std::string& path, std::string& out) {
    // Not blocking: a FIFO in that place must not hold up the start.
    const gantry::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        refuse(path, std::string("cannot be read: ") + std::strerror(errno) +
                         (errno == ENOENT ? "; copy the cluster's secret here, or make one for a new cluster with "
                                            "'(umask 077; openssl rand -hex 32 > FILE)'"
                                          : ""));
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) refuse(path, std::strerror(errno));
    if (!S_ISREG(info.st_mode)) refuse(path, "is not a file");
    const std::string why = distrust(info, ::geteuid(), in_user_namespace());
    if (!why.empty()) refuse(path, why);
    out.resize(kSecretMax + 1);
    const ssize_t got = ::read(fd.get(), out.data(), out.size());
    if (got < 0) refuse(path, std::string("cannot be read: ") + std::strerror(errno));
    out.resize(static_cast<std::size_t>(got));
    if (out.size() > kSecretMax) refuse(path, "is longer than 4096 bytes");
}

std::string_view without_line_end(std::string_view secret) {
    while (!secret.empty() && (secret.back() == '\n' || secret.back() == '\r')) secret.remove_suffix(1);
    return secret;
}

}  // namespace

std::string distrust(const struct stat& file, uid_t self, bool in_user_namespace) {
    const bool perhaps_root = file.st_uid == kOverflowUser && in_user_namespace;
    if (file.st_uid != 0 && file.st_uid != self && !perhaps_root) {
        return "belongs to user " + std::to_string(file.st_uid) + ", expected root or user " + std::to_string(self) +
               "; run 'chown root' and 'chmod 0600' on it";
    }
    const char* who = nullptr;
    if ((file.st_mode & S_IWGRP) != 0) who = "its group may write to it";
    if ((file.st_mode & S_IRWXO) != 0) who = "everybody on this machine may use it";
    if (who == nullptr) return {};
    return std::string(who) + " (permissions " + permissions(file.st_mode) +
           "), which a secret must not allow; run 'chmod 0600' on it";
}

Key::Key(std::string_view secret, std::string_view label) {
    secret = without_line_end(secret);
    const std::unique_ptr<EVP_KDF, void (*)(EVP_KDF*)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr), &EVP_KDF_free);
    const std::unique_ptr<EVP_KDF_CTX, void (*)(EVP_KDF_CTX*)> context(EVP_KDF_CTX_new(kdf.get()), &EVP_KDF_CTX_free);
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, const_cast<char*>(secret.data()), secret.size()),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, const_cast<char*>(label.data()), label.size()),
        OSSL_PARAM_construct_end(),
    };
    if (!context || EVP_KDF_derive(context.get(), bytes_.data(), bytes_.size(), parameters) != 1) {
        throw Failure(Code::kFailed, "OpenSSL derives no key with HKDF-SHA256; is its default provider there?");
    }
}

Key Key::from_file(const std::string& path, std::string_view label) {
    Wiped secret;
    read_secret(path, secret.text);
    const std::size_t length = without_line_end(secret.text).size();
    if (length < kSecretMin) {
        refuse(path, "holds " + std::to_string(length) + " bytes, at least 16 are needed; 'openssl rand -hex 32' " +
                         "makes a good one");
    }
    return Key(secret.text, label);
}

Key::~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

}  // namespace cluster_secret
