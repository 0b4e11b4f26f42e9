// SPDX-License-Identifier: Apache-2.0
//
// config.json of one container (OCI runtime specification 1.0.2): the node's network, everything else its own.
#pragma once

#include <boost/json/object.hpp>
#include <gantry/runtime.hpp>
#include <string>

#include "plugins/runtime/monitored/program.hpp"
#include "plugins/runtime/monitored/root_folder.hpp"

namespace oci {

struct BundleInput {
    const gantry::ContainerSpec& spec;
    const monitored::Program& program;
    const monitored::User& user;
    std::string cgroup;                  // absolute path in each hierarchy
    bool counts_swap;                    // a limit of memory and swap together may be named
    const boost::json::object& seccomp;  // which system calls are allowed; empty: all
};

// Throws Failure(kInvalid) for limits that cannot work.
std::string bundle_config(const BundleInput& input);

}  // namespace oci
