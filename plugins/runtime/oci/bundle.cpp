// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/bundle.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "plugins/runtime/monitored/files.hpp"

namespace oci {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;

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

[[noreturn]] void refuse(const BundleInput& in, const std::string& what) {
    throw Failure(Code::kInvalid, "container \"" + in.spec.name + "\": " + what);
}

json::object bind_mount(const std::string& source, const std::string& target, bool read_only, bool no_exec) {
    std::error_code error;
    // Recursive: else what is mounted below a read-only folder would stay writable. (crun wants a folder for that.)
    const bool folder = fs::is_directory(source, error);
    json::array options{folder ? "rbind" : "bind", "rprivate", "nosuid", "nodev"};
    options.emplace_back(!read_only ? "rw" : folder ? "rro" : "ro");
    if (no_exec) options.emplace_back("noexec");
    return {{"destination", target}, {"type", "bind"}, {"source", source}, {"options", std::move(options)}};
}

json::array mounts(const BundleInput& in) {
    const gantry::ContainerSpec& spec = in.spec;
    json::array out{mount("/proc", "proc", {"nosuid", "noexec", "nodev"}),
                    mount("/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
                    mount("/dev/pts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}),
                    mount("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
                    mount("/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
                    mount("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"})};
    const auto wanted = [&](std::string_view target) {
        return in.settings.network == "none" ||
               std::ranges::any_of(spec.mounts, [&](const gantry::Mount& m) { return m.target == target; });
    };
    // The network is the node's, so its names are too; on a bridge those that its servers know.
    for (const char* file : {"/etc/resolv.conf", "/etc/hosts"}) {
        std::error_code error;
        const fs::path real = fs::canonical(file, error);
        if (in.settings.network == "bridge" && std::string_view(file) == "/etc/hosts") continue;
        if (!error && !wanted(file)) out.push_back(bind_mount(real.string(), file, true, false));
    }
    for (const monitored::Tmpfs& t : in.settings.tmpfs) {
        json::array options{"nosuid", "nodev", "mode=" + t.mode, "size=" + std::to_string(t.bytes)};
        if (!t.exec) options.emplace_back("noexec");
        // One of the engine's own folders (/dev/shm) gives way.
        auto* const same = std::ranges::find_if(
            out, [&](const json::value& m) { return std::string_view(m.at("destination").as_string()) == t.target; });
        if (same != out.end()) out.erase(same);
        out.push_back(json::object{
            {"destination", t.target}, {"type", "tmpfs"}, {"source", "tmpfs"}, {"options", std::move(options)}});
    }
    for (const gantry::Mount& m : spec.mounts) out.push_back(bind_mount(m.source, m.target, m.read_only, m.no_exec));
    return out;
}

// Of this process; what the daemon may not do the engine may not either.
bool may_raise_limits() {
    constexpr int kSysResource = 24;
    const std::string status = monitored::read_file("/proc/self/status", 64 << 10).value_or("");
    const std::size_t at = status.find("CapEff:\t");
    return at != std::string::npos && (std::strtoull(status.c_str() + at + 8, nullptr, 16) >> kSysResource & 1) != 0;
}

struct Devices {
    json::array nodes, rules;
};

Devices devices(const BundleInput& in) {
    Devices out;
    out.rules.push_back(json::object{{"allow", false}, {"access", "rwm"}});
    for (const monitored::Device& d : in.settings.devices) {
        struct stat st {};
        if (::stat(d.path.c_str(), &st) != 0)
            refuse(in, "device " + d.path + " is not on this node (" + std::strerror(errno) +
                           "); correct the manifest, or choose nodes that have it by label");
        if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) refuse(in, d.path + " is no device; give it as a [[mount]]");
        const char* const type = S_ISCHR(st.st_mode) ? "c" : "b";
        const auto major = gnu_dev_major(st.st_rdev), minor = gnu_dev_minor(st.st_rdev);
        out.nodes.push_back(json::object{{"path", d.target},
                                         {"type", type},
                                         {"major", major},
                                         {"minor", minor},
                                         {"fileMode", st.st_mode & 07777},
                                         {"uid", st.st_uid},
                                         {"gid", st.st_gid}});
        out.rules.push_back(
            json::object{{"allow", true}, {"type", type}, {"major", major}, {"minor", minor}, {"access", d.access}});
    }
    return out;
}

// The greatest number in "0-2,5".
long last_cpu(const std::string& list) {
    long out = 0;
    for (std::size_t at = 0; at < list.size(); ++at) {
        char* end = nullptr;
        out = std::max(out, std::strtol(list.c_str() + at, &end, 10));
        at = static_cast<std::size_t>(end - list.c_str());
    }
    return out;
}

json::object cpu_limits(const BundleInput& in) {
    json::object out;
    if (in.spec.cpu_milli > 0) out["period"] = kCpuPeriodUs;  // cpu_quota_us(), once the engine's own part is done
    if (in.settings.cpu_shares > 0) out["shares"] = in.settings.cpu_shares;
    if (in.settings.cpus.empty()) return out;
    const long there = ::sysconf(_SC_NPROCESSORS_CONF);
    if (last_cpu(in.settings.cpus) >= there)
        refuse(in, "resources.cpus = \"" + in.settings.cpus + "\": this node has the processors 0 to " +
                       std::to_string(there - 1) + "; correct the manifest, or choose nodes by label");
    out["cpus"] = in.settings.cpus;
    return out;
}

json::object resources(const BundleInput& in, json::array device_rules) {
    const gantry::ContainerSpec& spec = in.spec;
    json::object out{{"devices", std::move(device_rules)}};
    if (json::object cpu = cpu_limits(in); !cpu.empty()) out["cpu"] = std::move(cpu);
    if (spec.memory_bytes > 0) {
        if (spec.memory_bytes < kMinMemory) {
            throw Failure(Code::kInvalid, "container \"" + spec.name + "\": a memory limit of " +
                                              std::to_string(spec.memory_bytes) +
                                              " bytes is too small to start anything; give at least " +
                                              std::to_string(kMinMemory >> 20) + "MiB");
        }
        json::object memory{{"limit", spec.memory_bytes}};
        if (in.counts_swap) memory["swap"] = spec.memory_bytes + in.settings.swap_bytes;  // both together
        if (!in.counts_swap && in.settings.swap_bytes > 0)
            refuse(in,
                   "resources.swap: this node's kernel does not count swap; start it with swapaccount=1, or leave "
                   "it out");
        out["memory"] = std::move(memory);
    }
    if (in.settings.io_weight > 0) {
        if (!in.weighs_io)
            refuse(in,
                   "resources.io_weight: this node's kernel weighs no block I/O; give its disks the scheduler bfq "
                   "(modprobe bfq), or leave it out");
        out["blockIO"] = {{"weight", in.settings.io_weight}};
    }
    if (spec.pids > 0) out["pids"] = {{"limit", spec.pids}};
    return out;
}

// What is added is ambient for another user than root, who has none by himself.
json::object capabilities(const BundleInput& in) {
    const std::set<std::string> drop(in.settings.drop.begin(), in.settings.drop.end());
    const std::set<std::string> add(in.settings.add.begin(), in.settings.add.end());
    std::set<std::string> all = add;
    for (const char* name : kCapabilities) {
        if (!drop.contains("ALL") && !drop.contains(name)) all.insert(name);
    }
    json::object out{{"bounding", array_of(all)}};
    const std::set<std::string>& held = in.user.uid == 0 ? all : add;
    if (held.empty()) return out;
    for (const char* set : {"effective", "permitted"}) out[set] = array_of(held);
    if (in.user.uid != 0) {
        for (const char* set : {"inheritable", "ambient"}) out[set] = array_of(held);
    }
    return out;
}

json::array rlimits(const BundleInput& in) {
    static constexpr std::pair<const char*, int> kLimits[] = {
        {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
        {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
        {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
        {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
        {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
        {"stack", RLIMIT_STACK}};
    json::array out;
    const bool raise = may_raise_limits();
    for (const monitored::Rlimit& limit : in.settings.rlimits) {
        const auto* const known = std::ranges::find_if(kLimits, [&](const auto& l) { return limit.name == l.first; });
        rlimit mine{};
        if (known == std::end(kLimits)) refuse(in, "container.rlimits: there is no limit " + limit.name);
        if (::getrlimit(static_cast<__rlimit_resource_t>(known->second), &mine) == 0 && limit.hard > mine.rlim_max &&
            !raise)
            refuse(in, "container.rlimits." + limit.name + " is above what gantryd may give here, " +
                           std::to_string(mine.rlim_max) +
                           "; lower it, or raise gantryd's own (Limit...= of its unit)");
        std::string type = "RLIMIT_";
        for (const char c : limit.name) type += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        out.push_back(json::object{{"type", type}, {"soft", limit.soft}, {"hard", limit.hard}});
    }
    return out;
}

json::object process(const BundleInput& in) {
    json::array env = array_of(in.program.env);
    if (!in.program.has_env("HOME")) env.emplace_back("HOME=" + in.user.home);
    json::object user{{"uid", in.user.uid}, {"gid", in.user.gid}};
    if (!in.user.groups.empty()) user["additionalGids"] = array_of(in.user.groups);
    json::object out{{"terminal", false},      {"user", std::move(user)}, {"args", array_of(in.program.args)},
                     {"env", std::move(env)},  {"cwd", in.program.cwd},   {"capabilities", capabilities(in)},
                     {"noNewPrivileges", true}};
    // Others are the daemon's.
    if (!in.settings.rlimits.empty()) out["rlimits"] = rlimits(in);
    if (in.settings.oom_score_adj) {
        const auto mine = monitored::parse_number(monitored::read_file("/proc/self/oom_score_adj", 32).value_or("0"));
        if (*in.settings.oom_score_adj < mine.value_or(0) && !may_raise_limits())
            refuse(in, "container.oom_score_adj = " + std::to_string(*in.settings.oom_score_adj) +
                           " is below gantryd's own, which takes the capability SYS_RESOURCE; give at least " +
                           std::to_string(mine.value_or(0)));
        out["oomScoreAdj"] = *in.settings.oom_score_adj;
    }
    return out;
}

std::string node_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "gantry";
}

}  // namespace

std::int64_t cpu_quota_us(const gantry::ContainerSpec& spec) {
    return spec.cpu_milli > 0 ? std::max(spec.cpu_milli, kMinCpuMilli) * kCpuPeriodUs / 1000 : 0;
}

std::string bundle_config(const BundleInput& in) {
    json::array namespaces;
    for (const char* type : {"pid", "ipc", "uts", "mount"}) namespaces.push_back(json::object{{"type", type}});
    if (in.settings.network != "host") {
        json::object network{{"type", "network"}};
        if (!in.network.empty()) network["path"] = in.network;
        namespaces.push_back(std::move(network));
    }
    Devices with = devices(in);
    json::object document{
        {"ociVersion", "1.0.2"},
        {"process", process(in)},
        {"root", {{"path", "rootfs"}, {"readonly", in.settings.read_only}}},
        {"hostname", in.spec.hostname.empty() ? node_name() : in.spec.hostname},
        {"mounts", mounts(in)},
        {"annotations", {{"org.criu.config", in.criu_options}}},
        {"linux",
         {{"cgroupsPath", in.cgroup},
          {"resources", resources(in, std::move(with.rules))},
          {"namespaces", std::move(namespaces)},
          {"maskedPaths", array_of(kMasked)},
          {"readonlyPaths", array_of(kReadOnly)}}},
    };
    if (!with.nodes.empty()) document["linux"].get_object()["devices"] = std::move(with.nodes);
    if (!in.seccomp.empty()) document["linux"].get_object()["seccomp"] = in.seccomp;
    return json::serialize(document);
}

}  // namespace oci
