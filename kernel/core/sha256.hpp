// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4), for the digests that name specs: the core has no library for it.
#pragma once

#include <string>
#include <string_view>

namespace gantry::core {

// "sha256:" and 64 lower-case hexadecimal digits.
std::string sha256_digest(std::string_view bytes);

}  // namespace gantry::core
