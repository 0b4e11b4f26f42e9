// SPDX-License-Identifier: Apache-2.0
//
// From the border's results to values.
#include <gantry/testing/drivers.hpp>

namespace gantry::testing {

template <>
ProbeResult read_result(const void* raw) {
    const auto& r = *static_cast<const gantry_probe_result*>(raw);
    return {static_cast<Verdict>(r.verdict), Duration(r.latency_ns), text(r.detail)};
}

template <>
StoreEntries read_result(const void* raw) {
    const auto& r = *static_cast<const gantry_store_entries*>(raw);
    StoreEntries out;
    out.revision = r.revision;
    for (std::size_t i = 0; i < r.count; ++i) {
        const gantry_store_entry& e = *detail::element(r.entries, r.entry_size, i);
        out.entries.push_back({text(e.key), std::string(view(e.value)), e.revision});
    }
    return out;
}

template <>
StoreCommit read_result(const void* raw) {
    return {static_cast<const gantry_store_commit*>(raw)->revision};
}

template <>
Listening read_result(const void* raw) {
    return {text(static_cast<const gantry_listen_result*>(raw)->address)};
}

template <>
Dialled read_result(const void* raw) {
    return {static_cast<const gantry_dial_result*>(raw)->peer};
}

template <>
ImageList read_result(const void* raw) {
    const auto& r = *static_cast<const gantry_image_list*>(raw);
    return {texts(r.images, r.count)};
}

template <>
ContainerList read_result(const void* raw) {
    const auto& r = *static_cast<const gantry_container_list*>(raw);
    ContainerList out;
    for (std::size_t i = 0; i < r.count; ++i) {
        const gantry_container& c = *detail::element(r.containers, r.container_size, i);
        out.containers.push_back({text(c.name), static_cast<ContainerState>(c.state), c.exit_code, c.pid,
                                  Instant(c.started_ns), text(c.detail), labels(c.labels, c.label_count)});
    }
    return out;
}

template <>
ContainerStats read_result(const void* raw) {
    const auto& r = *static_cast<const gantry_container_stats*>(raw);
    return {Duration(r.cpu_ns), r.memory_bytes, r.pids};
}

template <>
ExecResult read_result(const void* raw) {
    return {static_cast<const gantry_exec_result*>(raw)->exit_code};
}

}  // namespace gantry::testing
