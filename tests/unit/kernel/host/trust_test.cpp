// SPDX-License-Identifier: Apache-2.0
//
// Whose files and folders a plugin may come from.
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/host/file.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

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
        const auto opened = open_plugin({from}, "probe", "bare");
        return opened ? "" : opened.error().message;
    }
    std::string reason() const { return reason(path); }

  private:
    Bench bench_;

  public:
    const std::filesystem::path outer, path, file;
};

}  // namespace

TEST_CASE("a plugin of ours in folders of ours is trusted") { CHECK(Place().reason() == ""); }

TEST_CASE("a folder that others can write is refused, wherever it is above the file") {
    Place place;
    for (const auto& folder : {place.outer, place.path, place.path / "probe"}) {
        Place::mode(folder, 0757);
        CHECK(place.reason() == folder.string() + " can be written by everybody; run chmod o-w on it");
        Place::mode(folder, 0755);
    }
    CHECK(place.reason() == "");
}

TEST_CASE("a folder behind a symbolic link is refused with what to write instead") {
    Place place;
    const auto link = place.outer / "link";
    std::filesystem::create_symlink(place.path, link);
    CHECK(place.reason(link) == link.string() + " is a symbolic link, expected a folder; write " +
                                    std::filesystem::canonical(place.path).string() + " instead");
    std::filesystem::remove_all(place.path / "probe");
    std::filesystem::create_symlink("nowhere", place.path / "probe");
    CHECK(place.reason() == (place.path / "probe").string() + " is a symbolic link, expected a folder");
}

TEST_CASE("a folder of plugins is written from the root") {
    Place place;
    CHECK(place.reason("plugins") == "plugins/probe is not absolute, expected a path from /");
}

TEST_CASE("what our own group can write is trusted: that is a umask of 002") {
    Place place;
    Place::give(place.path, ::geteuid(), ::getegid());
    Place::mode(place.path, 0775);
    Place::mode(place.file, 0664);
    CHECK(place.reason() == "");
}

TEST_CASE("owners and groups that are neither ours nor root's are refused") {
    if (::geteuid() != 0) return;  // only root gives files away; this test runs as root in CI
    Place place;
    constexpr unsigned kOther = 12'345;
    const std::string folder = place.path.string(), file = place.file.string();
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
