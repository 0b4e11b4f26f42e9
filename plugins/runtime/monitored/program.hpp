// SPDX-License-Identifier: Apache-2.0
//
// What a container runs: the image's wishes and the spec's, put together.
#pragma once

#include <gantry/runtime.hpp>
#include <string>
#include <vector>

#include "plugins/runtime/image-store/layout.hpp"

namespace monitored {

struct Program {
    std::vector<std::string> args, env;  // env: "NAME=value"
    std::string cwd, user;

    bool has_env(std::string_view name) const;
};

// Throws Failure(kInvalid) if there is nothing to run.
Program program_of(const gantry::ContainerSpec& spec, const image_store::ImageConfig& image);

}  // namespace monitored
