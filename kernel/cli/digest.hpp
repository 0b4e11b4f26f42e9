// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 of content, as images name it: "sha256:" and 64 hexadecimal digits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace gantry::cli {

class Sha256 {
  public:
    Sha256();
    void add(const void* bytes, std::size_t size);
    // Once.
    std::string digest();

  private:
    std::unique_ptr<void, void (*)(void*)> context_;
};

bool is_digest(std::string_view text);
// "sha256:0123456789ab", enough for people.
std::string short_digest(std::string_view digest);

}  // namespace gantry::cli
