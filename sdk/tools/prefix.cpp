// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/prefix.hpp"

#include "sdk/tools/trouble.hpp"

namespace gantry::tools {

namespace fs = std::filesystem;

fs::path prefix() {
    std::error_code unknown;
    const fs::path self = fs::read_symlink("/proc/self/exe", unknown);
    if (unknown) throw Failure(exit_status::kInternal, "cannot tell where this program lies: " + unknown.message());
    return self.parent_path().parent_path();
}

}  // namespace gantry::tools
