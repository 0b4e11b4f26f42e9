// SPDX-License-Identifier: Apache-2.0
//
// The list of digests: a file beside plugins, in the format of sha256sum (`sha256sum */*.so > gantry-plugins.sha256`).
#pragma once

#include <gantry/trust/seal.hpp>
#include <map>
#include <string>
#include <string_view>

namespace gantry::trust {

inline constexpr std::string_view kListName = "gantry-plugins.sha256";
// Of the second package that puts plugins into the same folder.
inline constexpr std::string_view kExtraListName = "gantry-plugins-extra.sha256";
inline constexpr std::size_t kListMax = 1 << 20;  // bytes of a list

// By the name in the list, relative to its folder: "probe/tcp.so".
using DigestList = std::map<std::string, Digest, std::less<>>;

// False, with one sentence that names the line in `error`, for anything but lines of 64 hexadecimal digits, two spaces
// (or a space and a star) and a relative name that stands there once. Names with escapes are not read.
bool parse_list(std::string_view text, DigestList& out, std::string& error);

}  // namespace gantry::trust
