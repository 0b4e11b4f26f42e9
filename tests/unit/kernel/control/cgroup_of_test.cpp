// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/cgroup_of.hpp"

#include <catch2/catch.hpp>

using namespace gantry::control;

namespace {

constexpr const char* kHybrid =
    "25 24 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs rw,mode=755\n"
    "30 25 0:26 / /sys/fs/cgroup/freezer rw,relatime shared:9 - cgroup cgroup rw,freezer\n"
    "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "32 25 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
constexpr const char* kPure2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

}  // namespace

TEST_CASE("a container's group is found in the cgroup2 tree and in the freezer's") {
    const char* groups = "4:cpu,cpuacct:/gantry/a\n3:freezer:/gantry/a\n0::/gantry/a\n";
    CHECK(unified_folder(groups, kHybrid) == "/sys/fs/cgroup/unified/gantry/a");
    CHECK(freezer_folder(groups, kHybrid) == "/sys/fs/cgroup/freezer/gantry/a");
    CHECK(unified_folder("0::/gantry/a\n", kPure2) == "/sys/fs/cgroup/gantry/a");
    CHECK(freezer_folder("0::/gantry/a\n", kPure2).empty());
}

TEST_CASE("a mount that shows a part of the tree shows its groups below that part only") {
    const char* part = "30 24 0:26 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    CHECK(unified_folder("0::/pod/gantry/a\n", part) == "/sys/fs/cgroup/gantry/a");
    CHECK(unified_folder("0::/gantry/a\n", part).empty());
}

TEST_CASE("who is in the root group, or in none, has no group of its own") {
    CHECK(unified_folder("3:freezer:/gantry/a\n0::/\n", kHybrid).empty());
    CHECK(freezer_folder("3:freezer:/\n", kHybrid).empty());
    CHECK(unified_folder("", kHybrid).empty());
    CHECK(freezer_folder("no line of that file\n", "neither here\n").empty());
    CHECK_FALSE(cgroup_of(1 << 30));
}
