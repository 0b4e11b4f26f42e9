// SPDX-License-Identifier: Apache-2.0
//
// Which system calls a container may make.
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace oci {

// The object `linux.seccomp` of a bundle, empty for none. choice: "default", "none", or the absolute path of such an
// object in a file. Throws gantry::Failure(kInvalid) for a file that is none.
boost::json::object seccomp_profile(const std::string& choice);

}  // namespace oci
