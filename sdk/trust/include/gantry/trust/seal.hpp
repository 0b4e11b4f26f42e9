// SPDX-License-Identifier: Apache-2.0
//
// The seal: a signature at the end of a plugin's file, behind everything that the ELF file consists of. Loaders and
// readers of ELF files do not look there, so a sealed file loads as before; strip and objcopy drop the seal, so a file
// is signed last. It is part of the file, so one descriptor gives the code and what vouches for it.
//
// kSealBytes at the very end; numbers are little-endian:
//
//      0  16  "GANTRY-SIGNATURE"
//     16   4  version of the format: 1
//     20   4  kSealBytes
//     24   8  bytes of the file before the seal
//     32   8  id of the key: the first 8 bytes of the SHA-256 of the 32 bytes of the public key
//     40  64  Ed25519 signature of signed_text()
//    104   8  zero
//    112  16  "GANTRY-SIGN-END\n"
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gantry::trust {

inline constexpr std::size_t kSealBytes = 128;
inline constexpr std::uint64_t kFileMax = 256 << 20;  // bytes of a plugin's file

using Digest = std::array<std::uint8_t, 32>;  // SHA-256
using KeyId = std::array<std::uint8_t, 8>;
using SignatureBytes = std::array<std::uint8_t, 64>;  // Ed25519

struct Seal {
    KeyId key{};
    SignatureBytes signature{};
};

enum class Sealed : std::uint8_t {
    kNot,      // nothing of a seal is there
    kWhole,    // its form is right; whether the signature is good is for a key to say
    kDamaged,  // cut short, followed by something else, or of another version
};

// What a file holds, found in one pass over it.
struct Contents {
    std::uint64_t size = 0;         // bytes of the file
    std::uint64_t signed_size = 0;  // bytes before the seal; all of them without one
    Digest whole{};                 // of the file, as sha256sum tells it
    Digest before_seal{};           // of the first signed_size bytes
    Sealed sealed = Sealed::kNot;
    Seal seal;         // of a whole one
    std::string text;  // what is wrong with a damaged one
};

// Reads the file behind `fd` from its beginning, whatever its position; `fd` stays the caller's. False, with one
// sentence in `error`, for what is no regular file, cannot be read, or is longer than kFileMax. Memory: 64 KiB.
bool read_contents(int fd, Contents& out, std::string& error);

// What is signed: a fixed text, so that no other use of the key can be taken for this one, and the digest.
std::string signed_text(const Digest& before_seal);

// The seal's bytes, as they are appended.
std::array<std::uint8_t, kSealBytes> write_seal(const Seal& seal, std::uint64_t signed_size);

// Lower-case hexadecimal digits.
std::string hex(std::span<const std::uint8_t> bytes);

}  // namespace gantry::trust
