// SPDX-License-Identifier: Apache-2.0
//
// Ten thousand broken copies of a plugin that is shipped: reader and rules judge each with sentences or none, and
// nothing of any is loaded.
#include "tests/support/mutations.hpp"

#include <link.h>

#include <catch2/catch.hpp>
#include <gantry/elf/rules.hpp>

using namespace gantry::elf;
using gantry::test::Mutations;

namespace {

std::size_t loaded_objects() {
    std::size_t count = 0;
    ::dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* arg) {
            ++*static_cast<std::size_t*>(arg);
            return 0;
        },
        &count);
    return count;
}

}  // namespace

TEST_CASE("ten thousand mutations and truncations of a plugin are each judged, and none is loaded") {
    const Mutations broken(GANTRY_BUNDLED_FILE);
    REQUIRE(read_plugin(broken.whole()).text == "");
    REQUIRE(objections(read_plugin(broken.whole())).empty());
    WARN("seed " << broken.seed() << " (GANTRY_SEED repeats it)");
    const std::size_t objects = loaded_objects();
    std::size_t refused = 0;
    for (const std::uint64_t number : broken.numbers()) {
        INFO("GANTRY_SEED=" << broken.seed() << " GANTRY_MUTATION=" << number);
        const Reading reading = read_plugin(broken.copy(number));
        // Only what fails is told: ten thousand CHECKs cost more than what they look at.
        if ((reading.fault == Fault::kNone) != reading.text.empty()) {
            FAIL("a fault without its sentence: " << reading.text);
        }
        const std::vector<Objection> against = objections(reading);
        if (reading.fault != Fault::kNone && against.empty()) FAIL("nothing is said against it: " << reading.text);
        for (const Objection& one : against) {
            if (one.text.empty() || one.text.size() > 16 * kSymbolNameMax) FAIL("no sentence: " << one.text);
        }
        refused += !against.empty();
    }
    CHECK(loaded_objects() == objects);
    if (broken.numbers().size() == Mutations::kCount) CHECK(refused > Mutations::kCount / 10);
}
