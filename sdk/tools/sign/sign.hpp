// SPDX-License-Identifier: Apache-2.0
//
// Keys and signatures for plugins. Each throws Failure (sdk/tools/trouble.hpp) with one sentence.
#pragma once

#include <filesystem>
#include <string>

namespace gantry::tools {

// A new key: NAME.key, which its owner alone can read, and NAME.pub, which operators put among their trusted keys.
// Neither may be there. Returns what to tell the user. Failures: kCannotCreate, with nothing left behind.
std::string make_key(const std::filesystem::path& name);

// Signs the plugin: its file is replaced, at once, by one with a seal (gantry/trust/seal.hpp) at its end; a seal that
// is there goes. The same file and key give the same bytes. Returns what to tell the user. Failures: kNoInput, kBadData
// for what is no plugin or no private key, a damaged seal, and a key that others can read; kCannotCreate.
std::string sign_plugin(const std::filesystem::path& file, const std::filesystem::path& key);

}  // namespace gantry::tools
