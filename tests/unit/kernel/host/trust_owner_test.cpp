// SPDX-License-Identifier: Apache-2.0
//
// Files that belong to others. A program of its own, because only root can make them.
#include <cstdio>

#include "tests/unit/kernel/host/trust_place.hpp"

namespace gantry::host {

TEST_CASE("owners and groups that are neither ours nor root's are refused") {
    Place place;
    constexpr unsigned kOther = 12'345;
    const std::string folder = place.path.string(), file = place.file.string();
    if (::geteuid() != 0 || ::lchown(folder.c_str(), kOther, 0) != 0) {
        std::puts("skipped: only root gives files away, and not in a user namespace of one user");
        std::fflush(stdout);
        ::_exit(77);
    }
    Place::give(place.path, kOther, 0);
    CHECK(place.reason() == folder + " belongs to user 12345, expected root or user 0");
    Place::mode(place.path, 01777);  // sticky, but not root's
    CHECK(place.reason() == folder + " belongs to user 12345, expected root or user 0");
    Place::give(place.path, 0, kOther);
    CHECK(place.reason() == "");  // like /tmp
    Place::mode(place.path, 0775);
    CHECK(place.reason() == folder + " can be written by group 12345; run chmod g-w on it, or give it to group root");
    Place::give(place.path, 0, 0);
    CHECK(place.reason() == "");
    Place::give(place.file, kOther, 0);
    CHECK(place.reason() == file + " belongs to user 12345, expected root or user 0");
    Place::give(place.file, 0, kOther);
    Place::mode(place.file, 0664);
    CHECK(place.reason() == file + " can be written by group 12345; run chmod g-w on it, or give it to group root");
}

}  // namespace gantry::host
