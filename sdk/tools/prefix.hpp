// SPDX-License-Identifier: Apache-2.0
//
// Where this program lies, and with it what was installed beside it.
#pragma once

#include <filesystem>

namespace gantry::tools {

// PREFIX of PREFIX/bin/gantry-plugin, of an installed package as of a build folder. Failure (trouble.hpp) if the system
// does not say.
std::filesystem::path prefix();

}  // namespace gantry::tools
