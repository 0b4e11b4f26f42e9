// SPDX-License-Identifier: Apache-2.0
//
// Whether the cable that leads to another machine is in, as the kernel knows it. Any thread; waits for nothing.
#pragma once

#include <string>

namespace gantry::control {

// False if the interface by which this machine would send to IP:PORT or [IPv6]:PORT has no carrier. True where nobody
// can tell: by a name, without a route, where netlink is not permitted.
bool has_carrier(const std::string& address);

}  // namespace gantry::control
