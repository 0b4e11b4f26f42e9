// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/settings.hpp"

#include <sys/resource.h>

#include <boost/json.hpp>
#include <gantry/status.hpp>

namespace monitored {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

std::string text(const json::value& value) { return std::string(value.as_string()); }

std::vector<std::string> texts(const json::value& value) {
    std::vector<std::string> out;
    for (const json::value& item : value.as_array()) out.push_back(text(item));
    return out;
}

std::uint64_t limit(const json::value& value) {
    return value.is_string() ? RLIM_INFINITY : value.to_number<std::uint64_t>();
}

// Calls take(key, value) for each member; where it answers false the member is not known.
template <class Take>
void each(const json::value& object, const std::string& where, Take&& take) {
    for (const auto& member : object.as_object()) {
        if (!take(std::string_view(member.key()), member.value()))
            throw Failure(Code::kUnsupported, "this runtime does not know the setting " + where +
                                                  std::string(member.key()) + "; take it out, or use a newer one");
    }
}

bool take_container(Settings& out, std::string_view key, const json::value& value) {
    if (key == "read_only") {
        out.read_only = value.as_bool();
    } else if (key == "oom_score_adj") {
        out.oom_score_adj = value.to_number<int>();
    } else if (key == "capabilities") {
        each(value, "container.capabilities.", [&](std::string_view list, const json::value& names) {
            if (list == "add") out.add = texts(names);
            if (list == "drop") out.drop = texts(names);
            return list == "add" || list == "drop";
        });
    } else if (key == "rlimits") {
        each(value, "container.rlimits.", [&](std::string_view name, const json::value& pair) {
            out.rlimits.push_back({std::string(name), limit(pair.at(0)), limit(pair.at(1))});
            return true;
        });
    } else if (key == "network" && (value == "none" || value == "bridge")) {
        out.network = text(value);
    } else if (key == "ports") {
        for (const json::value& port : value.as_array()) out.ports.push_back(port.to_number<std::uint16_t>());
    } else {
        return false;
    }
    return true;
}

bool take_resource(Settings& out, std::string_view key, const json::value& value) {
    if (key == "cpus") {
        out.cpus = text(value);
        return true;
    }
    std::int64_t* const place = key == "cpu_shares"  ? &out.cpu_shares
                                : key == "io_weight" ? &out.io_weight
                                : key == "swap"      ? &out.swap_bytes
                                                     : nullptr;
    if (place != nullptr) *place = value.to_number<std::int64_t>();
    return place != nullptr;
}

Tmpfs tmpfs_of(const json::value& value) {
    Tmpfs out;
    each(value, "tmpfs.", [&](std::string_view key, const json::value& item) {
        if (key == "target") out.target = text(item);
        if (key == "mode") out.mode = text(item);
        if (key == "size") out.bytes = item.to_number<std::int64_t>();
        if (key == "access") out.exec = item == "rwx";
        return key == "target" || key == "mode" || key == "size" || key == "access";
    });
    return out;
}

Device device_of(const json::value& value) {
    Device out;
    each(value, "device.", [&](std::string_view key, const json::value& item) {
        if (key == "path") out.path = text(item);
        if (key == "target") out.target = text(item);
        if (key == "access") out.access = text(item);
        return key == "path" || key == "target" || key == "access";
    });
    return out;
}

bool take_table(Settings& out, std::string_view key, const json::value& value) {
    if (key == "container") {
        each(value, "container.", [&](std::string_view k, const json::value& v) { return take_container(out, k, v); });
    } else if (key == "resources") {
        each(value, "resources.", [&](std::string_view k, const json::value& v) { return take_resource(out, k, v); });
    } else if (key == "tmpfs") {
        for (const json::value& item : value.as_array()) out.tmpfs.push_back(tmpfs_of(item));
    } else if (key == "device") {
        for (const json::value& item : value.as_array()) out.devices.push_back(device_of(item));
    } else {
        return false;
    }
    return true;
}

}  // namespace

Settings Settings::of(const gantry::ContainerSpec& spec) {
    Settings out;
    if (spec.settings.empty()) return out;
    const std::string who = "container \"" + spec.name + "\": ";
    try {
        each(json::parse(spec.settings), "",
             [&](std::string_view key, const json::value& value) { return take_table(out, key, value); });
    } catch (const Failure& failure) {
        throw Failure(failure.code(), who + failure.what());
    } catch (const std::exception& problem) {
        throw Failure(Code::kInvalid, who + "its settings are of another form than expected: " + problem.what());
    }
    return out;
}

}  // namespace monitored
