// SPDX-License-Identifier: Apache-2.0
//
// A plugin's file, found, trusted and read, but not loaded: no line of it has run.
#pragma once

#include <filesystem>
#include <gantry/elf/reader.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"

namespace gantry::host {

struct PluginFile {
    PluginFile() = default;
    PluginFile(const PluginFile&) = delete;
    PluginFile& operator=(const PluginFile&) = delete;
    ~PluginFile();

    std::string path;
    int fd = -1;  // everything was checked on it, and it is what gets loaded
    elf::Note note;
};

// PATH/<role>/<plugin>.so in the first folder that has it; each PATH is absolute. A regular file of root or of this
// process's user that others cannot write, nor any folder above it (a sticky one of root's is safe; root's group and
// this process's own may write), reached through no symbolic link; a sound ELF file for this machine and border that
// exports the entry alone. In a user namespace, where owners outside of it cannot be told apart, their files count as
// root's. The error's message is one sentence that says what is wrong with it.
Result<std::shared_ptr<PluginFile>> open_plugin(const std::vector<std::filesystem::path>& path, std::string_view role,
                                                std::string_view plugin);

// The spelling in a note of the role that this kernel knows in that folder: "probe" -> "probe/1"; empty if none.
std::string_view known_role(std::string_view folder);

}  // namespace gantry::host
