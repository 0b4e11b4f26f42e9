// SPDX-License-Identifier: Apache-2.0
//
// A folder in TMPDIR for what is on its way, removed with everything in it.
#pragma once

#include <filesystem>
#include <memory>

#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

class WorkFolder {
  public:
    // Errors: kFailed.
    static Outcome<std::unique_ptr<WorkFolder>> make();
    ~WorkFolder();
    WorkFolder(const WorkFolder&) = delete;
    WorkFolder& operator=(const WorkFolder&) = delete;
    const std::filesystem::path path;

  private:
    explicit WorkFolder(std::filesystem::path at) : path(std::move(at)) {}
};

}  // namespace gantry::cli
