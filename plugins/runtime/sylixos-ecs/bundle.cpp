// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/sylixos-ecs/bundle.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <gantry/status.hpp>
#include <optional>
#include <string_view>

#include "plugins/runtime/monitored/program.hpp"

namespace sylixos {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

constexpr std::int64_t kMiB = 1 << 20;

struct Quota {
    std::string_view name;  // below sylixos.resources, with dots
    std::int64_t usual;
};
// ecsc 0.2.4.
constexpr Quota kQuotas[] = {
    {"cpu.highestPrio", 150},
    {"cpu.lowestPrio", 250},
    {"cpu.defaultPrio", 200},
    {"itimer.defaultPrio", 200},
    {"memory.kheapLimit", 536'870'912},
    {"memory.memoryLimitMB", 2048},
    {"disk.limitMB", 2048},
    {"kernelObject.threadLimit", 4096},
    {"kernelObject.threadPoolLimit", 32},
    {"kernelObject.eventLimit", 32'768},
    {"kernelObject.eventSetLimit", 500},
    {"kernelObject.partitionLimit", 6000},
    {"kernelObject.regionLimit", 50},
    {"kernelObject.msgQueueLimit", 8192},
    {"kernelObject.timerLimit", 64},
    {"kernelObject.rmsLimit", 32},
    {"kernelObject.threadVarLimit", 16},
    {"kernelObject.posixMqueueLimit", 300},
    {"kernelObject.dlopenLibraryLimit", 50},
    {"kernelObject.xsiipcLimit", 100},
    {"kernelObject.socketLimit", 1024},
    {"kernelObject.srtpLimit", 30},
    {"kernelObject.deviceLimit", 60},
};

struct Right {
    std::string_view first, second;
};
constexpr Right kMounts[] = {{"/etc/lic", "ro"}, {"/bin/uname", "rx"}, {"/bin/tar", "rx"}};
constexpr Right kDevices[] = {
    {"/dev/fb0", "rw"}, {"/dev/input/xmse", "rw"}, {"/dev/input/xkbd", "rw"}, {"/dev/net/vnd", "rw"}};
constexpr std::string_view kCommands[] = {
    "exec", "top", "cpuus",   "vi",      "cat",      "touch",   "ps",   "ts",     "tp",    "ss",    "ints",  "ls",
    "cd",   "pwd", "modules", "varload", "varsave",  "shstack", "srtp", "shfile", "help",  "debug", "shell", "ll",
    "sync", "ln",  "kill",    "free",    "ifconfig", "mems",    "rm",   "exit",   "mkdir", "echo",  "mv",    "env"};
constexpr Right kArchitectures[] = {
    {"amd64", "x86-64"},      {"arm64", "arm64"},     {"arm", "arm"},     {"riscv64", "riscv64"}, {"riscv", "riscv32"},
    {"mips64", "mips64"},     {"mips64le", "mips64"}, {"mips", "mips32"}, {"mipsle", "mips32"},   {"ppc", "ppc"},
    {"loong64", "loongarch"}, {"sparc", "sparc"},     {"386", "x86"}};
constexpr std::string_view kRights[] = {"ro", "rw", "rx", "rwx"};

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc() || end != text.data() + text.size() || out < 0) return std::nullopt;
    return out;
}

std::optional<std::string> find(const ImageLabels& labels, const std::string& name) {
    const auto found = labels.find(name);
    return found == labels.end() ? std::nullopt : std::optional(found->second);
}

bool climbs(std::string_view path) {
    return path.empty() || path[0] != '/' || path.find("/../") != path.npos || path.ends_with("/..");
}

// PREFIX.N.KEY for N = 0, 1, ... in the order of the numbers.
std::vector<std::map<std::string, std::string>> group(const ImageLabels& labels, const std::string& prefix) {
    std::map<std::int64_t, std::map<std::string, std::string>> by_number;
    for (const auto& [name, value] : labels) {
        if (!name.starts_with(prefix)) continue;
        const std::string rest = name.substr(prefix.size());
        const std::size_t dot = rest.find('.');
        const auto which = number(std::string_view(rest).substr(0, dot));
        if (which) by_number[*which][dot == rest.npos ? "" : rest.substr(dot + 1)] = value;
    }
    std::vector<std::map<std::string, std::string>> out;
    for (auto& [which, item] : by_number) out.push_back(std::move(item));
    return out;
}

json::array mounts_of(const gantry::ContainerSpec& spec, const ImageLabels& labels) {
    std::map<std::string, json::object> by_target;  // a target is mounted once, the spec's wish last
    const auto put = [&](const std::string& source, const std::string& target, std::string_view rights) {
        by_target[target] = {{"destination", target}, {"source", source}, {"options", {rights}}};
    };
    for (const Right& usual : kMounts) put(std::string(usual.first), std::string(usual.first), usual.second);
    for (auto& item : group(labels, "mounts.")) {
        // The packer writes the words the other way round when they differ; equal in every public recipe.
        if (climbs(item["destination"]) || climbs(item["source"])) continue;
        const bool whole = std::ranges::find(kRights, item["options"]) != std::end(kRights);
        put(item["source"], item["destination"], whole ? std::string_view(item["options"]) : "rx");
    }
    for (const gantry::Mount& mount : spec.mounts) put(mount.source, mount.target, mount.read_only ? "ro" : "rw");
    json::array out;
    for (auto& [target, mount] : by_target) out.push_back(std::move(mount));
    return out;
}

json::object resources_of(const gantry::ContainerSpec& spec, const ImageLabels& labels) {
    json::object out;
    for (const Quota& quota : kQuotas) {
        const std::size_t dot = quota.name.find('.');
        const auto said = find(labels, "sylixos.resources." + std::string(quota.name));
        const std::int64_t value = said ? number(*said).value_or(quota.usual) : quota.usual;
        json::value& section = out[quota.name.substr(0, dot)];
        if (section.is_null()) section = json::object();
        section.as_object()[quota.name.substr(dot + 1)] = value;
    }
    json::array affinity;
    for (auto& item : group(labels, "sylixos.resources.affinity.")) {
        if (const auto cpu = number(item[""])) affinity.emplace_back(*cpu);
    }
    out["affinity"] = std::move(affinity);
    if (spec.memory_bytes > 0) out["memory"].as_object()["memoryLimitMB"] = (spec.memory_bytes + kMiB - 1) / kMiB;
    return out;
}

json::object sylixos_of(const gantry::ContainerSpec& spec, const ImageLabels& labels) {
    json::array devices, commands;
    for (auto& item : group(labels, "sylixos.devices.")) {
        if (!climbs(item["path"]))
            devices.push_back(
                json::object{{"path", item["path"]}, {"access", item["access"].empty() ? "rw" : item["access"]}});
    }
    if (devices.empty()) {
        for (const Right& usual : kDevices)
            devices.push_back(json::object{{"path", usual.first}, {"access", usual.second}});
    }
    for (auto& item : group(labels, "sylixos.commands.")) {
        if (!item[""].empty()) commands.emplace_back(item[""]);
    }
    if (commands.empty()) commands = json::array(std::begin(kCommands), std::end(kCommands));
    json::object network;
    for (const auto& [name, usual] : {std::pair{"telnetdEnable", true}, {"ftpdEnable", true}, {"sshdEnable", false}}) {
        const auto said = find(labels, "sylixos.network." + std::string(name));
        network[name] = said == "true" || (said != "false" && usual);
    }
    return {{"devices", std::move(devices)},
            {"resources", resources_of(spec, labels)},
            {"commands", std::move(commands)},
            {"network", std::move(network)}};
}

json::object user_of(const std::string& user, const std::string& name) {
    const std::size_t colon = user.find(':');
    const auto uid = user.empty() ? std::optional<std::int64_t>(0) : number(std::string_view(user).substr(0, colon));
    const auto gid =
        colon == user.npos ? std::optional<std::int64_t>(0) : number(std::string_view(user).substr(colon + 1));
    if (!uid || !gid) {
        throw Failure(Code::kInvalid, "container \"" + name + "\": user \"" + user +
                                          "\": SylixOS has no names of users here, give numbers: \"0:0\"");
    }
    return {{"uid", *uid}, {"gid", *gid}};
}

}  // namespace

ImageLabels labels_of(const json::value& image_config) {
    ImageLabels out;
    const json::value* at = &image_config;
    for (const char* key : {"config", "Labels"}) {
        at = at->is_object() ? at->as_object().if_contains(key) : nullptr;
        if (at == nullptr) return out;
    }
    if (!at->is_object()) return out;
    for (const auto& [key, value] : at->as_object()) {
        if (value.is_string()) out.emplace(key, value.as_string());
    }
    return out;
}

std::string ecs_architecture(const std::string& oci) {
    for (const Right& known : kArchitectures) {
        if (known.first == oci) return std::string(known.second);
    }
    throw Failure(Code::kInvalid, "architecture: ECS has no word for \"" + oci +
                                      "\"; expected amd64, arm64, arm, riscv64, loong64 ... as OCI images say it");
}

std::string config_json(const gantry::ContainerSpec& spec, const image_store::ImageConfig& image,
                        const ImageLabels& labels, const std::string& architecture) {
    image_store::ImageConfig from = image;
    if (from.cwd == "/rootfs") from.cwd = "/";  // what the packer makes of root.path
    monitored::Program program = monitored::program_of(spec, from);
    const std::string architecture_word = ecs_architecture(architecture);
    std::string hostname = spec.hostname;
    if (hostname.empty()) hostname = find(labels, "hostname").value_or("sylixos_ecs");
    const json::object document{{"ociVersion", "1.0.0"},
                                {"platform", {{"os", "sylixos"}, {"arch", architecture_word}}},
                                {"process",
                                 {{"user", user_of(program.user, spec.name)},
                                  {"args", json::array(program.args.begin(), program.args.end())},
                                  {"env", json::array(program.env.begin(), program.env.end())},
                                  {"cwd", program.cwd}}},
                                {"root", {{"path", "rootfs"}, {"readonly", false}}},
                                {"hostname", hostname},
                                {"mounts", mounts_of(spec, labels)},
                                {"sylixos", sylixos_of(spec, labels)}};
    return json::serialize(document);
}

}  // namespace sylixos
