// SPDX-License-Identifier: Apache-2.0
//
// How people name an image:
//
//     axis_server:1.0                           in the controller's store
//     registry.host:5000/press/axis_server:1.0  in a registry
//     registry.host/axis_server@sha256:...      pinned; a tag may stand before the @
//     axis_server@1.0#sylixos                   as ECSM writes it: name, tag, operating system
#pragma once

#include <string>
#include <string_view>

#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

struct Reference {
    std::string registry;  // "registry.host:5000"; empty: none is named
    std::string path;      // "press/axis_server"
    std::string tag;       // empty only if a digest is there
    std::string digest;    // "sha256:..." or empty
    std::string system;    // "sylixos", or empty: not said

    // Under which it is stored: without the system, ECSM's form as NAME:TAG.
    std::string name() const;
    // What the registry is asked for.
    std::string source() const { return registry + "/" + path + (digest.empty() ? ":" + tag : "@" + digest); }
};

// Without tag and digest the tag is "latest". Errors: kUsage.
Outcome<Reference> parse_reference(std::string_view text);

}  // namespace gantry::cli
