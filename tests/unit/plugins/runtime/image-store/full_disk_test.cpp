// SPDX-License-Identifier: Apache-2.0
//
// An image store on a small disk of its own, in a private mount namespace; skipped where mounts are not permitted.
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <gantry/status.hpp>

#include "plugins/runtime/image-store/layer.hpp"
#include "plugins/runtime/image-store/store.hpp"
#include "plugins/runtime/monitored/unpack_program.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace fs = std::filesystem;
using namespace image_builder;
using image_store::Store;
using image_store::TreeForm;

TEST_CASE("On a full disk an image is not taken, nothing of it stays, and with room it is") {
    static const bool once = (gantry::own_namespaces(CLONE_NEWNS), true);
    REQUIRE(once);
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("small", "1")});
    std::vector<Item> items;
    for (int i = 0; i < 40; ++i) items.push_back(file("f" + std::to_string(i), std::string(100'000, 'x')));
    layout.layer(items, Packing::kGzip);
    const std::string manifest = layout.finish();
    const image_store::Unpack unpack = GENERATE(image_store::Unpack(&image_store::unpack_layer),
                                                image_store::Unpack([](const auto& job, const auto& cancelled) {
                                                    monitored::unpack_by(GANTRY_UNPACK_PROGRAM, job, cancelled);
                                                }));
    const fs::path disk = scratch.path() / "disk";
    fs::create_directory(disk);
    if (::mount("none", disk.c_str(), "tmpfs", 0, "size=2m") != 0) gantry::skip_test("no tmpfs");
    {
        Store store({disk / "store", TreeForm::kFlat, false, 64 << 20, unpack});
        try {
            store.ensure(manifest, layout.dir());
            FAIL("4 MB were unpacked on a disk of 2 MB");
        } catch (const gantry::Failure& failure) {
            CHECK(failure.code() == gantry::Code::kFull);
            CHECK_THAT(failure.what(), Catch::Contains(layout.layers().back()));
        }
        CHECK(store.images().empty());
        CHECK(fs::is_empty(disk / "store/tmp"));
        CHECK(fs::is_empty(disk / "store/roots/sha256"));
        CHECK(::mount("none", disk.c_str(), nullptr, MS_REMOUNT, "size=16m") == 0);
        CHECK(slurp(store.ensure(manifest, layout.dir()).layers.front() / "f39").size() == 100'000);
    }
    ::umount2(disk.c_str(), MNT_DETACH);
}
