// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/own_program.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>

namespace monitored {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;

std::string find_own_program(const gantry::Config& config, const std::string& key, const std::string& program) {
    if (config.has(key)) {
        const std::string& path = config.string(key);
        if (path.starts_with('/') && ::access(path.c_str(), X_OK) == 0) return path;
        throw Failure(Code::kInvalid, key + " = \"" + path + "\" is no program; give an absolute path");
    }
    Dl_info info{};
    std::string place = "the plugin's file";
    if (::dladdr(reinterpret_cast<const void*>(&find_own_program), &info) != 0 && info.dli_fname != nullptr) {
        // The loader may have been given /proc/self/fd/N, so the link is followed.
        std::error_code error;
        const fs::path file = fs::canonical(info.dli_fname, error);
        const fs::path path = file.parent_path() / program;
        if (!error && ::access(path.c_str(), X_OK) == 0) return path.string();
        place = error ? info.dli_fname : file.string();
    }
    throw Failure(Code::kInvalid, program + " is not beside " + place + "; install it there or set " + key);
}

}  // namespace monitored
