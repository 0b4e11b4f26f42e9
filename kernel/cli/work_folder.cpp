// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/work_folder.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gantry::cli {

Outcome<std::unique_ptr<WorkFolder>> WorkFolder::make() {
    const char* where = std::getenv("TMPDIR");
    std::string name = std::string(where && *where ? where : "/tmp") + "/gantry-images.XXXXXX";
    if (!mkdtemp(name.data())) {
        return trouble(exit_status::kFailed, errno == ENOSPC ? Code::kFull : Code::kFailed,
                       std::string("cannot make a temporary folder (TMPDIR chooses where): ") + std::strerror(errno),
                       name);
    }
    return std::unique_ptr<WorkFolder>(new WorkFolder(name));
}

WorkFolder::~WorkFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
}

}  // namespace gantry::cli
