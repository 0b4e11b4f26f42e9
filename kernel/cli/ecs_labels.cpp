// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/ecs_labels.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>

#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kMaxShown = 80;
constexpr std::array<std::string_view, 4> kRights = {"ro", "rw", "rx", "rwx"};

std::string quoted(std::string_view text) { return "\"" + std::string(text.substr(0, kMaxShown)) + "\""; }

bool is_number(std::string_view text) {
    return !text.empty() && text.size() <= 18 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool climbs(std::string_view path) {
    return path == ".." || path.starts_with("../") || path.ends_with("/..") || path.find("/../") != path.npos;
}

class EcsLabels {
  public:
    explicit EcsLabels(const json::object& labels) {
        for (const auto& label : labels) take(label.key(), label.value());
        check_groups("mounts.", "destination", mounts_);
        check_groups("sylixos.devices.", "path", devices_);
        check_mounts();
    }
    std::vector<std::string> warnings;
    std::string wrong;

  private:
    using Group = std::map<std::string, std::string, std::less<>>;
    using Groups = std::map<std::string, Group, std::less<>>;  // by number, as it is written

    void warn(const std::string& label, const std::string& what) { warnings.push_back("label " + label + ": " + what); }

    void take(std::string_view key, const json::value& value) {
        const bool ours = key == "hostname" || key.starts_with("mounts.") || key.starts_with("sylixos.");
        if (!ours) return;
        const std::string name(key.substr(0, kMaxShown));
        if (!value.is_string()) return warn(name, "is no text, so it does not count");
        const std::string text(value.as_string());
        if (group("mounts.", key, text, mounts_) || group("sylixos.devices.", key, text, devices_)) return;
        const bool plain = key == "hostname" || key.starts_with("sylixos.commands.") ||
                           key.starts_with("sylixos.network.") || key.starts_with("sylixos.resources.");
        if (!plain) return warn(name, "is no setting that is known, so it does not count");
        if (key.starts_with("sylixos.resources.") && key.find("ffinity") == key.npos && !is_number(text))
            warn(name, "expected a number, got " + quoted(text) + ", so it does not count");
    }

    bool group(std::string_view prefix, std::string_view key, const std::string& text, Groups& into) {
        if (!key.starts_with(prefix)) return false;
        const auto rest = key.substr(prefix.size());
        const auto dot = rest.find('.');
        const auto number = rest.substr(0, dot);
        if (dot == rest.npos || !is_number(number)) {
            warn(std::string(key.substr(0, kMaxShown)), "has no number, so it does not count");
            return true;
        }
        into[std::string(number)][std::string(rest.substr(dot + 1, kMaxShown))] = text;
        return true;
    }

    void check_groups(const std::string& prefix, std::string_view path, const Groups& groups) {
        std::set<std::string_view> seen;
        for (const auto& [number, group] : groups) {
            const auto name = prefix + number;
            const auto at = group.find(path);
            if (at == group.end() || !at->second.starts_with('/')) {
                warn(name, "has no absolute " + std::string(path) + ", so it does not count");
                continue;
            }
            for (const auto& [member, text] : group)
                if (climbs(text)) wrong = "label " + name + "." + member + " climbs out: " + quoted(text);
            if (!seen.insert(at->second).second)
                warn(name, quoted(at->second) + " is there already, so this one does not count");
        }
    }

    void check_mounts() {
        for (const auto& [number, mount] : mounts_) {
            const auto name = "mounts." + number;
            const auto options = mount.find("options"), source = mount.find("source"), to = mount.find("destination");
            if (options != mount.end() && std::ranges::find(kRights, options->second) == kRights.end())
                warn(name, "expected one of ro, rw, rx, rwx, got " + quoted(options->second) +
                               " (the packer keeps one letter of a text), which means ro");
            if (source != mount.end() && to != mount.end() && source->second != to->second)
                warn(name, "mounts " + quoted(source->second) + " at " + quoted(to->second) +
                               "; the packer reads the words of MOUNT the other way round than its guide says: look");
        }
    }

    Groups mounts_, devices_;
};

}  // namespace

std::expected<std::vector<std::string>, std::string> check_ecs_labels(const json::value& config) {
    const auto* inner = member_of(config, "config");
    const auto* labels = inner ? member_of(*inner, "Labels") : nullptr;
    if (text_of(config, "os") != "sylixos" || !labels) return std::vector<std::string>();
    if (!labels->is_object()) return std::vector<std::string>{"its labels are no object, so none counts"};
    EcsLabels found(labels->as_object());
    if (!found.wrong.empty()) return std::unexpected(found.wrong);
    return std::move(found.warnings);
}

}  // namespace gantry::cli
