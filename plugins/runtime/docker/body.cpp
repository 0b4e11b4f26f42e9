// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/body.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <gantry/status.hpp>

#include "plugins/runtime/image-store/layout.hpp"
#include "plugins/runtime/monitored/settings.hpp"

namespace docker {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

constexpr std::size_t kNameMax = 63;
constexpr std::size_t kFrameHeader = 8;

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
    throw Failure(Code::kInvalid, "container \"" + name + "\": " + why);
}

const json::value* member(const json::value& in, std::string_view key) {
    if (!in.is_object()) return nullptr;
    const json::value* out = in.as_object().if_contains(key);
    return out == nullptr || out->is_null() ? nullptr : out;
}

std::string text(const json::value& in, std::string_view key) {
    const json::value* out = member(in, key);
    return out != nullptr && out->is_string() ? std::string(out->as_string()) : std::string();
}

std::int64_t number(const json::value* in) {
    json::error_code error;
    const std::int64_t out = in == nullptr ? 0 : in->to_number<std::int64_t>(error);
    return error ? 0 : out;
}

bool flag(const json::value& in, std::string_view key) {
    const json::value* out = member(in, key);
    return out != nullptr && out->is_bool() && out->as_bool();
}

// RLIM_INFINITY is -1 to the engine.
json::array ulimits(const std::vector<monitored::Rlimit>& limits) {
    json::array out;
    for (const monitored::Rlimit& limit : limits)
        out.push_back(json::object{{"Name", limit.name},
                                   {"Soft", static_cast<std::int64_t>(limit.soft)},
                                   {"Hard", static_cast<std::int64_t>(limit.hard)}});
    return out;
}

json::array strings(const std::vector<std::string>& from, std::size_t first = 0) {
    json::array out;
    for (std::size_t i = first; i < from.size(); ++i) out.emplace_back(from[i]);
    return out;
}

// The engine's words for the settings.
void put_settings(const gantry::ContainerSpec& spec, json::object& body, json::object& host) {
    const monitored::Settings settings = monitored::Settings::of(spec);
    if (!settings.add.empty()) host["CapAdd"] = strings(settings.add);
    if (!settings.drop.empty()) host["CapDrop"] = strings(settings.drop);
    if (settings.read_only) host["ReadonlyRootfs"] = true;
    if (!settings.rlimits.empty()) host["Ulimits"] = ulimits(settings.rlimits);
    if (settings.oom_score_adj) host["OomScoreAdj"] = *settings.oom_score_adj;
    host["NetworkMode"] = settings.network;
    json::object bindings, exposed;
    for (const std::uint16_t port : settings.ports) {
        for (const char* protocol : {"/tcp", "/udp"}) {
            const std::string which = std::to_string(port) + protocol;
            bindings[which] = json::array{json::object{{"HostPort", std::to_string(port)}}};
            exposed[which] = json::object();
        }
    }
    if (!bindings.empty()) {
        host["PortBindings"] = std::move(bindings);
        body["ExposedPorts"] = std::move(exposed);
    }
    if (settings.cpu_shares > 0) host["CpuShares"] = settings.cpu_shares;
    if (!settings.cpus.empty()) host["CpusetCpus"] = settings.cpus;
    if (settings.io_weight > 0) host["BlkioWeight"] = settings.io_weight;
    if (settings.swap_bytes > 0) host["MemorySwap"] = spec.memory_bytes + settings.swap_bytes;
    json::object tmpfs;
    for (const monitored::Tmpfs& t : settings.tmpfs)
        tmpfs[t.target] = "size=" + std::to_string(t.bytes) + ",mode=" + t.mode + (t.exec ? ",exec" : ",noexec");
    if (!tmpfs.empty()) host["Tmpfs"] = std::move(tmpfs);
    json::array devices;
    for (const monitored::Device& d : settings.devices)
        devices.push_back(
            json::object{{"PathOnHost", d.path}, {"PathInContainer", d.target}, {"CgroupPermissions", d.access}});
    if (!devices.empty()) host["Devices"] = std::move(devices);
}

}  // namespace

void check(const gantry::ContainerSpec& spec) {
    constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
    const std::string& name = spec.name;
    if (name.empty() || name.size() > kNameMax || kLetters.find(name[0]) == std::string_view::npos ||
        name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string::npos) {
        throw Failure(Code::kInvalid, "expected a name of 1 to 63 of a-z, 0-9, '.' and '-', got \"" + name + "\"");
    }
    if (!spec.cwd.empty() && spec.cwd[0] != '/') refuse(name, "working directory \"" + spec.cwd + "\" is not absolute");
    for (const auto& [key, value] : spec.env) {
        if (key.empty() || key.find('=') != std::string::npos)
            refuse(name, "no variable can be called \"" + key + "\"");
    }
    for (const gantry::Mount& mount : spec.mounts) {
        if (mount.source.empty() || mount.source[0] != '/' || mount.target.empty() || mount.target[0] != '/')
            refuse(name, "mount " + mount.source + " to " + mount.target + ": both must be absolute");
        if (mount.no_exec)
            refuse(name, "mount " + mount.target +
                             ": the engine cannot forbid programs in a mount; give access \"rx\" or \"rwx\"");
        std::error_code error;
        if (!std::filesystem::exists(mount.source, error)) {
            refuse(name,
                   "mount source " + mount.source + " does not exist on this node; create it or correct the manifest");
        }
    }
    if (spec.cpu_milli < 0 || spec.memory_bytes < 0 || spec.pids < 0) refuse(name, "a limit is negative");
}

std::string create_body(const gantry::ContainerSpec& spec, const std::string& reference, const std::string& instance) {
    json::object labels;
    for (const auto& [key, value] : spec.labels) labels[key] = value;
    json::object body{
        {"Image", reference},
        {"Labels", {{kInstanceLabel, instance}, {kImageLabel, spec.image}, {kLabelsLabel, json::serialize(labels)}}}};
    if (!spec.hostname.empty()) body["Hostname"] = spec.hostname;
    if (!spec.cwd.empty()) body["WorkingDir"] = spec.cwd;
    if (!spec.user.empty()) body["User"] = spec.user;
    if (!spec.args.empty()) {
        body["Entrypoint"] = json::array{spec.args[0]};
        body["Cmd"] = strings(spec.args, 1);
    }
    json::array env;
    for (const auto& [key, value] : spec.env) env.emplace_back(key + "=" + value);
    body["Env"] = std::move(env);
    if (spec.stop_signal != 0) body["StopSignal"] = std::to_string(spec.stop_signal);
    // What restarts a container is the agent, by its list.
    json::object host{{"NetworkMode", "host"}, {"RestartPolicy", {{"Name", "no"}}}, {"AutoRemove", false}};
    if (spec.cpu_milli > 0) host["NanoCpus"] = spec.cpu_milli * 1'000'000;
    if (spec.memory_bytes > 0) {
        host["Memory"] = spec.memory_bytes;
        host["MemorySwap"] = spec.memory_bytes;  // no swap beside it
    }
    if (spec.pids > 0) host["PidsLimit"] = spec.pids;
    json::array mounts;
    for (const gantry::Mount& mount : spec.mounts) {
        mounts.push_back(json::object{
            {"Type", "bind"}, {"Source", mount.source}, {"Target", mount.target}, {"ReadOnly", mount.read_only}});
    }
    if (!mounts.empty()) host["Mounts"] = std::move(mounts);
    put_settings(spec, body, host);
    body["HostConfig"] = std::move(host);
    return json::serialize(body);
}

Inspected inspected(const json::value& document, const std::string& instance) {
    const json::value *state = member(document, "State"), *config = member(document, "Config");
    if (state == nullptr || config == nullptr)
        throw Failure(Code::kFailed, "the engine describes a container without its State or Config");
    Inspected out;
    gantry::Container& container = out.container;
    container.name = text(document, "Name");
    if (container.name.starts_with('/')) container.name.erase(0, 1);
    if (const json::value* labels = member(*config, "Labels"); labels != nullptr) {
        out.ours = text(*labels, kInstanceLabel) == instance;
        out.image = text(*labels, kImageLabel);
        json::error_code error;
        const json::value kept = json::parse(text(*labels, kLabelsLabel), error);
        if (!error && kept.is_object()) {
            for (const auto& [key, value] : kept.as_object()) {
                if (value.is_string()) container.labels.emplace_back(key, value.as_string());
            }
        }
    }
    const std::string status = text(*state, "Status");
    if (status == "running" || status == "removing" || status == "stopping" || status == "restarting") {
        container.state = gantry::ContainerState::kRunning;
    } else if (status == "paused") {
        container.state = gantry::ContainerState::kPaused;
    } else if (status == "exited" || status == "dead" || status == "stopped") {
        container.state = gantry::ContainerState::kExited;
        container.exit_code = static_cast<int>(number(member(*state, "ExitCode")));
        container.detail = flag(*state, "OOMKilled") ? "out of memory" : text(*state, "Error");
    }  // created, configured, initialized
    const bool alive =
        container.state == gantry::ContainerState::kRunning || container.state == gantry::ContainerState::kPaused;
    if (alive) container.pid = number(member(*state, "Pid"));
    out.started_text = text(*state, "StartedAt");
    // Podman writes a number.
    const json::value* signal = member(*config, "StopSignal");
    if (signal != nullptr && signal->is_string()) out.stop_signal = image_store::parse_signal(signal->as_string());
    if (signal != nullptr && signal->is_number()) out.stop_signal = static_cast<int>(number(signal));
    if (out.stop_signal == 0) out.stop_signal = SIGTERM;
    out.terminal = flag(*config, "Tty");
    return out;
}

std::optional<gantry::Duration> parse_time(const std::string& text) {
    std::tm parts{};
    const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == nullptr || parts.tm_year < 70) return std::nullopt;
    gantry::Duration out = std::chrono::seconds(::timegm(&parts));
    if (*rest == '.') {
        std::int64_t unit = 100'000'000;
        for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) out += gantry::Duration((*rest - '0') * unit);
    }
    if (*rest == 'Z') return out;
    int hours = 0, minutes = 0;
    if ((*rest != '+' && *rest != '-') || std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return std::nullopt;
    const gantry::Duration offset = std::chrono::minutes(hours * 60 + minutes);
    return *rest == '+' ? out - offset : out + offset;
}

gantry::ContainerStats stats_of(const json::value& document) {
    gantry::ContainerStats out;
    const json::value *cpu = member(document, "cpu_stats"), *memory = member(document, "memory_stats"),
                      *pids = member(document, "pids_stats");
    if (cpu == nullptr || memory == nullptr)
        throw Failure(Code::kFailed, "the engine measures a container without cpu_stats");
    if (const json::value* usage = member(*cpu, "cpu_usage"))
        out.cpu = gantry::Duration(number(member(*usage, "total_usage")));
    out.memory_bytes = number(member(*memory, "usage"));
    if (pids != nullptr) out.pids = number(member(*pids, "current"));
    return out;
}

std::string Frames::add(std::string_view piece) {
    std::string out;
    while (!piece.empty()) {
        if (left_ > 0) {
            const std::size_t part = std::min(left_, piece.size());
            out.append(piece.substr(0, part));
            piece.remove_prefix(part);
            left_ -= part;
            continue;
        }
        const std::size_t part = std::min(kFrameHeader - header_.size(), piece.size());
        header_.append(piece.substr(0, part));
        piece.remove_prefix(part);
        if (header_.size() < kFrameHeader) break;
        const auto byte = [this](std::size_t i) {
            return static_cast<std::size_t>(static_cast<unsigned char>(header_[i]));
        };
        if (byte(0) > 2 || byte(1) != 0 || byte(2) != 0 || byte(3) != 0)
            throw Failure(Code::kFailed, "the engine's output is not in frames");
        left_ = byte(4) << 24 | byte(5) << 16 | byte(6) << 8 | byte(7);
        header_.clear();
    }
    return out;
}

}  // namespace docker
