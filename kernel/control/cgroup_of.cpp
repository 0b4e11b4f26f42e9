// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/cgroup_of.hpp"

#include <algorithm>
#include <vector>

#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kMost = 1 << 20;  // of a file below /proc

std::vector<std::string_view> split(std::string_view text, char by) {
    std::vector<std::string_view> out;
    for (std::size_t at = 0; at <= text.size();) {
        const auto end = std::min(text.find(by, at), text.size());
        out.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

// "4:freezer:/gantry/a", "0::/gantry/a" -> "/gantry/a" of this controller; "" is cgroup2.
std::string_view group_of(std::string_view groups, std::string_view controller) {
    for (const auto line : split(groups, '\n')) {
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == line.npos || second == line.npos) continue;
        const auto controllers = split(line.substr(first + 1, second - first - 1), ',');
        if (std::ranges::find(controllers, controller) != controllers.end()) return line.substr(second + 1);
    }
    return {};
}

// A mount may show a part of the tree only: its fourth field.
std::filesystem::path below(std::string_view group, std::string_view root, std::string_view mount) {
    if (root != "/") {
        if (!group.starts_with(root)) return {};
        group.remove_prefix(root.size());
    }
    if (group.size() < 2 || group.front() != '/') return {};  // not a group of its own
    return std::string(mount) + std::string(group);
}

std::filesystem::path folder(std::string_view groups, std::string_view mounts, std::string_view type,
                             std::string_view controller) {
    const auto group = group_of(groups, controller);
    for (const auto line : split(mounts, '\n')) {
        const auto dash = line.find(" - ");
        if (dash == line.npos) continue;
        const auto before = split(line.substr(0, dash), ' '), after = split(line.substr(dash + 3), ' ');
        if (before.size() < 5 || after.size() < 3 || after[0] != type) continue;
        const auto options = split(after[2], ',');
        if (!controller.empty() && std::ranges::find(options, controller) == options.end()) continue;
        if (auto found = below(group, before[3], before[4]); !found.empty()) return found;
    }
    return {};
}

}  // namespace

std::filesystem::path unified_folder(std::string_view groups, std::string_view mounts) {
    return folder(groups, mounts, "cgroup2", "");
}

std::filesystem::path freezer_folder(std::string_view groups, std::string_view mounts) {
    return folder(groups, mounts, "cgroup", "freezer");
}

Result<std::filesystem::path> cgroup_of(pid_t pid) {
    GANTRY_TRY(groups, read_file("/proc/" + std::to_string(pid) + "/cgroup", kMost));
    GANTRY_TRY(mounts, read_file("/proc/self/mountinfo", kMost));
    std::error_code ignored;
    if (auto at = unified_folder(groups, mounts); std::filesystem::exists(at / "cgroup.kill", ignored)) return at;
    if (auto at = freezer_folder(groups, mounts); std::filesystem::exists(at / "freezer.state", ignored)) return at;
    return fail(Code::kUnsupported, "the container's process " + std::to_string(pid) +
                                        " is in no cgroup of its own, expected one below a cgroup2 mount with "
                                        "cgroup.kill (Linux 5.14) or below v1's freezer");
}

}  // namespace gantry::control
