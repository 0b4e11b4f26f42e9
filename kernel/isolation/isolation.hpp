// SPDX-License-Identifier: Apache-2.0
//
// Plugins in processes of their own: the host::Isolation of gantryd, and of whoever else makes a host::Host.
#pragma once

#include <filesystem>
#include <memory>

#include "kernel/host/isolation.hpp"

namespace gantry::isolation {

// program: absolute path of gantry-plugin-host, of the same build.
std::shared_ptr<host::Isolation> make_isolation(std::filesystem::path program);

}  // namespace gantry::isolation
