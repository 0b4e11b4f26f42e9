// SPDX-License-Identifier: Apache-2.0
//
// A plugin's file, found, trusted and read, but not loaded: no line of it has run.
#pragma once

#include <sys/types.h>

#include <compare>
#include <filesystem>
#include <gantry/elf/reader.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/trust/verifier.hpp"

namespace gantry::host {

// The same for one file that nobody wrote to or replaced.
struct FileIdentity {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    std::int64_t modified_ns = 0, changed_ns = 0;

    static Result<FileIdentity> of(int fd);
    friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

struct PluginFile {
    PluginFile() = default;
    PluginFile(const PluginFile&) = delete;
    PluginFile& operator=(const PluginFile&) = delete;
    ~PluginFile();

    std::string path;
    int fd = -1;            // everything was checked on it, and it is what gets loaded
    FileIdentity identity;  // as it was when it was checked
    trust::Origin origin;
    elf::Note note;
};

// PATH/<role>/<plugin>.so in the first folder that has it; each PATH is absolute. A regular file of root or of this
// process's user that others cannot write, nor any folder above it (a sticky one of root's is safe; root's group and
// this process's own may write), reached through no symbolic link; a sound ELF file for this machine and border that
// exports the entry alone, and that `verifier` does not refuse. In a user namespace, where owners outside of it cannot
// be told apart, their files count as root's. The error's message is one sentence that says what is wrong with it.
Result<std::shared_ptr<PluginFile>> open_plugin(const std::vector<std::filesystem::path>& path, std::string_view role,
                                                std::string_view plugin, trust::Verifier& verifier);

// The same of the file at an absolute path.
Result<std::shared_ptr<PluginFile>> open_plugin_file(const std::filesystem::path& path, std::string_view role,
                                                     trust::Verifier& verifier);

struct ChosenFile;
// A file that was judged before, by its descriptor (which stays the caller's).
Result<std::shared_ptr<PluginFile>> open_chosen(const ChosenFile& chosen, std::string_view role);

// The spelling in a note of the role that this kernel knows in that folder: "probe" -> "probe/1"; empty if none.
std::string_view known_role(std::string_view folder);

}  // namespace gantry::host
