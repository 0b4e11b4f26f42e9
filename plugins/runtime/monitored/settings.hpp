// SPDX-License-Identifier: Apache-2.0
//
// Settings: what a manifest sets beyond the fields of a ContainerSpec, read from its JSON (docs/plugins/runtime.md).
#pragma once

#include <cstdint>
#include <gantry/runtime_types.hpp>
#include <optional>
#include <string>
#include <vector>

namespace monitored {

struct Rlimit {
    std::string name;                  // "nofile"
    std::uint64_t soft = 0, hard = 0;  // RLIM_INFINITY: unlimited
};

struct Tmpfs {
    std::string target, mode;  // mode: octal
    std::int64_t bytes = 0;
    bool exec = false;
};

struct Device {
    std::string path, target, access;  // access: some of r, w and m
};

struct Settings {
    std::vector<std::string> add, drop;  // capabilities, "CAP_NET_RAW"; "ALL" in drop alone
    bool read_only = false;              // the root
    std::vector<Rlimit> rlimits;
    std::optional<int> oom_score_adj;
    // "host"; "none": a loopback of its own alone; "bridge": and an address of its own, with these ports of the node.
    std::string network = "host";
    std::vector<std::uint16_t> ports;
    std::int64_t cpu_shares = 0;  // 2 to 262144; 0: not said, as below
    std::string cpus;             // "0-2,5"; empty: all
    std::int64_t io_weight = 0;   // 10 to 1000
    std::int64_t swap_bytes = 0;  // beyond the limit of memory
    std::vector<Tmpfs> tmpfs;
    std::vector<Device> devices;

    // Throws Failure: kUnsupported for a member that is not known here, kInvalid for what is of another form.
    static Settings of(const gantry::ContainerSpec& spec);
};

}  // namespace monitored
