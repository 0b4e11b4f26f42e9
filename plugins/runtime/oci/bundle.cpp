// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/bundle.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>

namespace oci {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;

constexpr std::int64_t kCpuPeriodUs = 100'000;
constexpr std::int64_t kMinCpuMilli = 10;       // the kernel takes no quota below 1 ms
constexpr std::int64_t kMinMemory = 8LL << 20;  // the engine itself must fit in while it starts the container

// What Docker gives by default less what a service on a gateway has no use for: making devices, audit, and raw sockets,
// which on the node's own network would read and forge everybody's packets.
constexpr const char* kCapabilities[] = {"CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
                                         "CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",   "CAP_SETGID",
                                         "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
constexpr const char* kMasked[] = {"/proc/acpi",
                                   "/proc/asound",
                                   "/proc/kcore",
                                   "/proc/keys",
                                   "/proc/latency_stats",
                                   "/proc/sched_debug",
                                   "/proc/scsi",
                                   "/proc/timer_list",
                                   "/proc/timer_stats",
                                   "/sys/firmware",
                                   "/sys/devices/virtual/powercap"};
constexpr const char* kReadOnly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

template <class List>
json::array array_of(const List& list) {
    json::array out;
    for (const auto& item : list) out.emplace_back(item);
    return out;
}

json::object mount(const char* target, const char* type, std::initializer_list<const char*> options) {
    return {{"destination", target}, {"type", type}, {"source", type}, {"options", array_of(options)}};
}

json::object bind_mount(const std::string& source, const std::string& target, bool read_only) {
    std::error_code error;
    // Recursive: else what is mounted below a read-only folder would stay writable. (crun wants a folder for that.)
    const bool folder = fs::is_directory(source, error);
    json::array options{folder ? "rbind" : "bind", "rprivate", "nosuid", "nodev"};
    options.emplace_back(!read_only ? "rw" : folder ? "rro" : "ro");
    return {{"destination", target}, {"type", "bind"}, {"source", source}, {"options", std::move(options)}};
}

json::array mounts(const gantry::ContainerSpec& spec) {
    json::array out{mount("/proc", "proc", {"nosuid", "noexec", "nodev"}),
                    mount("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
                    mount("/dev/pts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}),
                    mount("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
                    mount("/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
                    mount("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"})};
    const auto wanted = [&](std::string_view target) {
        return std::ranges::any_of(spec.mounts, [&](const gantry::Mount& m) { return m.target == target; });
    };
    // The network is the node's, so its names are too.
    for (const char* file : {"/etc/resolv.conf", "/etc/hosts"}) {
        std::error_code error;
        const fs::path real = fs::canonical(file, error);
        if (!error && !wanted(file)) out.push_back(bind_mount(real.string(), file, true));
    }
    for (const gantry::Mount& m : spec.mounts) out.push_back(bind_mount(m.source, m.target, m.read_only));
    return out;
}

json::object resources(const BundleInput& in) {
    const gantry::ContainerSpec& spec = in.spec;
    json::object out{{"devices", json::array{json::object{{"allow", false}, {"access", "rwm"}}}}};
    if (spec.cpu_milli > 0) {
        const std::int64_t milli = std::max(spec.cpu_milli, kMinCpuMilli);
        out["cpu"] = {{"period", kCpuPeriodUs}, {"quota", milli * kCpuPeriodUs / 1000}};
    }
    if (spec.memory_bytes > 0) {
        if (spec.memory_bytes < kMinMemory) {
            throw Failure(Code::kInvalid, "container \"" + spec.name + "\": a memory limit of " +
                                              std::to_string(spec.memory_bytes) +
                                              " bytes is too small to start anything; give at least " +
                                              std::to_string(kMinMemory >> 20) + "MiB");
        }
        json::object memory{{"limit", spec.memory_bytes}};
        if (in.counts_swap) memory["swap"] = spec.memory_bytes;  // both together: no swap
        out["memory"] = std::move(memory);
    }
    if (spec.pids > 0) out["pids"] = {{"limit", spec.pids}};
    return out;
}

json::object process(const BundleInput& in) {
    json::array env = array_of(in.program.env);
    if (!in.program.has_env("HOME")) env.emplace_back("HOME=" + in.user.home);
    json::object user{{"uid", in.user.uid}, {"gid", in.user.gid}};
    if (!in.user.groups.empty()) user["additionalGids"] = array_of(in.user.groups);
    const json::array capabilities = array_of(kCapabilities);
    json::object sets{{"bounding", capabilities}};
    if (in.user.uid == 0) {
        sets["effective"] = capabilities;
        sets["permitted"] = capabilities;
    }
    // No rlimits: the daemon's are inherited, and raising one may not be permitted.
    return {{"terminal", false},      {"user", std::move(user)}, {"args", array_of(in.program.args)},
            {"env", std::move(env)},  {"cwd", in.program.cwd},   {"capabilities", std::move(sets)},
            {"noNewPrivileges", true}};
}

std::string node_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "gantry";
}

}  // namespace

std::string bundle_config(const BundleInput& in) {
    json::array namespaces;
    for (const char* type : {"pid", "ipc", "uts", "mount"}) namespaces.push_back(json::object{{"type", type}});
    json::object document{
        {"ociVersion", "1.0.2"},
        {"process", process(in)},
        {"root", {{"path", "rootfs"}, {"readonly", false}}},
        {"hostname", in.spec.hostname.empty() ? node_name() : in.spec.hostname},
        {"mounts", mounts(in.spec)},
        {"linux",
         {{"cgroupsPath", in.cgroup},
          {"resources", resources(in)},
          {"namespaces", std::move(namespaces)},
          {"maskedPaths", array_of(kMasked)},
          {"readonlyPaths", array_of(kReadOnly)}}},
    };
    if (!in.seccomp.empty()) document["linux"].get_object()["seccomp"] = in.seccomp;
    return json::serialize(document);
}

}  // namespace oci
