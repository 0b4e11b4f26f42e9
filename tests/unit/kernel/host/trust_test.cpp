// SPDX-License-Identifier: Apache-2.0
//
// Whose files and folders a plugin may come from; what needs files of others is in trust_owner_test.cpp.
#include "tests/unit/kernel/host/trust_place.hpp"

namespace gantry::host {

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

}  // namespace gantry::host
