// SPDX-License-Identifier: Apache-2.0
//
// Puppet: the plugin in a process of its own, for the fake host. An entry that stands for the file's: what is asked of
// an instance of it, gantry-plugin-host does, with the same messages as between gantryd and that program
// (kernel/isolation); what the plugin says comes back through the services of the host.
//
// Has headers of the kernel behind it, whose names and those of the authors' layer do not live in one file: hence no
// type of check.hpp here.
#pragma once

#include <gantry/abi/entry.h>

#include <string>
#include <vector>

namespace gantry::check {

struct PuppetOf {
    std::string file, program;  // the plugin, and gantry-plugin-host; absolute
    std::string interface;      // "gantry.role.probe/1"
    std::vector<std::string> permissions;
};

// Before puppet_entry().
void make_puppet_of(PuppetOf subject);
// Everything of its instances is called on the loop, but for stop, while the loop stands.
const gantry_entry& puppet_entry();
// How a process of this check ended that nobody had told to; empty: none did.
std::string puppet_fell();
// As FakeHost::drop_kept, for what its processes have kept.
void drop_puppet_sockets();

}  // namespace gantry::check
