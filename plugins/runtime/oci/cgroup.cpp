// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/cgroup.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/process.hpp"

namespace oci {
namespace {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;
using monitored::parse_number;
using monitored::read_file;

constexpr std::string_view kMonitors = "_monitor";  // no container's name begins so
constexpr std::size_t kMaxFile = 256 << 10;
constexpr timespec kPause{0, 2'000'000};  // between two looks at a group that is to become empty

bool write_file(const fs::path& file, std::string_view text) {
    const gantry::Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// The number behind "key " at the beginning of a line.
std::optional<long long> keyed(const std::string& text, const std::string& key) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(key + " ")) return parse_number(std::string_view(line).substr(key.size() + 1));
    }
    return std::nullopt;
}

void make_group(const fs::path& folder, bool cpuset) {
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) monitored::file_failed("make", folder, errno);
    if (!cpuset) return;
    // A new group of this controller takes nobody in until it has processors and memory.
    for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
        const std::string mine = read_file(folder / file, kMaxFile).value_or("");
        if (mine.find_first_not_of(" \n") != std::string::npos) continue;
        (void)write_file(folder / file, read_file(folder.parent_path() / file, kMaxFile).value_or(""));
    }
}

// Inner groups first. True once it is gone.
bool remove_group(const fs::path& folder) {
    if (::rmdir(folder.c_str()) == 0 || errno == ENOENT) return true;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
        if (it->is_directory(error)) remove_group(it->path());
    }
    return ::rmdir(folder.c_str()) == 0 || errno == ENOENT;
}

void collect(const fs::path& folder, std::set<pid_t>& out) {
    std::istringstream lines(read_file(folder / "cgroup.procs", kMaxFile).value_or(""));
    for (pid_t pid = 0; lines >> pid;) {
        if (pid > 0) out.insert(pid);
    }
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
        if (it->is_directory(error)) collect(it->path(), out);
    }
}

std::vector<std::string> split(const std::string& text, char by) {
    std::vector<std::string> out;
    std::istringstream in(text);
    for (std::string item; std::getline(in, item, by);) out.push_back(item);
    return out;
}

}  // namespace

Cgroups::Cgroups(std::string parent) : parent_(std::move(parent)) {
    static const std::set<std::string, std::less<>> kNoController = {"rw", "ro", "xattr", "clone_children", "noprefix"};
    std::ifstream mounts("/proc/self/mountinfo");
    std::set<std::string> seen;
    for (std::string line; std::getline(mounts, line);) {
        const std::size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        const std::vector<std::string> before = split(line.substr(0, dash), ' ');
        const std::vector<std::string> after = split(line.substr(dash + 3), ' ');
        if (before.size() < 5 || after.size() < 3 || !after[0].starts_with("cgroup")) continue;
        Hierarchy found{before[4], {}};
        if (after[0] == "cgroup") {
            for (const std::string& option : split(after[2], ',')) {
                if (!kNoController.contains(option) && !option.starts_with("release_agent"))
                    found.controllers.push_back(option);
            }
            if (found.controllers.empty()) continue;
        }
        // The same hierarchy may be mounted twice.
        std::string key;
        for (const std::string& controller : found.controllers) key += controller + ",";
        if (seen.insert(key).second) hierarchies_.push_back(std::move(found));
    }
    if (hierarchies_.empty()) {
        throw Failure(Code::kUnavailable, "no cgroup hierarchy is mounted on this node; mount one at /sys/fs/cgroup");
    }
}

const Cgroups::Hierarchy* Cgroups::with(std::string_view controller) const {
    const Hierarchy* unified = nullptr;
    for (const Hierarchy& hierarchy : hierarchies_) {
        if (std::ranges::find(hierarchy.controllers, controller) != hierarchy.controllers.end()) return &hierarchy;
        if (hierarchy.unified()) unified = &hierarchy;
    }
    return unified;
}

fs::path Cgroups::folder(const Hierarchy& hierarchy, const std::string& name) const {
    return hierarchy.mount / parent_ / name;
}

bool Cgroups::counts_swap() const {
    const Hierarchy* memory = with("memory");
    return memory != nullptr && (memory->unified() || fs::exists(memory->mount / "memory.memsw.limit_in_bytes"));
}

bool Cgroups::weighs_io() {
    const std::lock_guard lock(monitors_);
    if (const Hierarchy* v1 = with("blkio"); v1 != nullptr && !v1->unified()) {
        fs::path at = v1->mount;
        for (const std::string& part : split(parent_, '/')) make_group(at /= part, false);
        return fs::exists(at / "blkio.weight") || fs::exists(at / "blkio.bfq.weight");
    }
    const Hierarchy* unified = with("io");
    const std::string known =
        unified == nullptr ? "" : read_file(unified->mount / "cgroup.controllers", kMaxFile).value_or("");
    return (" " + known).find(" io") != std::string::npos;
}

void Cgroups::adopt_monitor(pid_t pid) {
    const std::lock_guard lock(monitors_);
    for (const Hierarchy& hierarchy : hierarchies_) {
        const bool cpuset = std::ranges::find(hierarchy.controllers, "cpuset") != hierarchy.controllers.end();
        fs::path at = hierarchy.mount;
        for (const std::string& part : split(parent_, '/')) make_group(at /= part, cpuset);
        make_group(at /= kMonitors, cpuset);
        if (write_file(at / "cgroup.procs", std::to_string(pid))) continue;
        if (errno == ESRCH) return;  // it has ended already
        monitored::file_failed("put conmon into", at, errno);
    }
}

void Cgroups::limit_cpu(const std::string& name, std::int64_t quota_us, std::int64_t period_us) const {
    const Hierarchy* tree = with("cpu");
    if (tree == nullptr) throw Failure(Code::kFailed, "no cgroup hierarchy of this node limits processors");
    const std::string quota = std::to_string(quota_us), period = std::to_string(period_us);
    const fs::path file = folder(*tree, name) / (tree->unified() ? "cpu.max" : "cpu.cfs_quota_us");
    if (!write_file(file, tree->unified() ? quota + " " + period : quota)) monitored::file_failed("write", file, errno);
}

std::vector<pid_t> Cgroups::members(const std::string& name) const {
    std::set<pid_t> out;
    for (const Hierarchy& hierarchy : hierarchies_) collect(folder(hierarchy, name), out);
    return {out.begin(), out.end()};
}

// The file, and what is in it of a group that is not frozen.
std::pair<fs::path, std::string> Cgroups::freezer(const std::string& name) const {
    const Hierarchy* tree = with("freezer");
    if (tree == nullptr) return {};
    const fs::path group = folder(*tree, name);
    return tree->unified() ? std::pair(group / "cgroup.freeze", "0") : std::pair(group / "freezer.state", "THAWED");
}

bool Cgroups::freeze(const std::string& name) const {
    const auto [file, moving] = freezer(name);
    // One that somebody else has frozen stays so.
    return read_file(file, kMaxFile).value_or("").starts_with(moving) &&
           write_file(file, moving == "0" ? "1" : "FROZEN");
}

void Cgroups::thaw(const std::string& name) const {
    const auto [file, moving] = freezer(name);
    (void)write_file(file, moving);
}

bool Cgroups::paused(const std::string& name) const {
    const auto [file, moving] = freezer(name);
    const std::string is = read_file(file, kMaxFile).value_or(moving);
    return !is.starts_with(moving);
}

void Cgroups::pause(const std::string& name, bool on, gantry::Instant deadline) const {
    const std::lock_guard lock(freezers_);
    const auto [file, moving] = freezer(name);
    if (file.empty() || !fs::exists(file))
        throw Failure(Code::kUnsupported, "this node's cgroups cannot freeze: " + file.string() + " is missing");
    const bool unified = moving == "0";
    const std::string wanted = unified ? (on ? "1" : "0") : (on ? "FROZEN" : "THAWED");
    if (!write_file(file, wanted)) monitored::file_failed("write", file, errno);
    const auto there = [&, file = file] {
        if (!unified) return read_file(file, kMaxFile).value_or("").starts_with(wanted);
        const std::string events = read_file(file.parent_path() / "cgroup.events", kMaxFile).value_or("");
        return keyed(events, "frozen").value_or(0) == (on ? 1 : 0);
    };
    while (!there()) {
        if (monitored::now() > deadline) {
            if (on) thaw(name);
            throw Failure(Code::kDeadline, "a process of container \"" + name + "\" does not " +
                                               (on ? "stand still: it waits in the kernel" : "go on"));
        }
        (void)::nanosleep(&kPause, nullptr);
    }
}

void Cgroups::kill_marked(const std::string& name, const std::string& mark) const {
    const gantry::Instant end = monitored::now() + std::chrono::seconds(1);
    for (bool again = false; monitored::now() < end; again = true) {
        // At first only looked at: as a rule nothing is left, and the container is not to stand still for that.
        const std::lock_guard lock(freezers_);
        const bool frozen = again && freeze(name);
        std::vector<pid_t> left = members(name);
        std::erase_if(left, [&](pid_t pid) { return !monitored::has_mark(pid, mark); });
        for (const pid_t pid : left) (void)::kill(pid, SIGSTOP);
        for (const pid_t pid : left) (void)::kill(pid, SIGKILL);
        if (frozen) thaw(name);
        if (left.empty()) return;
        (void)::nanosleep(&kPause, nullptr);
    }
}

void Cgroups::freeze_and_signal(const std::string& name) const {
    // Frozen while they are signalled, they cannot multiply.
    (void)freeze(name);
    for (const pid_t pid : members(name)) (void)::kill(pid, SIGKILL);
    thaw(name);
}

pid_t Cgroups::kill(const std::string& name) const {
    bool whole = false;  // the kernel kills all of them at once
    for (const Hierarchy& hierarchy : hierarchies_) {
        if (hierarchy.unified()) whole = write_file(folder(hierarchy, name) / "cgroup.kill", "1");
    }
    const std::vector<pid_t> left = members(name);
    if (left.empty()) return 0;
    // After cgroup.kill they need a moment; on pure v1 this is what kills them, again until none is left.
    if (!whole) freeze_and_signal(name);
    // In a hybrid tree the kernel does not thaw what it kills.
    else if (freezer(name).second == "THAWED")
        thaw(name);
    return left.front();
}

void Cgroups::remove(const std::string& name, gantry::Instant deadline) {
    for (const Hierarchy& hierarchy : hierarchies_) {
        const fs::path group = folder(hierarchy, name);
        while (!remove_group(group)) {
            if (monitored::now() > deadline) monitored::file_failed("delete", group, errno);
            (void)::nanosleep(&kPause, nullptr);
        }
    }
    const std::lock_guard lock(monitors_);
    for (const Hierarchy& hierarchy : hierarchies_) {
        fs::path at = hierarchy.mount / parent_;
        if (::rmdir((at / kMonitors).c_str()) != 0 && errno != ENOENT) continue;
        for (std::size_t i = 0; i < split(parent_, '/').size() && ::rmdir(at.c_str()) == 0; ++i) at = at.parent_path();
    }
}

bool Cgroups::out_of_memory(const std::string& name) const {
    const Hierarchy* memory = with("memory");
    if (memory == nullptr) return false;
    const char* file = memory->unified() ? "memory.events" : "memory.oom_control";
    const std::string text = read_file(folder(*memory, name) / file, kMaxFile).value_or("");
    return keyed(text, "oom_kill").value_or(0) > 0;
}

bool Cgroups::no_more_processes(const std::string& name) const {
    constexpr long long kOfEngine = 16;  // threads that the engine itself needs inside until the program is begun
    const auto now = value("pids", name, "pids.current", "pids.current"),
               most = value("pids", name, "pids.max", "pids.max");
    return now && most && *now + kOfEngine > *most;
}

std::optional<long long> Cgroups::value(std::string_view controller, const std::string& name, const char* v1,
                                        const char* v2) const {
    const Hierarchy* hierarchy = with(controller);
    if (hierarchy == nullptr) return std::nullopt;
    const std::optional<std::string> text =
        read_file(folder(*hierarchy, name) / (hierarchy->unified() ? v2 : v1), kMaxFile);
    if (!text) return std::nullopt;
    if (!hierarchy->unified() || std::string_view(v2) != "cpu.stat") return parse_number(*text);
    const std::optional<long long> usec = keyed(*text, "usage_usec");
    return usec ? std::optional(*usec * 1000) : std::nullopt;
}

std::optional<gantry::ContainerStats> Cgroups::stats(const std::string& name) const {
    const auto cpu = value("cpuacct", name, "cpuacct.usage", "cpu.stat");
    const auto memory = value("memory", name, "memory.usage_in_bytes", "memory.current");
    const auto pids = value("pids", name, "pids.current", "pids.current");
    if (!cpu && !memory && !pids) return std::nullopt;
    return gantry::ContainerStats{std::chrono::nanoseconds(cpu.value_or(0)), memory.value_or(0), pids.value_or(0)};
}

}  // namespace oci
