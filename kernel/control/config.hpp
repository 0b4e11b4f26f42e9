// SPDX-License-Identifier: Apache-2.0
//
// The configuration file of gantryd as a checked value. Everything that is wrong is reported with file:line:column and
// a guess at what was meant; nothing of a wrong file is used.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/core/spec.hpp"
#include "kernel/core/timing.hpp"
#include "kernel/host/host.hpp"

namespace gantry::control {

struct NodeConfig {
    std::string name;  // default: the host's name
    core::Labels labels;
    std::string advertise;  // IP address that names answer; empty: the one towards the controller
    std::filesystem::path boot_id_file = "/proc/sys/kernel/random/boot_id";
    std::vector<std::string> position_servers;  // further ones for containers, behind the node's own
    std::int64_t cpu_milli = 0;                 // 0: what the machine has
    std::int64_t memory_bytes = 0;
    std::int64_t disk_warn_percent = 90;  // 0: no event
    Duration measure_every = seconds(5);  // what load::Sampler measures
    std::string listen;                   // where other nodes dial, to answer for this one; empty: nowhere
    // Percent of the disk of state_dir: images that are not needed go once it is filled to the one, down to the other.
    unsigned image_high_watermark = 85, image_low_watermark = 80;

    std::map<std::string, std::vector<std::string>> drill;  // kind -> command; what is not here is not permitted

    std::pair<std::uint16_t, std::uint16_t> ports = core::kPortRange;  // first and last, for endpoints with port 0

    std::uint16_t ask_port() const;  // of listen; 0: none
};

struct ControllerConfig {
    std::string listen = "0.0.0.0:3900";
    std::string default_policy;  // empty: the first placement table
    core::Timing timing;         // of the profile, with what [controller.timing] changes
};

struct Config {
    std::filesystem::path file;
    std::string text;  // of the file
    std::filesystem::path state_dir = "/var/lib/gantry";
    std::optional<NodeConfig> node;
    std::optional<ControllerConfig> controller;
    std::vector<std::filesystem::path> plugin_path;
    trust::Options trust;
    std::filesystem::path plugin_host;  // program for plugins with a process of their own; not in the file
    std::filesystem::path guard;        // program that keeps leases; not in the file
    unsigned workers = 2;
    host::LogLevel log_level = host::LogLevel::kInfo;
    std::vector<host::PluginTable> plugins;  // in order of the file
};

// Reads and checks the kernel's own tables; the plugins' are checked by host::Host against their schemas.
// `default_plugin_path` is where the plugins of this gantryd's own package are; it is used where the file names none.
Result<Config> read_config(const std::filesystem::path& file, const std::filesystem::path& default_plugin_path);
// The same of a text that is not (or no longer) what the file holds.
Result<Config> parse_config(std::string text, const std::filesystem::path& file,
                            const std::filesystem::path& default_plugin_path);

// The keys ("log.level", "placement.least-loaded.plugin") that differ between two texts that parse_config has taken.
// kRefused, with the place in the new one: a key that cannot change while gantryd runs.
Result<std::vector<std::string>> changed_keys(const std::string& before, const std::string& after,
                                              const std::filesystem::path& file);

}  // namespace gantry::control
