// SPDX-License-Identifier: Apache-2.0
//
// Plugin: the life of an instance, and GANTRY_PLUGIN, the one line that makes a class a plugin. Authors derive from
// the class of a role (gantry/placement.hpp, gantry/runtime.hpp ...), which derives from this.
#pragma once

#include <gantry/abi/entry.h>

#include <gantry/config.hpp>
#include <gantry/host.hpp>
#include <memory>
#include <optional>

namespace gantry::inline v1 {

class Plugin {
  public:
    Plugin() = default;
    virtual ~Plugin() = default;
    Plugin(const Plugin&) = delete;
    Plugin& operator=(const Plugin&) = delete;

    // Takes the configuration. Throw Failure(kInvalid, what the operator must change). [loop]
    virtual void init(const Config&) {}
    // Begins to work; threads, timers and sockets from here on. [loop]
    virtual void start() {}
    // Ends all work and joins all threads of the plugin before `deadline`. Called also when start failed. The loop
    // does not turn meanwhile: wait for no callback here. [worker]
    virtual void stop(Instant deadline) { (void)deadline; }

  protected:
    // From init on, and until the destructor returned. [any]
    Host& host() { return *host_; }
    const Host& host() const { return *host_; }

  private:
    template <class T>
    friend struct PluginEntry;

    virtual const void* role_table() const noexcept = 0;
    // After a successful init: what the role's table says about the instance.
    virtual void publish_facts() {}

    std::optional<Host> host_;
};

namespace detail {

// Runs the slot of a notification, which has no room for a text: an exception is logged and becomes a status.
template <class F>
gantry_status notified(const Host& host, std::string_view slot, F&& body) noexcept {
    char text[512];
    gantry_error error{sizeof(error), sizeof(text), text, 0, 0};
    const gantry_status status = guarded(&error, body);
    if (status == GANTRY_OK) return status;
    guarded(nullptr, [&] { host.error(std::string(slot) + ": " + std::string(text, error.text_len)); });
    return status;
}

}  // namespace detail

// The entry of class T; used by GANTRY_PLUGIN.
template <class T>
struct PluginEntry {
    static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) noexcept {
        return detail::guarded(error, [&] {
            auto made = std::make_unique<T>();
            Plugin* plugin = made.get();
            plugin->host_.emplace(*host);
            const gantry_plugin table{sizeof(gantry_plugin), 0, plugin, &init, &start, &stop, &destroy, &query};
            const std::uint32_t room = std::min<std::uint32_t>(out->struct_size, sizeof(table));
            if (room < sizeof(std::uint32_t)) throw Failure(Code::kInvalid, "the host's plugin table has no size");
            std::memcpy(out, &table, room);
            out->struct_size = room;
            made.release();
        });
    }

  private:
    static Plugin* of(void* self) noexcept { return static_cast<Plugin*>(self); }
    static gantry_status init(void* self, const gantry_config* config, gantry_error* error) noexcept {
        return detail::guarded(error, [&] {
            of(self)->init(Config(*config));
            of(self)->publish_facts();
        });
    }
    static gantry_status start(void* self, gantry_error* error) noexcept {
        return detail::guarded(error, [&] { of(self)->start(); });
    }
    static gantry_status stop(void* self, std::int64_t deadline_ns, gantry_error* error) noexcept {
        return detail::guarded(error, [&] { of(self)->stop(Instant(deadline_ns)); });
    }
    static void destroy(void* self) noexcept {
        of(self)->host_->drop_callables();  // while the members they refer to are alive
        delete of(self);
    }
    static const void* query(void* self, gantry_str id) noexcept {
        return view(id) == T::kInterface ? of(self)->role_table() : nullptr;
    }
};

}  // namespace gantry::inline v1

// Makes Class the plugin of this file. gantry_add_plugin() defines the three names from plugin.toml.
#define GANTRY_PLUGIN(Class)                                                                  \
    static_assert(Class::kRole == std::string_view(GANTRY_PLUGIN_ROLE),                       \
                  "the role in plugin.toml is not that of the class");                        \
    extern "C" __attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry; \
    const gantry_entry gantry_plugin_entry = {                                                \
        sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,    GANTRY_ABI_MAJOR,   GANTRY_ABI_MINOR,    \
        GANTRY_PLUGIN_ID,     GANTRY_PLUGIN_VERSION, GANTRY_PLUGIN_ROLE, &gantry::PluginEntry<Class>::create};
