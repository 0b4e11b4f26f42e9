// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/roles.hpp"

#include <gantry/abi/frontend.h>

#include <algorithm>

namespace gantry::isolation {
namespace {

// clang-format off
using RuntimeSlots = Slots<
    LastingNotification<&gantry_runtime::bind, Lasting::kBeforeStart, Sink>,
    Operation<&gantry_runtime::ensure_image>,
    Operation<&gantry_runtime::images, gantry_image_list>,
    Operation<&gantry_runtime::remove_image>,
    Operation<&gantry_runtime::create>,
    Operation<&gantry_runtime::start>,
    Operation<&gantry_runtime::stop>,
    Operation<&gantry_runtime::kill>,
    Operation<&gantry_runtime::pause>,
    Operation<&gantry_runtime::resume>,
    Operation<&gantry_runtime::remove>,
    Operation<&gantry_runtime::list, gantry_container_list>,
    Operation<&gantry_runtime::stats, gantry_container_stats>,
    Operation<&gantry_runtime::logs>,
    Operation<&gantry_runtime::exec, gantry_exec_result>,
    Operation<&gantry_runtime::checkpoint>,
    Operation<&gantry_runtime::restore>>;
constexpr auto kRuntime = RuntimeSlots::describe(
    "bind", "ensure_image", "images", "remove_image", "create", "start", "stop", "kill", "pause", "resume", "remove",
    "list", "stats", "logs", "exec", "checkpoint", "restore");
using RuntimeSink = Slots<
    Notification<&gantry_runtime_sink::exited>,
    Notification<&gantry_runtime_sink::changed>>;
constexpr auto kRuntimeSink = RuntimeSink::describe("exited", "changed");

using ProbeSlots = Slots<
    Operation<&gantry_probe::check, gantry_probe_result>>;
constexpr auto kProbe = ProbeSlots::describe("check");

using PlacementSlots = Slots<
    Operation<&host::AskedPlacement::score, host::PlacementKeys, Value, Value, Elements>>;
constexpr auto kPlacement = PlacementSlots::describe("score");

using TransportSlots = Slots<
    LastingNotification<&gantry_transport::bind, Lasting::kBeforeStart, Sink>,
    LastingOperation<&gantry_transport::listen, Lasting::kAfterStart, gantry_listen_result>,
    Operation<&gantry_transport::dial, gantry_dial_result>,
    Notification<&gantry_transport::send>,
    Notification<&gantry_transport::close>,
    Operation<&gantry_transport::open_stream, void, Value, Value, Stream>>;
constexpr auto kTransport = TransportSlots::describe("bind", "listen", "dial", "send", "close", "open_stream");
using TransportSink = Slots<
    Notification<&gantry_transport_sink::up>,
    Notification<&gantry_transport_sink::message>,
    Notification<&gantry_transport_sink::down>,
    Notification<&gantry_transport_sink::writable>,
    Notification<&gantry_transport_sink::refused>,
    Notification<&gantry_transport_sink::stream, Value, Value, Stream>>;
constexpr auto kTransportSink =
    TransportSink::describe("up", "message", "down", "writable", "refused", "stream");

using DirectorySlots = Slots<
    LastingNotification<&gantry_directory::replace, Lasting::kAfterStart, Value, SizedElements>>;
constexpr auto kDirectory = DirectorySlots::describe("replace");

using DiscoverySlots = Slots<
    LastingNotification<&gantry_discovery::start, Lasting::kAfterStart, Sink>,
    Notification<&gantry_discovery::stop>,
    Notification<&gantry_discovery::refresh>>;
constexpr auto kDiscovery = DiscoverySlots::describe("start", "stop", "refresh");
using DiscoverySink = Slots<
    Notification<&gantry_discovery_sink::found>,
    Notification<&gantry_discovery_sink::gone>>;
constexpr auto kDiscoverySink = DiscoverySink::describe("found", "gone");

using StoreSlots = Slots<
    Operation<&gantry_store::load, gantry_store_entries>,
    Operation<&gantry_store::commit, gantry_store_commit>,
    Operation<&gantry_store::elect>>;
constexpr auto kStore = StoreSlots::describe("load", "commit", "elect");

using LogSlots = Slots<
    Notification<&gantry_host_log::log, Value, Value, Elements>,
    Notification<&gantry_host_log::event, Value, Value, Elements>,
    Notification<&gantry_host_log::metric>>;
constexpr auto kLog = LogSlots::describe("log", "event", "metric");
// clang-format on

// A table of proxies to report to; none of a role that reports nothing.
template <class List, class T, std::uint16_t kNumber>
const T* reporting() {
    static const T table = [] {
        T out{};
        List::template proxy<kNumber>(out);
        return out;
    }();
    return &table;
}

template <class T>
void put_facts(Writer& w, const void* raw, void* self) {
    const T& table = *static_cast<const T*>(raw);
    if constexpr (requires { table.key_names; }) {
        w.number(std::min<std::uint32_t>(table.key_count, GANTRY_PLACEMENT_KEYS));
        put(w, table.key_names);
    } else if constexpr (requires { table.facts; }) {
        const bool there = offers(&table, &T::facts);
        w.number<std::uint8_t>(there ? 1 : 0);
        if (there) put(w, host::result<std::remove_cvref_t<decltype(*table.facts)>>(table.facts));
    } else if constexpr (requires { table.address; }) {
        put(w, offers(&table, &T::address) ? table.address(self) : gantry_str{});
    }
}

template <class T>
void take_facts(Reader& r, T& table) {
    if constexpr (requires { table.key_names; }) {
        table.key_count = std::min<std::uint32_t>(r.number<std::uint32_t>(), GANTRY_PLACEMENT_KEYS);
        take(r, table.key_names);
    } else if constexpr (requires { table.facts; }) {
        if (r.number<std::uint8_t>() == 0) return;
        using Facts = std::remove_const_t<std::remove_pointer_t<decltype(table.facts)>>;
        auto* const facts = r.make<Facts>();
        take(r, *facts);
        table.facts = facts;
    }
}

std::uint64_t offered(std::span<const Slot> slots, const void* table) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) bits |= std::uint64_t{slots[i].offered(table)} << i;
    return bits;
}

// What is the same for every role with slots.
template <class T, class List, const auto& kSlots>
struct Facts {
    static void put_all(Writer& w, const void* table, void* self) {
        w.number(offered(kSlots, table));
        put_facts<T>(w, table, self);
    }
    static void take_all(Reader& r, void* room) {
        static_assert(sizeof(T) <= kTableRoom);
        T& table = *static_cast<T*>(room);
        table = {};
        List::template proxy<kRoleTable>(table, r.number<std::uint64_t>());
        take_facts(r, table);
    }
};

// A frontend has no slot but one that says where its door is.
struct FrontendFacts {
    static void put_all(Writer& w, const void* table, void* self) { put_facts<gantry_frontend>(w, table, self); }
    static void take_all(Reader&, void* room) {
        *static_cast<gantry_frontend*>(room) = {sizeof(gantry_frontend), 0, [](void* self) noexcept -> gantry_str {
                                                    return static_cast<const Caller*>(self)->address();
                                                }};
    }
};

template <class F>
Role make(std::string_view interface, std::span<const Slot> slots, std::span<const Slot> sink = {},
          const void* sink_proxy = nullptr) {
    return {interface, slots, sink, sink_proxy, &F::put_all, &F::take_all};
}

}  // namespace

const Role* find_role(std::string_view interface) {
    static const std::array<Role, 8> roles{
        make<Facts<gantry_runtime, RuntimeSlots, kRuntime>>(GANTRY_ROLE_RUNTIME, kRuntime, kRuntimeSink,
                                                            reporting<RuntimeSink, gantry_runtime_sink, kSinkTable>()),
        make<Facts<gantry_probe, ProbeSlots, kProbe>>(GANTRY_ROLE_PROBE, kProbe),
        make<Facts<host::AskedPlacement, PlacementSlots, kPlacement>>(GANTRY_ROLE_PLACEMENT, kPlacement),
        make<Facts<gantry_transport, TransportSlots, kTransport>>(
            GANTRY_ROLE_TRANSPORT, kTransport, kTransportSink,
            reporting<TransportSink, gantry_transport_sink, kSinkTable>()),
        make<Facts<gantry_directory, DirectorySlots, kDirectory>>(GANTRY_ROLE_DIRECTORY, kDirectory),
        make<Facts<gantry_discovery, DiscoverySlots, kDiscovery>>(
            GANTRY_ROLE_DISCOVERY, kDiscovery, kDiscoverySink,
            reporting<DiscoverySink, gantry_discovery_sink, kSinkTable>()),
        make<Facts<gantry_store, StoreSlots, kStore>>(GANTRY_ROLE_STORE, kStore),
        make<FrontendFacts>(GANTRY_ROLE_FRONTEND, {})};
    const auto* const it = std::ranges::find(roles, interface, &Role::interface);
    return it == roles.end() ? nullptr : it;
}

std::span<const Slot> log_slots() { return kLog; }
const gantry_host_log* log_proxy() { return reporting<LogSlots, gantry_host_log, kLogTable>(); }

}  // namespace gantry::isolation
