// SPDX-License-Identifier: Apache-2.0
//
// A plugin's file whose owners and permissions a test changes.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include "kernel/host/file.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {

// A folder of plugins below two others, all of which can be changed.
class Place {
  public:
    Place() : outer(bench_.folder / "outer"), path(outer / "plugins"), file(path / "probe" / "bare.so") {
        std::filesystem::create_directories(path / "probe");
        std::filesystem::copy_file(std::filesystem::path(GANTRY_TEST_PLUGINS) / "probe" / "bare.so", file);
        for (const auto& each : {outer, path, path / "probe"}) mode(each, 0755);
        mode(file, 0644);
    }
    static void mode(const std::filesystem::path& of, mode_t mode) { REQUIRE(::chmod(of.c_str(), mode) == 0); }
    static void give(const std::filesystem::path& what, uid_t user, gid_t group) {
        REQUIRE(::lchown(what.c_str(), user, group) == 0);
    }
    // Why it is refused; empty if it is not.
    std::string reason(const std::filesystem::path& from) const {
        trust::Verifier verifier({});
        const auto opened = open_plugin({from}, "probe", "bare", verifier);
        return opened ? "" : opened.error().message;
    }
    std::string reason() const { return reason(path); }

  private:
    Bench bench_;

  public:
    const std::filesystem::path outer, path, file;
};

}  // namespace gantry::host
