// SPDX-License-Identifier: Apache-2.0
//
// A fake host that can be told to watch no more descriptors, as the real one does when it is full.
#pragma once

#include <dlfcn.h>
#include <gantry/abi/host.h>

#include <gantry/testing/fake_host.hpp>

namespace refusing_host {

inline bool refuses = false;
inline const gantry_entry* plugin = nullptr;
inline const gantry_host_io* host_io = nullptr;
inline const void* (*host_query)(std::uint64_t, gantry_str) = nullptr;
inline gantry_host_io io;

inline gantry_status watch(std::uint64_t handle, std::int32_t fd, std::uint32_t events, gantry_io_fn fn, void* arg,
                           std::uint64_t* out) noexcept {
    return refuses ? GANTRY_FULL : host_io->watch(handle, fd, events, fn, arg, out);
}

inline const void* query(std::uint64_t handle, gantry_str id) noexcept {
    const void* table = host_query(handle, id);
    if (table == nullptr || gantry::view(id) != GANTRY_HOST_IO) return table;
    host_io = static_cast<const gantry_host_io*>(table);
    io = *host_io;
    io.watch = &watch;
    return &io;
}

inline gantry_status create(const gantry_host* given, gantry_plugin* out, gantry_error* error) noexcept {
    gantry_host mine = *given;
    host_query = mine.query;
    mine.query = &query;
    return plugin->create(&mine, out, error);
}

// The plugin that gantry_use_plugin() names, in a host that refuses watches while `refuses` is true.
inline gantry::testing::Instance& load(gantry::testing::FakeHost& into, gantry::testing::Settings settings = {}) {
    settings.apply_schema_of(GANTRY_PLUGIN_FILE);
    void* library = ::dlopen(GANTRY_PLUGIN_FILE, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw gantry::Failure(gantry::Code::kInvalid, ::dlerror());
    plugin = static_cast<const gantry_entry*>(::dlsym(library, GANTRY_ENTRY_SYMBOL));
    static gantry_entry entry;
    entry = *plugin;
    entry.create = &create;
    refuses = false;
    return into.load(entry, std::move(settings));
}

}  // namespace refusing_host
