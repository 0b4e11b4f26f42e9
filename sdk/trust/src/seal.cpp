// SPDX-License-Identifier: Apache-2.0
#include <gantry/trust/seal.hpp>

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace gantry::trust {
namespace {

constexpr std::string_view kBegin = "GANTRY-SIGNATURE", kEnd = "GANTRY-SIGN-END\n";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kChunk = 64 << 10;
// So much of the end is searched for a seal that does not stand where it should.
constexpr std::size_t kSearched = 4'096;
constexpr std::size_t kAtVersion = 16, kAtSize = 20, kAtSigned = 24, kAtKey = 32, kAtSignature = 40, kAtEnd = 112;

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
    }
    void add(const std::uint8_t* bytes, std::size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }
    // Of what was added so far; more may follow.
    Digest now() const {
        const Context copy(EVP_MD_CTX_new(), EVP_MD_CTX_free);
        Digest out;
        if (!copy || EVP_MD_CTX_copy_ex(copy.get(), context_.get()) != 1 ||
            EVP_DigestFinal_ex(copy.get(), out.data(), nullptr) != 1) {
            throw std::bad_alloc();
        }
        return out;
    }

  private:
    using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
    Context context_;
};

template <class T>
T number_at(const std::uint8_t* at) {
    T out = 0;
    for (std::size_t i = sizeof(T); i > 0; --i) out = static_cast<T>(out << 8 | at[i - 1]);
    return out;
}

template <class T>
void put_number(std::uint8_t* at, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::uint8_t>(value >> 8 * i);
}

bool stands_at(const std::uint8_t* at, std::string_view text) { return std::memcmp(at, text.data(), text.size()) == 0; }

// All of it, or nothing.
bool read_at(int fd, std::uint64_t offset, std::uint8_t* out, std::size_t count) {
    for (std::size_t have = 0; have < count;) {
        const ssize_t n = ::pread(fd, out + have, count - have, static_cast<off_t>(offset + have));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        have += static_cast<std::size_t>(n);
    }
    return true;
}

void damaged(Contents& out, std::string text) {
    out.sealed = Sealed::kDamaged;
    out.text = std::move(text);
}

// `tail`: the file's last bytes.
void find_seal(const std::vector<std::uint8_t>& tail, Contents& out) {
    const auto found = std::search(tail.begin(), tail.end(), kBegin.begin(), kBegin.end());
    const bool ends = tail.size() >= kEnd.size() && stands_at(tail.data() + tail.size() - kEnd.size(), kEnd);
    if (found == tail.end()) {
        if (ends) damaged(out, "its signature has lost its beginning");
        return;
    }
    const auto left = static_cast<std::size_t>(tail.end() - found);
    if (left < kSealBytes) {
        return damaged(out, "its signature is cut short: " + std::to_string(left) + " of " +
                                std::to_string(kSealBytes) + " bytes");
    }
    if (left > kSealBytes) {
        return damaged(out, std::to_string(left - kSealBytes) + " bytes stand behind its signature");
    }
    const std::uint8_t* const seal = &*found;
    const auto version = number_at<std::uint32_t>(seal + kAtVersion);
    if (version != kVersion) {
        return damaged(
            out, "its signature has format " + std::to_string(version) + ", expected " + std::to_string(kVersion));
    }
    const bool whole = number_at<std::uint32_t>(seal + kAtSize) == kSealBytes && ends &&
                       number_at<std::uint64_t>(seal + kAtSigned) == out.size - kSealBytes &&
                       std::all_of(seal + kAtSignature + 64, seal + kAtEnd, [](std::uint8_t b) { return b == 0; });
    if (!whole) return damaged(out, "its signature belongs to a file of another length, or was changed");
    out.sealed = Sealed::kWhole;
    out.signed_size = out.size - kSealBytes;
    std::memcpy(out.seal.key.data(), seal + kAtKey, out.seal.key.size());
    std::memcpy(out.seal.signature.data(), seal + kAtSignature, out.seal.signature.size());
}

}  // namespace

bool read_contents(int fd, Contents& out, std::string& error) {
    out = {};
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        error = "is no regular file";
        return false;
    }
    out.size = out.signed_size = static_cast<std::uint64_t>(info.st_size);
    if (out.size > kFileMax) {
        error = "has " + std::to_string(out.size) + " bytes, expected at most " + std::to_string(kFileMax);
        return false;
    }
    std::vector<std::uint8_t> tail(std::min<std::uint64_t>(out.size, kSearched));
    bool good = read_at(fd, out.size - tail.size(), tail.data(), tail.size());
    if (good) find_seal(tail, out);
    Sha256 hash;
    std::vector<std::uint8_t> chunk(std::min<std::uint64_t>(out.size, kChunk));
    const auto add = [&](std::uint64_t from, std::uint64_t to) {
        while (good && from < to) {
            const std::size_t count = std::min<std::uint64_t>(to - from, chunk.size());
            good = read_at(fd, from, chunk.data(), count);
            if (good) hash.add(chunk.data(), count);
            from += count;
        }
        return hash.now();
    };
    out.before_seal = add(0, out.signed_size);
    out.whole = out.signed_size == out.size ? out.before_seal : add(out.signed_size, out.size);
    if (!good) error = "cannot be read to its end";
    return good;
}

std::string signed_text(const Digest& before_seal) {
    std::string out = "gantry plugin signature 1\n";
    out.append(reinterpret_cast<const char*>(before_seal.data()), before_seal.size());
    return out;
}

std::array<std::uint8_t, kSealBytes> write_seal(const Seal& seal, std::uint64_t signed_size) {
    std::array<std::uint8_t, kSealBytes> out{};
    std::memcpy(out.data(), kBegin.data(), kBegin.size());
    put_number(out.data() + kAtVersion, kVersion);
    put_number(out.data() + kAtSize, static_cast<std::uint32_t>(kSealBytes));
    put_number(out.data() + kAtSigned, signed_size);
    std::memcpy(out.data() + kAtKey, seal.key.data(), seal.key.size());
    std::memcpy(out.data() + kAtSignature, seal.signature.data(), seal.signature.size());
    std::memcpy(out.data() + kAtEnd, kEnd.data(), kEnd.size());
    return out;
}

std::string hex(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const std::uint8_t byte : bytes) {
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

}  // namespace gantry::trust
