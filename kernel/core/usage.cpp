// SPDX-License-Identifier: Apache-2.0
//
// What nodes and copies use, as reports carry it and as documents show it. Nothing is decided by it.
#include <algorithm>
#include <array>

#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

struct Gauge {
    std::string_view on_wire, shown;
    std::optional<std::int64_t> Usage::*value;
    std::int64_t min = 0, max = INT64_MAX;
};
constexpr std::array<Gauge, 8> kGauges = {{
    {"disk", "disk_total_bytes", &Usage::disk_total_bytes},
    {"disk_free", "disk_free_bytes", &Usage::disk_free_bytes},
    {"received", "received_bytes_per_s", &Usage::received_per_s},
    {"sent", "sent_bytes_per_s", &Usage::sent_per_s},
    {"cpu_some", "pressure_cpu_permille", &Usage::pressure_cpu, 0, 1'000},
    {"memory_some", "pressure_memory_permille", &Usage::pressure_memory, 0, 1'000},
    {"io_some", "pressure_io_permille", &Usage::pressure_io, 0, 1'000},
    {"celsius", "temperature_celsius", &Usage::temperature_c, -273, 10'000},
}};

json::value or_null(const std::optional<std::int64_t>& value) { return value ? json::value(*value) : nullptr; }

Result<CopyUsage> take_copy(const json::value& item, const std::string& path) {
    const auto wrong = fail(Code::kInvalid, "expected [copy, cpu, memory, pids]", path);
    const auto* list = item.if_array();
    if (!list || list->size() < 4 || !list->front().is_string()) return wrong;
    const auto copy = parse_copy_id(std::string_view(list->front().get_string()));
    if (!copy) return wrong;
    CopyUsage out{*copy};
    std::optional<std::int64_t>* const values[] = {&out.cpu_milli, &out.memory_bytes, &out.pids};
    for (std::size_t i = 0; i < std::size(values); ++i) {
        const auto& value = (*list)[i + 1];
        if (value.is_null()) continue;
        if (!value.is_int64() || value.get_int64() < 0) return wrong;
        *values[i] = value.get_int64();
    }
    return out;
}

}  // namespace

const CopyUsage* Usage::of(const CopyId& copy) const {
    const auto at = std::ranges::lower_bound(copies, copy, {}, &CopyUsage::copy);
    return at != copies.end() && at->copy == copy ? &*at : nullptr;
}

json::object usage_json(const Usage& usage) {
    json::object out;
    for (const auto& gauge : kGauges)
        if (const auto& value = usage.*gauge.value) out[gauge.on_wire] = *value;
    json::array copies;
    for (const auto& c : usage.copies)
        copies.push_back(json::array{c.copy.text(), or_null(c.cpu_milli), or_null(c.memory_bytes), or_null(c.pids)});
    if (!copies.empty()) out["copies"] = std::move(copies);
    return out;
}

Result<Usage> take_usage(Fields f) {
    Usage out;
    for (const auto& gauge : kGauges) {
        if (!f.has(gauge.on_wire)) continue;
        GANTRY_TRY(value, f.integer(gauge.on_wire, 0, gauge.min, gauge.max));
        out.*gauge.value = value;
    }
    const auto* copies = f.member("copies");
    if (!copies) return out;
    if (!copies->is_array() || copies->get_array().size() > limits::kNodeCopies)
        return fail(Code::kInvalid, "expected a list of at most " + std::to_string(limits::kNodeCopies) + " copies",
                    f.path("copies"));
    for (const auto& item : copies->get_array()) {
        GANTRY_TRY(copy, take_copy(item, f.path("copies[" + std::to_string(out.copies.size()) + "]")));
        out.copies.push_back(copy);
    }
    std::ranges::sort(out.copies, {}, &CopyUsage::copy);
    return out;
}

void show(json::object& to, const Usage& usage) {
    for (const auto& gauge : kGauges)
        if (const auto& value = usage.*gauge.value) to[gauge.shown] = *value;
}

void show(json::object& to, const CopyUsage& usage) {
    if (usage.cpu_milli) to["cpu_used_milli"] = *usage.cpu_milli;
    if (usage.memory_bytes) to["memory_used_bytes"] = *usage.memory_bytes;
    if (usage.pids) to["pids"] = *usage.pids;
}

void Controller::State::each_load(
    const std::function<void(const std::string&, const Load&, const Usage&)>& node_used,
    const std::function<void(const std::string&, const CopyUsage&)>& instance_used) const {
    for (const auto& [name, node] : nodes_) {
        if (!node.reported || node.down()) continue;
        node_used(name, node.load, node.usage);
        for (const auto& used : node.usage.copies) {
            const Instance* instance = find(used.copy.instance);
            if (!instance || instance->shown().node != &node || instance->shown().epoch != used.copy.epoch) continue;
            instance_used(instance->text(), used);
        }
    }
}

}  // namespace gantry::core
