// SPDX-License-Identifier: Apache-2.0
//
// How long what a plugin fills in must be at least. A plugin may be older than this kernel, so sizeof would be wrong
// once a struct has grown: here stands what SDK 1.0 says, for ever. A draft's structs are those of exactly this kernel.
#pragma once

#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <gantry/abi/probe.h>
#include <gantry/abi/runtime.h>
#include <gantry/abi/transport.h>

namespace gantry::host {

template <class T>
inline constexpr std::size_t kLeast = sizeof(T);

template <>
inline constexpr std::size_t kLeast<gantry_entry> = 48;
template <>
inline constexpr std::size_t kLeast<gantry_plugin> = 56;
template <>
inline constexpr std::size_t kLeast<gantry_principal> = 56;
template <>
inline constexpr std::size_t kLeast<gantry_control_request> = 64;
template <>
inline constexpr std::size_t kLeast<gantry_runtime_facts> = 40;
template <>
inline constexpr std::size_t kLeast<gantry_container> = 72;
template <>
inline constexpr std::size_t kLeast<gantry_container_list> = 24;
template <>
inline constexpr std::size_t kLeast<gantry_image_list> = 24;
template <>
inline constexpr std::size_t kLeast<gantry_probe_result> = 32;
template <>
inline constexpr std::size_t kLeast<gantry_transport_facts> = 24;
template <>
inline constexpr std::size_t kLeast<gantry_listen_result> = 24;
template <>
inline constexpr std::size_t kLeast<gantry_dial_result> = 16;
template <>
inline constexpr std::size_t kLeast<gantry_container_stats> = 32;
template <>
inline constexpr std::size_t kLeast<gantry_exec_result> = 8;

}  // namespace gantry::host
