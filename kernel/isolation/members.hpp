// SPDX-License-Identifier: Apache-2.0
//
// What each struct of the border consists of: one description, from which both directions follow. struct_size is not
// among the members: it is set again on the other side.
#pragma once

#include <gantry/abi/directory.h>
#include <gantry/abi/discovery.h>
#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <gantry/abi/probe.h>
#include <gantry/abi/runtime.h>
#include <gantry/abi/store.h>
#include <gantry/abi/transport.h>

#include <tuple>

#include "kernel/host/border.hpp"
#include "kernel/host/isolation.hpp"
#include "kernel/isolation/wire.hpp"

namespace gantry::isolation {

// `count` elements at `first`, without a gap.
template <class T, class E>
struct List {
    const E* T::*first;
    std::size_t T::*count;
};
// `count` elements at `first`, `size` bytes from one to the next.
template <class T, class E, class S>
struct Sized {
    const E* T::*first;
    S T::*size;
    std::size_t T::*count;
};
template <class T>
struct Descriptor {
    std::int32_t T::*fd;
};
template <class T, class E>
List(const E* T::*, std::size_t T::*) -> List<T, E>;
template <class T, class E, class S>
Sized(const E* T::*, S T::*, std::size_t T::*) -> Sized<T, E, S>;
template <class T>
Descriptor(std::int32_t T::*) -> Descriptor<T>;

template <class T>
inline constexpr std::tuple<> kMembers{};

template <>
inline constexpr auto kMembers<gantry_kv> = std::tuple{&gantry_kv::key, &gantry_kv::value};

// --- runtime
template <>
inline constexpr auto kMembers<gantry_runtime_facts> =
    std::tuple{&gantry_runtime_facts::capabilities, &gantry_runtime_facts::system,
               List{&gantry_runtime_facts::architectures, &gantry_runtime_facts::architecture_count}};
template <>
inline constexpr auto kMembers<gantry_mount> =
    std::tuple{&gantry_mount::source, &gantry_mount::target, &gantry_mount::read_only, &gantry_mount::flags};
template <>
inline constexpr auto kMembers<gantry_container_spec> = std::tuple{
    &gantry_container_spec::stop_signal,
    &gantry_container_spec::name,
    &gantry_container_spec::image,
    &gantry_container_spec::hostname,
    &gantry_container_spec::cwd,
    &gantry_container_spec::user,
    List{&gantry_container_spec::args, &gantry_container_spec::arg_count},
    List{&gantry_container_spec::env, &gantry_container_spec::env_count},
    Sized{&gantry_container_spec::mounts, &gantry_container_spec::mount_size, &gantry_container_spec::mount_count},
    &gantry_container_spec::cpu_milli,
    &gantry_container_spec::memory_bytes,
    &gantry_container_spec::pids,
    List{&gantry_container_spec::labels, &gantry_container_spec::label_count},
    &gantry_container_spec::settings};
template <>
inline constexpr auto kMembers<gantry_image_source> =
    std::tuple{&gantry_image_source::flags, &gantry_image_source::image, &gantry_image_source::layout_dir};
template <>
inline constexpr auto kMembers<gantry_container> =
    std::tuple{&gantry_container::name,
               &gantry_container::state,
               &gantry_container::exit_code,
               &gantry_container::pid,
               &gantry_container::started_ns,
               &gantry_container::detail,
               List{&gantry_container::labels, &gantry_container::label_count}};
template <>
inline constexpr auto kMembers<gantry_container_list> = std::tuple{
    Sized{&gantry_container_list::containers, &gantry_container_list::container_size, &gantry_container_list::count}};
template <>
inline constexpr auto kMembers<gantry_image_list> =
    std::tuple{List{&gantry_image_list::images, &gantry_image_list::count}};
template <>
inline constexpr auto kMembers<gantry_container_stats> =
    std::tuple{&gantry_container_stats::cpu_ns, &gantry_container_stats::memory_bytes, &gantry_container_stats::pids};
template <>
inline constexpr auto kMembers<gantry_log_request> =
    std::tuple{&gantry_log_request::follow, &gantry_log_request::name, &gantry_log_request::tail_lines,
               Descriptor{&gantry_log_request::fd}, &gantry_log_request::since_ns};
template <>
inline constexpr auto kMembers<gantry_exec_request> =
    std::tuple{&gantry_exec_request::terminal, &gantry_exec_request::name,
               List{&gantry_exec_request::args, &gantry_exec_request::arg_count}, Descriptor{&gantry_exec_request::fd}};
template <>
inline constexpr auto kMembers<gantry_exec_result> = std::tuple{&gantry_exec_result::exit_code};

// --- probe
template <>
inline constexpr auto kMembers<gantry_probe_request> =
    std::tuple{&gantry_probe_request::port, &gantry_probe_request::container, &gantry_probe_request::address,
               List{&gantry_probe_request::params, &gantry_probe_request::param_count}};
template <>
inline constexpr auto kMembers<gantry_probe_result> =
    std::tuple{&gantry_probe_result::verdict, &gantry_probe_result::latency_ns, &gantry_probe_result::detail};

// --- placement
template <>
inline constexpr auto kMembers<gantry_snapshot> =
    std::tuple{&gantry_snapshot::nodes_total, &gantry_snapshot::nodes_ready, &gantry_snapshot::copies_total};
template <>
inline constexpr auto kMembers<gantry_placement_request> = std::tuple{
    &gantry_placement_request::candidate_size, &gantry_placement_request::service, &gantry_placement_request::cpu_milli,
    &gantry_placement_request::memory_bytes, &gantry_placement_request::instances_wanted};
template <>
inline constexpr auto kMembers<gantry_candidate> =
    std::tuple{&gantry_candidate::node,
               &gantry_candidate::cpu_total_milli,
               &gantry_candidate::cpu_free_milli,
               &gantry_candidate::memory_total_bytes,
               &gantry_candidate::memory_free_bytes,
               &gantry_candidate::copies_running,
               &gantry_candidate::copies_pending,
               &gantry_candidate::copies_of_service,
               &gantry_candidate::has_image,
               List{&gantry_candidate::labels, &gantry_candidate::label_count}};
template <>
inline constexpr auto kMembers<host::PlacementKeys> =
    std::tuple{List{&host::PlacementKeys::keys, &host::PlacementKeys::count}};

// --- transport
template <>
inline constexpr auto kMembers<gantry_transport_facts> =
    std::tuple{&gantry_transport_facts::encrypted, &gantry_transport_facts::message_max_bytes,
               &gantry_transport_facts::queue_max_bytes};
template <>
inline constexpr auto kMembers<gantry_listen_result> = std::tuple{&gantry_listen_result::address};
template <>
inline constexpr auto kMembers<gantry_dial_result> = std::tuple{&gantry_dial_result::peer};

// --- discovery, directory
template <>
inline constexpr auto kMembers<gantry_discovered> = std::tuple{&gantry_discovered::kind, &gantry_discovered::name,
                                                               &gantry_discovered::address, &gantry_discovered::ttl_ns};
template <>
inline constexpr auto kMembers<gantry_name_record> =
    std::tuple{&gantry_name_record::name, &gantry_name_record::address, &gantry_name_record::port,
               &gantry_name_record::secure, &gantry_name_record::local};
template <>
inline constexpr auto kMembers<gantry_directory_facts> =
    std::tuple{&gantry_directory_facts::port, &gantry_directory_facts::environment};

// --- store
template <>
inline constexpr auto kMembers<gantry_store_entry> =
    std::tuple{&gantry_store_entry::key, &gantry_store_entry::value, &gantry_store_entry::revision};
template <>
inline constexpr auto kMembers<gantry_store_entries> =
    std::tuple{Sized{&gantry_store_entries::entries, &gantry_store_entries::entry_size, &gantry_store_entries::count},
               &gantry_store_entries::revision};
template <>
inline constexpr auto kMembers<gantry_store_change> =
    std::tuple{&gantry_store_change::key, &gantry_store_change::value, &gantry_store_change::expected,
               &gantry_store_change::remove};
template <>
inline constexpr auto kMembers<gantry_store_batch> =
    std::tuple{&gantry_store_batch::use_reserve,
               Sized{&gantry_store_batch::changes, &gantry_store_batch::change_size, &gantry_store_batch::count}};
template <>
inline constexpr auto kMembers<gantry_store_commit> = std::tuple{&gantry_store_commit::revision};

// --- control, configuration
template <>
inline constexpr auto kMembers<gantry_principal> =
    std::tuple{&gantry_principal::kind, &gantry_principal::name, &gantry_principal::uid, &gantry_principal::gid};
template <>
inline constexpr auto kMembers<gantry_control_response> =
    std::tuple{&gantry_control_response::code, &gantry_control_response::revision, &gantry_control_response::body};
template <>
inline constexpr auto kMembers<gantry_config_value> =
    std::tuple{&gantry_config_value::key,
               &gantry_config_value::type,
               &gantry_config_value::given,
               &gantry_config_value::integer,
               &gantry_config_value::number,
               &gantry_config_value::string,
               List{&gantry_config_value::list, &gantry_config_value::list_len}};
template <>
inline constexpr auto kMembers<gantry_config> =
    std::tuple{&gantry_config::name, &gantry_config::state_dir,
               Sized{&gantry_config::values, &gantry_config::value_size, &gantry_config::count}};

template <class T>
concept Described = std::tuple_size_v<std::remove_const_t<decltype(kMembers<T>)>> >
0;

// --- both directions ------------------------------------------------------------------------------------------------

// Least bytes that an element takes: what bounds the memory that a count can claim.
template <class E>
constexpr std::size_t least();
template <class T, class M>
constexpr std::size_t least_of(M T::*) {
    return least<M>();
}
template <class M>
constexpr std::size_t least_of(const M&) {
    return sizeof(std::uint64_t);  // a count
}
template <class T>
constexpr std::size_t least_of(const Descriptor<T>&) {
    return 0;
}
template <class E>
constexpr std::size_t least() {
    if constexpr (Described<E>)
        return std::apply([](const auto&... member) { return (std::size_t{0} + ... + least_of(member)); }, kMembers<E>);
    else if constexpr (std::is_array_v<E>)
        return std::extent_v<E> * least<std::remove_extent_t<E>>();
    else if constexpr (std::is_arithmetic_v<E>)
        return sizeof(E);
    else
        return sizeof(std::uint64_t);  // a text's length
}

template <class T>
requires std::is_arithmetic_v<T>
void put(Writer& w, const T& value) { w.number(value); }
inline void put(Writer& w, const gantry_str& value) { w.text(host::view(value)); }
inline void put(Writer& w, const gantry_bytes& value) { w.text(host::view(value)); }
template <class E, std::size_t N>
void put(Writer& w, const E (&value)[N]) {
    for (const E& one : value) put(w, one);
}
template <Described T>
void put(Writer& w, const T& value);

template <class T>
requires std::is_arithmetic_v<T>
void take(Reader& r, T& value) { value = r.number<T>(); }
inline void take(Reader& r, gantry_str& value) { value = host::str(r.text()); }
inline void take(Reader& r, gantry_bytes& value) { value = host::bytes(r.text()); }
template <class E, std::size_t N>
void take(Reader& r, E (&value)[N]) {
    for (E& one : value) take(r, one);
}
template <Described T>
void take(Reader& r, T& value);

template <class E>
void put_elements(Writer& w, const E* first, std::size_t count) {
    w.number<std::uint64_t>(count);
    for (std::size_t i = 0; i < count; ++i) put(w, first[i]);
}
// Throws if they are shorter than they must be: only a plugin's can be.
template <class E>
void put_elements(Writer& w, const E* first, std::size_t size, std::size_t count) {
    w.number<std::uint64_t>(count);
    for (std::size_t i = 0; i < count; ++i) put(w, host::element(first, size, i));
}
template <class E>
void take_elements(Reader& r, const E*& first, std::size_t& count) {
    count = r.count(least<E>());
    E* const made = r.make<E>(count);
    for (std::size_t i = 0; i < count && r.good(); ++i) take(r, made[i]);
    first = made;
}

template <class T, class M>
void put_member(Writer& w, const T& of, M T::*member) {
    put(w, of.*member);
}
template <class T, class E>
void put_member(Writer& w, const T& of, const List<T, E>& list) {
    put_elements(w, of.*list.first, of.*list.count);
}
template <class T, class E, class S>
void put_member(Writer& w, const T& of, const Sized<T, E, S>& list) {
    put_elements(w, of.*list.first, of.*list.size, of.*list.count);
}
template <class T>
void put_member(Writer& w, const T& of, const Descriptor<T>& member) {
    w.descriptor(of.*member.fd);
}

template <class T, class M>
void take_member(Reader& r, T& of, M T::*member) {
    take(r, of.*member);
}
template <class T, class E>
void take_member(Reader& r, T& of, const List<T, E>& list) {
    take_elements(r, of.*list.first, of.*list.count);
}
template <class T, class E, class S>
void take_member(Reader& r, T& of, const Sized<T, E, S>& list) {
    take_elements(r, of.*list.first, of.*list.count);
    of.*list.size = sizeof(E);
}
template <class T>
void take_member(Reader& r, T& of, const Descriptor<T>& member) {
    of.*member.fd = r.descriptor();
}

template <Described T>
void put(Writer& w, const T& value) {
    std::apply([&](const auto&... member) { (put_member(w, value, member), ...); }, kMembers<T>);
}
template <Described T>
void take(Reader& r, T& value) {
    if constexpr (requires { value.struct_size; }) value.struct_size = sizeof(T);
    std::apply([&](const auto&... member) { (take_member(r, value, member), ...); }, kMembers<T>);
}

}  // namespace gantry::isolation
