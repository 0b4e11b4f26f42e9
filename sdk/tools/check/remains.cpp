// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/remains.hpp"

#include <poll.h>

#include <chrono>
#include <filesystem>

namespace gantry::check {

std::size_t thread_count() {
    std::size_t out = 0;
    for ([[maybe_unused]] const auto& item : std::filesystem::directory_iterator("/proc/self/task")) ++out;
    return out;
}

std::set<std::string> open_descriptors() {
    std::set<std::string> out;
    for (const auto& item : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;  // the list's own descriptor
        const std::string target = std::filesystem::read_symlink(item.path(), gone).string();
        if (gone || target.ends_with("/fd") || target.ends_with("schedstat")) continue;
        out.insert(item.path().filename().string() + " -> " + target);
    }
    return out;
}

std::string new_descriptors(const std::set<std::string>& before, const std::set<std::string>& now) {
    std::string out;
    for (const std::string& item : now) {
        if (!before.contains(item)) out += (out.empty() ? "" : ", ") + item;
    }
    return out.empty() ? "fewer than before" : out;
}

bool soon(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > until) return false;
        ::poll(nullptr, 0, 5);
    }
    return true;
}

}  // namespace gantry::check
