// SPDX-License-Identifier: Apache-2.0
//
// Looks at what Gantry needs of this machine, and says the cure for what is not there. Reads only; the ports are tried
// by binding them for a moment where no gantryd runs.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::time_t kBuilt = 1764547200;  // 2025-12-01: a clock before it was never set
constexpr std::uint64_t kDiskMin = 512ULL << 20, kDiskLow = 2048ULL << 20;

enum class Verdict { kGood, kWarning, kBad };
struct Finding {
    std::string what;
    Verdict verdict;
    std::string text, cure;
};
using Findings = std::vector<Finding>;

std::string contents(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The first line of a program's answer; nothing if it is not in PATH or fails.
std::optional<std::string> answer_of(const std::string& command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen((command + " 2>&1").c_str(), "re"),
                                                     [](FILE* f) { return f ? ::pclose(f) : 0; });
    if (!pipe) return std::nullopt;
    std::string out;
    std::array<char, 512> part{};
    while (std::fgets(part.data(), static_cast<int>(part.size()), pipe.get()) != nullptr) out += part.data();
    return out;
}

bool is_program(const std::string& name) {
    const char* path = std::getenv("PATH");
    for (std::string_view rest = path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin"; !rest.empty();) {
        const auto end = rest.find(':');
        if (::access((fs::path(rest.substr(0, end)) / name).c_str(), X_OK) == 0) return true;
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
    return false;
}

Finding look_at_cgroups() {
    constexpr const char* kCure =
        "mount cgroup2 on /sys/fs/cgroup (or boot with cgroup_enable=memory where the kernel leaves it out)";
    std::string missing;
    const std::string two = contents("/sys/fs/cgroup/cgroup.controllers"), one = contents("/proc/cgroups");
    for (const std::string name : {"cpu", "memory", "pids"}) {
        const bool in_two = (" " + two.substr(0, two.find('\n')) + " ").find(" " + name + " ") != std::string::npos;
        if (!in_two && !fs::exists("/sys/fs/cgroup/" + name)) missing += (missing.empty() ? "" : ", ") + name;
    }
    if (missing.empty()) return {"cgroups", Verdict::kGood, two.empty() ? "version 1" : "version 2", ""};
    return {"cgroups", Verdict::kBad, "no controller for " + missing, kCure};
}

Finding look_at_runtime() {
    std::string engine;
    for (const char* name : {"runc", "crun"}) {
        if (engine.empty() && is_program(name)) engine = name;
    }
    if (engine.empty()) return {"runtime", Verdict::kBad, "neither runc nor crun is in PATH", "apt-get install runc"};
    if (!is_program("conmon")) return {"runtime", Verdict::kBad, "conmon is not in PATH", "apt-get install conmon"};
    const auto version = answer_of(engine + " --version").value_or("");
    return {"runtime", Verdict::kGood, one_line(version.substr(0, version.find('\n')), 60) + ", conmon", ""};
}

Finding look_at_overlay() {
    if (contents("/proc/filesystems").find("\toverlay\n") != std::string::npos)
        return {"overlayfs", Verdict::kGood, "in the kernel", ""};
    utsname kernel{};
    ::uname(&kernel);
    if (fs::exists(std::string("/lib/modules/") + kernel.release + "/kernel/fs/overlayfs"))
        return {"overlayfs", Verdict::kGood, "a module, loaded when it is needed", ""};
    return {"overlayfs", Verdict::kBad, "the kernel has none", "use a kernel with CONFIG_OVERLAY_FS"};
}

// Whether a port can be had now.
Finding look_at_port(const std::string& what, int type, std::uint16_t port, bool daemon_runs) {
    const std::string name = std::to_string(port) + (type == SOCK_DGRAM ? "/udp" : "/tcp");
    if (daemon_runs) return {what, Verdict::kGood, name + " is gantryd's, which runs", ""};
    const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
    const int yes = 1;
    if (type == SOCK_STREAM) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const int why = errno;
    ::close(fd);
    if (free) return {what, Verdict::kGood, name + " is free", ""};
    const std::string cure =
        why == EACCES ? "ask as root" : "find who has it: ss -lnp 'sport = :" + std::to_string(port) + "'";
    return {what, why == EACCES ? Verdict::kWarning : Verdict::kBad, name + ": " + std::strerror(why), cure};
}

Finding look_at_clock() {
    if (std::time(nullptr) < kBuilt)
        return {"clock", Verdict::kWarning, "it was never set",
                "set it (timedatectl, or a time server): times of events will be wrong; nothing else depends on it"};
    timex state{};
    const bool synchronised = ::adjtimex(&state) >= 0 && (state.status & STA_UNSYNC) == 0;
    if (synchronised) return {"clock", Verdict::kGood, "synchronised", ""};
    return {"clock", Verdict::kWarning, "not synchronised with a time server",
            "systemd-timesyncd or chrony; only the times shown with events depend on it"};
}

Finding look_at_secret(const ClusterOptions& options) {
    const auto path = (fs::path(options.config).parent_path() / "cluster.secret").string();
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0)
        return {"secret", errno == ENOENT ? Verdict::kBad : Verdict::kWarning, path + ": " + std::strerror(errno),
                errno == ENOENT ? "gantry cluster init, or gantry join" : "ask as root"};
    if ((about.st_mode & 0077) != 0)
        return {"secret", Verdict::kBad, path + " can be read by others", "chmod 600 " + path};
    return {"secret", Verdict::kGood, path, ""};
}

Finding look_at_disk(const ClusterOptions& options) {
    fs::path folder = options.state_dir;
    while (!fs::exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) != 0)
        return {"disk", Verdict::kBad, folder.string() + ": " + std::strerror(errno),
                "mount the disk that shall hold it"};
    const std::uint64_t free = std::uint64_t{disk.f_bavail} * disk.f_frsize;
    const std::string text = format_size(static_cast<std::int64_t>(free)) + " free for " + options.state_dir;
    if ((disk.f_flag & ST_RDONLY) != 0)
        return {"disk", Verdict::kBad, folder.string() + " is read-only", "mount it writable, or set state_dir"};
    if (disk.f_files != 0 && disk.f_favail < 1000)
        return {"disk", Verdict::kBad, "no room for files (inodes)", "remove what is not needed there"};
    if (free < kDiskMin) return {"disk", Verdict::kBad, text, "remove images (gantry image rm) or other files"};
    return {"disk", free < kDiskLow ? Verdict::kWarning : Verdict::kGood, text,
            free < kDiskLow ? "large images will not fit" : ""};
}

Finding look_at_config(const ClusterOptions& options) {
    std::error_code ignored;
    const auto program = fs::read_symlink("/proc/self/exe", ignored).parent_path() / "gantryd";
    if (!fs::exists(options.config))
        return {"configuration", Verdict::kBad, options.config + " is not there",
                "gantry cluster init, or gantry join"};
    if (::access(options.config.c_str(), R_OK) != 0)
        return {"configuration", Verdict::kWarning, options.config + " cannot be read", "ask as root"};
    std::string quoted;
    for (const char c : options.config) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    const auto said = answer_of("'" + program.string() + "' --check -c '" + quoted + "'").value_or("");
    if (said.find(" is good") != std::string::npos) return {"configuration", Verdict::kGood, options.config, ""};
    return {"configuration", Verdict::kBad, one_line(said, 300),
            "mend the file; gantryd --check says whether it is good"};
}

// Where programs look names up; who answers there without a gantryd here would be somebody else.
Finding look_at_names(bool daemon_runs) {
    Finding out = look_at_port("names", SOCK_DGRAM, 54, daemon_runs);
    if (!out.cure.empty()) out.cure += "; programs look names up there";
    return out;
}

}  // namespace

Outcome<int> doctor(const Session& session, const ClusterOptions& options) {
    const auto cluster = session.get("/v1/cluster");
    const bool runs = cluster.has_value();
    Findings found;
    found.push_back(runs ? Finding{"gantryd", Verdict::kGood, "runs, version " + text_of(*cluster, "version"), ""}
                         : Finding{"gantryd", Verdict::kWarning, "not reached at " + session.client().socket(),
                                   "systemctl start gantryd; journalctl -u gantryd"});
    found.push_back(look_at_config(options));
    found.push_back(look_at_secret(options));
    found.push_back(look_at_cgroups());
    found.push_back(look_at_runtime());
    found.push_back(look_at_overlay());
    found.push_back(look_at_port("controller's port", SOCK_STREAM, 3900, runs));
    found.push_back(look_at_port("node's port", SOCK_STREAM, 3901, runs));
    found.push_back(look_at_names(runs));
    found.push_back(look_at_clock());
    found.push_back(look_at_disk(options));
    bool bad = false;
    json::array items;
    Table table({"VERDICT", "WHAT", "FOUND", "CURE"});
    for (const auto& [what, verdict, text, cure] : found) {
        bad = bad || verdict == Verdict::kBad;
        const char* word = verdict == Verdict::kGood ? "good" : verdict == Verdict::kWarning ? "warning" : "bad";
        const Color color = verdict == Verdict::kGood      ? Color::kGood
                            : verdict == Verdict::kWarning ? Color::kBusy
                                                           : Color::kBad;
        table.add({{word, color}, what, text, cure});
        items.push_back(json::object{{"what", what}, {"verdict", word}, {"found", text}, {"cure", cure}});
    }
    session.show(json::object{{"items", std::move(items)}}, table, "");
    return bad ? exit_status::kFailed : exit_status::kOk;
}

}  // namespace gantry::cli
