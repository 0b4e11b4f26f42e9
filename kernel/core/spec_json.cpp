// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "kernel/core/spec.hpp"

namespace gantry::core {

namespace {

// The shortest text that reads back as exactly this duration.
std::string duration_text(Duration duration) {
    struct Unit {
        std::int64_t ns;
        const char* name;
    };
    static constexpr std::array<Unit, 3> kUnits = {{{1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}}};
    const auto ns = duration.count();
    for (const auto& unit : kUnits)
        if (ns % unit.ns == 0) return std::to_string(ns / unit.ns) + unit.name;
    return std::to_string(ns) + "ns";
}

json::value cpu_value(std::int64_t milli) {
    if (milli % 1000 == 0) return milli / 1000;
    return json::value(std::to_string(milli) + "m");
}

void put_text(json::object& out, std::string_view key, const std::string& value) {
    if (!value.empty()) out[key] = value;
}

void put_texts(json::object& out, std::string_view key, const std::vector<std::string>& values) {
    if (!values.empty()) out[key] = json::array(values.begin(), values.end());
}

void put_labels(json::object& out, std::string_view key, const Labels& values) {
    if (values.empty()) return;
    json::object made;
    for (const auto& [name, value] : values) made[name] = value;
    out[key] = std::move(made);
}

void put_table(json::object& out, std::string_view key, json::object table) {
    if (!table.empty()) out[key] = std::move(table);
}

// with_order: also what is no part of its container.
json::object service_table(const ServiceSpec& spec, bool with_instances, bool with_order) {
    json::object out{{"name", spec.name}, {"image", spec.image}};
    if (with_instances && spec.instances != 1) out["instances"] = spec.instances;
    put_text(out, "runtime", spec.runtime);
    if (spec.cut_off_start) out["cut_off"] = "start";
    if (!spec.prepull) out["prepull"] = false;
    if (with_order) {
        put_texts(out, "after", spec.after);
        if (spec.priority != 0) out["priority"] = spec.priority;
        if (spec.max_gap != Duration(0)) out["max_gap"] = duration_text(spec.max_gap);
        if (spec.max_overlap != Duration(0)) out["max_overlap"] = duration_text(spec.max_overlap);
    }
    return out;
}

json::object placement_table(const ServiceSpec& spec) {
    json::object out;
    if (spec.mode == Mode::kStatic) out["mode"] = "static";
    put_texts(out, "nodes", spec.nodes);
    put_labels(out, "labels", spec.pool_labels);
    put_labels(out, "constraints", spec.constraints);
    put_text(out, "policy", spec.policy);
    if (!spec.image_first) out["image"] = "policy";
    if (spec.forbid) out["overlap"] = "forbid";
    if (spec.apart != Force::kNone) out["anti_affinity"] = spec.apart == Force::kHard ? "hard" : "soft";
    put_text(out, "spread", spec.spread_label);
    if (spec.spread == Force::kHard) out["spread_mode"] = "hard";
    if (spec.preempt) out["preempt"] = true;
    return out;
}

json::object update_table(const UpdateSpec& update) {
    const UpdateSpec usual;
    json::object out;
    if (update.max_surge != usual.max_surge) out["max_surge"] = update.max_surge;
    if (update.max_unavailable != usual.max_unavailable) out["max_unavailable"] = update.max_unavailable;
    if (update.canary != usual.canary) out["canary"] = update.canary;
    if (update.gate != usual.gate) out["gate"] = duration_text(update.gate);
    if (update.deadline != usual.deadline) out["deadline"] = duration_text(update.deadline);
    if (!update.roll_back) out["on_failure"] = "stay";
    return out;
}

json::object resources_table(const ServiceSpec& spec) {
    json::object out;
    if (spec.cpu_milli) out["cpu"] = cpu_value(spec.cpu_milli);
    if (spec.memory_bytes) out["memory"] = spec.memory_bytes;
    if (spec.pids) out["pids"] = spec.pids;
    return out;
}

json::object container_table(const ServiceSpec& spec) {
    json::object out;
    put_texts(out, "args", spec.args);
    put_labels(out, "env", spec.env);
    put_text(out, "cwd", spec.cwd);
    put_text(out, "user", spec.user);
    put_text(out, "hostname", spec.hostname);
    if (spec.stop_signal) out["stop_signal"] = spec.stop_signal;
    if (spec.stop_grace != ServiceSpec{}.stop_grace) out["stop_grace"] = duration_text(spec.stop_grace);
    return out;
}

json::object endpoint_table(const EndpointSpec& endpoint) {
    json::object out{{"kind", endpoint.kind}};
    put_text(out, "name", endpoint.name);
    out["port"] = endpoint.port;
    if (!endpoint.secret.empty()) out["password"] = json::object{{"secret", endpoint.secret}};
    return out;
}

json::object probe_table(const ProbeSpec& probe) {
    const ProbeSpec usual;
    json::object out{{"kind", probe.kind}};
    if (probe.purpose != usual.purpose) out["purpose"] = purpose_name(probe.purpose);
    put_text(out, "endpoint", probe.endpoint);
    if (probe.port) out["port"] = probe.port;
    if (probe.interval != usual.interval) out["interval"] = duration_text(probe.interval);
    if (probe.timeout != usual.timeout) out["timeout"] = duration_text(probe.timeout);
    if (probe.start_period != usual.start_period) out["start_period"] = duration_text(probe.start_period);
    if (probe.success_threshold != usual.success_threshold) out["success_threshold"] = probe.success_threshold;
    if (probe.failure_threshold != usual.failure_threshold) out["failure_threshold"] = probe.failure_threshold;
    for (const auto& [name, value] : probe.params) out[name] = value;
    return out;
}

json::object mount_table(const MountSpec& mount) {
    json::object out{{"source", mount.source}, {"target", mount.target}};
    if (mount.no_exec)
        out["access"] = mount.read_only ? "ro" : "rw";
    else if (mount.read_only)
        out["read_only"] = true;
    return out;
}

template <class Values, class Make>
void put_list(json::object& out, std::string_view key, const Values& values, Make make) {
    if (values.empty()) return;
    json::array made;
    for (const auto& value : values) made.emplace_back(make(value));
    out[key] = std::move(made);
}

void put_container_part(json::object& out, const ServiceSpec& spec) {
    put_table(out, "resources", resources_table(spec));
    put_table(out, "container", container_table(spec));
    put_list(out, "mount", spec.mounts, mount_table);
    put_list(out, "endpoint", spec.endpoints, endpoint_table);
    put_list(out, "probe", spec.probes, probe_table);
    for (const auto& table : spec.settings) {
        json::value& place = out[table.key()];
        if (place.is_object() && table.value().is_object())
            for (const auto& member : table.value().get_object()) place.get_object()[member.key()] = member.value();
        else
            place = table.value();
    }
}

}  // namespace

std::string_view purpose_name(Purpose purpose) {
    return purpose == Purpose::kReadiness ? "readiness" : purpose == Purpose::kLiveness ? "liveness" : "startup";
}

json::value to_json(const ServiceSpec& spec) {
    json::object out{{"service", service_table(spec, spec.mode == Mode::kDynamic, true)}};
    put_table(out, "placement", placement_table(spec));
    put_table(out, "update", update_table(spec.update));
    put_container_part(out, spec);
    return out;
}

json::value container_part_to_json(const ServiceSpec& spec) {
    json::object out{{"service", service_table(spec, false, false)}};
    put_container_part(out, spec);
    return out;
}

}  // namespace gantry::core
