// SPDX-License-Identifier: Apache-2.0
//
// config.json of one container (OCI runtime specification 1.0.2): everything its own but the network,
// which is the node's unless the settings say otherwise.
#pragma once

#include <boost/json/object.hpp>
#include <gantry/runtime.hpp>
#include <string>

#include "plugins/runtime/monitored/program.hpp"
#include "plugins/runtime/monitored/root_folder.hpp"
#include "plugins/runtime/monitored/settings.hpp"

namespace oci {

struct BundleInput {
    const gantry::ContainerSpec& spec;
    const monitored::Settings& settings;
    const monitored::Program& program;
    const monitored::User& user;
    std::string cgroup;                  // absolute path in each hierarchy
    std::string network;                 // path of its network namespace, where the settings ask for a bridge
    bool counts_swap;                    // a limit of memory and swap together may be named
    bool weighs_io;                      // a weight of block I/O may be named
    const boost::json::object& seccomp;  // which system calls are allowed; empty: all
    std::string criu_options;            // path of the file that checkpoints are written and read by
};

inline constexpr std::int64_t kCpuPeriodUs = 100'000;

// Of each period; 0: no limit. It is no part of the bundle, for the engine's init would stand still for most of it:
// with a hundredth of a processor a start takes half a second. It is set before the program begins.
std::int64_t cpu_quota_us(const gantry::ContainerSpec& spec);

// Throws Failure(kInvalid) for what cannot work on this node: what, why, and what to do.
std::string bundle_config(const BundleInput& input);

}  // namespace oci
