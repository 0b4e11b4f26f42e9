// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/spare_images.hpp"

#include <catch2/catch.hpp>

using gantry::control::SpareImages;
using Image = SpareImages::Image;

namespace {

// What goes at that fill, until nothing more does or `most` have gone.
std::vector<std::string> gone(SpareImages& spare, double used, std::size_t most = 10) {
    std::vector<std::string> out;
    while (out.size() < most) {
        const auto image = spare.next(used);
        if (!image) break;
        out.push_back(image->digest);
        spare.remove(*image);
    }
    return out;
}

}  // namespace

TEST_CASE("spare images go from the high watermark to the low one, the longest not needed first") {
    SpareImages spare(85, 80);
    spare.update("oci", {"c", "a", "needed"}, {"needed"});
    spare.update("oci", {"a", "b", "c", "needed"}, {"needed"});
    CHECK(spare.digests() == std::vector<std::string>{"c", "a", "b"});
    CHECK(gone(spare, 84.9).empty());
    CHECK(gone(spare, 85, 1) == std::vector<std::string>{"c"});
    CHECK(gone(spare, 80, 1) == std::vector<std::string>{"a"});  // still above the low one
    CHECK(gone(spare, 79.9).empty());
    CHECK(gone(spare, 82).empty());  // and now the high one counts again
    CHECK(spare.digests() == std::vector<std::string>{"b"});
}

TEST_CASE("an image that is needed again, or gone, is no spare one") {
    SpareImages spare(0, 0);
    spare.update("oci", {"a", "b", "c"}, {});
    spare.update("docker", {"a"}, {});
    SECTION("needed again") {
        spare.update("oci", {"a", "b", "c"}, {"a"});
        CHECK(spare.digests() == std::vector<std::string>{"b", "c", "a"});  // the other runtime's
        spare.forget("a");
        CHECK(spare.digests() == std::vector<std::string>{"b", "c"});
    }
    SECTION("gone") {
        spare.update("oci", {"c"}, {});
        CHECK(spare.next(0) == Image{"oci", "c"});
    }
}

TEST_CASE("a disk that nothing more can be taken from is looked at anew from the high watermark") {
    SpareImages spare(85, 80);
    spare.update("oci", {"a"}, {});
    CHECK(gone(spare, 99).size() == 1);
    CHECK(gone(spare, 99).empty());
    spare.update("oci", {"b"}, {});
    CHECK(gone(spare, 84).empty());
    CHECK(gone(spare, 90) == std::vector<std::string>{"b"});
}

TEST_CASE("with both watermarks at 0 an image goes at once") {
    SpareImages spare(0, 0);
    spare.update("oci", {"a"}, {});
    CHECK(gone(spare, 0).size() == 1);
    CHECK(spare.empty());
}
