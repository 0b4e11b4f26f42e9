// SPDX-License-Identifier: Apache-2.0
//
// The cluster's secret, and the keys that plugins derive from it: one for each use.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace cluster_secret {

inline constexpr std::size_t kSecretMin = 16;  // bytes
inline constexpr std::size_t kSecretMax = 4096;

// Wiped when it goes.
class Key {
  public:
    static constexpr std::size_t kSize = 32;

    // HKDF-SHA256 (RFC 5869) over the secret, without salt. `label` names the use: another use of the same secret gets
    // another key. Line ends at the end of the secret do not count.
    Key(std::string_view secret, std::string_view label);
    // Throws gantry::Failure with what the operator must change.
    static Key from_file(const std::string& path, std::string_view label);
    ~Key();
    Key(const Key&) = delete;
    Key& operator=(const Key&) = delete;

    const std::uint8_t* data() const { return bytes_.data(); }

  private:
    std::array<std::uint8_t, kSize> bytes_{};
};

// Why the secret is none any more, and what to do; empty: only root and user `self` may change the file, and nobody
// beside its group may read it. in_user_namespace: owners from outside, the machine's root among them, look like user
// 65534 there.
std::string distrust(const struct stat& file, uid_t self, bool in_user_namespace);

}  // namespace cluster_secret
