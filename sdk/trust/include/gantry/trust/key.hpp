// SPDX-License-Identifier: Apache-2.0
//
// Keys that sign plugins: Ed25519, in the PEM files that OpenSSL writes (`openssl pkey -pubout` gives the public one).
#pragma once

#include <gantry/trust/seal.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace gantry::trust {

inline constexpr std::size_t kKeyFileMax = 4'096;  // bytes of a key's file

// A public key, or a private one with its public part. Copies share one key, which nobody changes. [any]
class Key {
  public:
    // Empty, with one sentence in `error`, for anything that is not one Ed25519 key of that kind in PEM.
    static std::optional<Key> read_public(std::string_view pem, std::string& error);
    static std::optional<Key> read_private(std::string_view pem, std::string& error);
    // A new private key, from the system's random numbers; empty if there are none.
    static std::optional<Key> make();

    KeyId id() const { return id_; }
    std::string public_pem() const;
    // PKCS#8, not encrypted: for a file that its owner alone can read. Empty for a public key.
    std::string private_pem() const;

    // The seal for a file with these contents before it; the same for the same key and contents. For a private key.
    Seal sign(const Digest& before_seal) const;
    // The seal is this key's, of exactly these contents.
    bool signed_by(const Seal& seal, const Digest& before_seal) const;

  private:
    Key() = default;
    static std::optional<Key> of(void* key, std::string& error);

    std::shared_ptr<void> key_;  // an EVP_PKEY
    KeyId id_{};
};

}  // namespace gantry::trust
