// SPDX-License-Identifier: Apache-2.0
//
// What the adapters of all roles share: calling slots of a table, and asking operations.
#pragma once

#include <optional>

#include <gantry/abi/directory.h>
#include <gantry/abi/discovery.h>
#include <gantry/abi/frontend.h>
#include <gantry/abi/placement.h>
#include <gantry/abi/probe.h>
#include <gantry/abi/runtime.h>
#include <gantry/abi/store.h>
#include <gantry/abi/transport.h>

#include "kernel/host/border.hpp"
#include "kernel/host/context.hpp"
#include "kernel/host/isolation.hpp"

namespace gantry::host {

// One running instance as an adapter sees it.
template <class Table>
struct Site {
    std::shared_ptr<Context> context;
    void* self = nullptr;
    const Table* table = nullptr;

    // The plugin's table is long enough for that slot, and it is filled.
    template <class Slot>
    bool has(Slot Table::*slot) const {
        const auto* const base = reinterpret_cast<const char*>(table);
        const auto* const end = reinterpret_cast<const char*>(&(table->*slot) + 1);
        return static_cast<std::size_t>(end - base) <= table->struct_size && table->*slot != nullptr;
    }

    // Calls a slot on the loop, with the clock running.
    template <class Slot, class... Args>
    gantry_status call(const char* name, Slot Table::*slot, Args... args) const {
        if (!has(slot)) return GANTRY_UNSUPPORTED;
        return context->timed(name, [&] { return (table->*slot)(self, args...); });
    }

    // Asks an operation; raise(const void*) -> T copies the result. Returns the operation's id.
    template <class T, class Raise, class Slot, class... Args>
    std::uint64_t ask(const char* name, Duration limit, Done<T> done, Raise raise, Slot Table::*slot,
                      Args... args) const {
        return ask_result<T>(name, limit, std::move(done), raise, [&](gantry_op op) {
            return has(slot) ? (table->*slot)(self, op, args...) : GANTRY_UNSUPPORTED;
        });
    }

    // The same, with the slot called by call(gantry_op).
    template <class T, class Raise, class Call>
    std::uint64_t ask_result(const char* name, Duration limit, Done<T> done, Raise raise, Call&& call) const {
        auto value = std::make_shared<std::optional<T>>();
        Operations::Call framed = frame(limit);
        framed.decode = [value, raise](const void* raw) { *value = raise(raw); };
        framed.ended = [value, done = std::move(done), who = who(name)](gantry_status status, const std::string& text) {
            if (status != GANTRY_OK) return done(failed(who, status, text));
            if (!*value) return done(fail(Code::kUnknown, who + ": answered without a result"));
            done(std::move(**value));
        };
        return begin(name, std::move(framed), call);
    }

    // The same for an operation without a result.
    template <class Slot, class... Args>
    std::uint64_t ask(const char* name, Duration limit, Done<void> done, Slot Table::*slot, Args... args) const {
        return ask_by(name, limit, std::move(done),
                      [&](gantry_op op) { return has(slot) ? (table->*slot)(self, op, args...) : GANTRY_UNSUPPORTED; });
    }

    // The same, with the slot called by call(gantry_op).
    template <class Call>
    std::uint64_t ask_by(const char* name, Duration limit, Done<void> done, Call&& call) const {
        Operations::Call framed = frame(limit);
        framed.ended = [done = std::move(done), who = who(name)](gantry_status status, const std::string& text) {
            if (status != GANTRY_OK) return done(failed(who, status, text));
            done({});
        };
        return begin(name, std::move(framed), call);
    }

    // "runtime.oci: create"
    std::string who(const char* name) const { return context->name + ": " + name; }

    static std::unexpected<Error> failed(const std::string& who, gantry_status status, const std::string& text) {
        return fail(code_of(status), who + ": " + (text.empty() ? std::string(status_text(status)) : text));
    }

  private:
    Operations::Call frame(Duration limit) const {
        Operations::Call call;
        call.handle = context->handle;
        call.deadline = limit == Duration::max() ? kNever : boottime_now() + limit;
        call.pending = context->pending;
        return call;
    }

    template <class Call>
    std::uint64_t begin(const char* name, Operations::Call framed, Call&& call) const {
        const std::int64_t deadline = framed.deadline.ns;
        const std::uint64_t id = context->core->operations.begin(std::move(framed));
        const gantry_status status = context->timed(name, [&] { return call(gantry_op{id, deadline}); });
        if (status != GANTRY_OK) context->core->operations.refused(id, status);
        return id;
    }
};

// Brings what an instance reports to its adapter, in a later turn of the loop. [any]
template <class Adapter, class F>
gantry_status report(std::uint64_t handle, F tell) noexcept {
    try {
        const std::shared_ptr<Context> context = Context::find(handle);
        if (context == nullptr) return GANTRY_STALE;
        context->core->loop.post([context, tell = std::move(tell)]() mutable {
            void* const target = context->sink_target;
            if (context->alive() && target != nullptr) tell(*static_cast<Adapter*>(target));
        });
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

// What an instance offers: exactly one of them.
struct Adapters {
    std::unique_ptr<Discovery> discovery;
    std::unique_ptr<Placement> placement;
    std::unique_ptr<Runtime> runtime;
    std::unique_ptr<Probe> probe;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Directory> directory;
    std::unique_ptr<Store> store;
};

std::unique_ptr<Placement> adapt(Site<gantry_placement> site);
std::unique_ptr<Placement> adapt(Site<AskedPlacement> site);
std::unique_ptr<Discovery> adapt(Site<gantry_discovery> site);
std::unique_ptr<Directory> adapt(Site<gantry_directory> site);
std::unique_ptr<Probe> adapt(Site<gantry_probe> site);
std::unique_ptr<Store> adapt(Site<gantry_store> site);
// These two bind their sink, so they are made before the instance starts.
std::unique_ptr<Runtime> adapt(Site<gantry_runtime> site);
std::unique_ptr<Transport> adapt(Site<gantry_transport> site);

}  // namespace gantry::host
