// SPDX-License-Identifier: Apache-2.0
//
// An entry for a plugin class of a test, as GANTRY_PLUGIN makes one per file.
#pragma once

#include <gantry/plugin.hpp>

template <class T>
const gantry_entry& entry_of() {
    static const gantry_entry entry{sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,
                                    GANTRY_ABI_MAJOR,     GANTRY_ABI_MINOR,
                                    "org.gantry.test",    "1.0.0",
                                    T::kRole.data(),      &gantry::PluginEntry<T>::create};
    return entry;
}
