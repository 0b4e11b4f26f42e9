// SPDX-License-Identifier: Apache-2.0
//
// A plugin's code in this process. A file is loaded once, from the descriptor that was checked, and never unloaded.
#pragma once

#include <gantry/abi/entry.h>

#include <memory>

#include "kernel/host/file.hpp"

namespace gantry::host {

class Library {
  public:
    // The library of that file, loaded now or before.
    static Result<std::shared_ptr<const Library>> load(const PluginFile& file);

    // Makes an instance with every slot that SDK 1.0 asks for. [loop]
    Status create(const gantry_host& host, gantry_plugin& out) const;
    // Somewhere in it.
    const void* address() const { return entry_; }

  private:
    Library() = default;
    const gantry_entry* entry_ = nullptr;
};

}  // namespace gantry::host
