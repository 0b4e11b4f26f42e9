// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/store.hpp"

#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <gantry/status.hpp>
#include <thread>

#include "plugins/runtime/image-store/layer.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace fs = std::filesystem;
using namespace image_builder;
using image_store::Image;
using image_store::Store;
using image_store::StoreOptions;
using image_store::TreeForm;

namespace {

StoreOptions flat(const Scratch& scratch) {
    return {scratch.path() / "store", TreeForm::kFlat, false, 64 << 20, &image_store::unpack_layer};
}

// What ensure() says about a layout that must be refused; nothing of it may stay.
std::string refusal(const Scratch& scratch, const std::string& manifest, gantry::Code code = gantry::Code::kInvalid) {
    Store store(flat(scratch));
    std::string text;
    try {
        store.ensure(manifest, scratch.path() / "layout");
        FAIL("the image was accepted");
    } catch (const gantry::Failure& failure) {
        CHECK(failure.code() == code);
        text = failure.what();
    }
    CHECK(store.images().empty());
    CHECK(fs::is_empty(scratch.path() / "store" / "roots" / "sha256"));
    CHECK(fs::is_empty(scratch.path() / "store" / "tmp"));
    return text;
}

std::string refusal_of(const std::vector<Item>& items) {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer(items);
    const std::string text = refusal(scratch, layout.finish());
    CHECK_THAT(text, Catch::Contains(layout.layers().front()));
    CHECK_FALSE(fs::exists(scratch.path() / "escaped"));
    CHECK_FALSE(fs::exists("/tmp/gantry-escaped"));
    return text;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("A good image is unpacked with its configuration, whatever its compression") {
    const Packing packing = GENERATE(Packing::kPlain, Packing::kGzip, Packing::kZstd);
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({folder("bin"), file("bin/run", "program", 0755), symbolic("bin/link", "/bin/run"),
                  hard("bin/same", "bin/run"), file("etc/名字", "utf-8"), folder("ro", 0555), file("ro/in", "x", 0400)},
                 packing);
    layout.config = {{"Entrypoint", {"/bin/run"}}, {"Cmd", {"-v"}}, {"Env", {"A=1"}},
                     {"WorkingDir", "/etc"},       {"User", "7:8"}, {"StopSignal", "SIGINT"}};
    const std::string manifest = layout.finish();

    Store store(flat(scratch));
    CHECK_FALSE(store.find(manifest));
    const Image image = store.ensure(manifest, layout.dir());
    REQUIRE(image.layers.size() == 1);
    const fs::path& root = image.layers.front();
    CHECK(slurp(root / "bin/run") == "program");
    CHECK(fs::read_symlink(root / "bin/link") == "/bin/run");
    CHECK(fs::hard_link_count(root / "bin/same") == 2);
    CHECK(slurp(root / "etc/名字") == "utf-8");
    CHECK((fs::status(root / "bin/run").permissions() & fs::perms::owner_exec) != fs::perms::none);
    CHECK(image.config.entrypoint == std::vector<std::string>{"/bin/run"});
    CHECK(image.config.cmd == std::vector<std::string>{"-v"});
    CHECK(image.config.env == std::vector<std::string>{"A=1"});
    CHECK(image.config.cwd == "/etc");
    CHECK(image.config.user == "7:8");
    CHECK(image.config.stop_signal == 2);
    CHECK(store.images() == std::vector<std::string>{manifest});
}

TEST_CASE("An image is still there for the next store on the same folder, without its layout") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", "1")});
    layout.config = {{"Cmd", {"/a"}}};
    const std::string manifest = layout.finish();
    Store(flat(scratch)).ensure(manifest, layout.dir());
    fs::remove_all(layout.dir());

    Store store(flat(scratch));
    REQUIRE(store.find(manifest));
    CHECK(store.find(manifest)->config.cmd == std::vector<std::string>{"/a"});
    CHECK(slurp(store.ensure(manifest, layout.dir()).layers.front() / "a") == "1");
}

TEST_CASE("An index leads to the image of this machine") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", "1")});
    const std::string index = layout.finish_as_index();
    Store store(flat(scratch));
    CHECK(slurp(store.ensure(index, layout.dir()).layers.front() / "a") == "1");
}

TEST_CASE("An image for another machine is refused with both names") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", "1")});
    layout.architecture = "sparc64";
    const std::string text = refusal(scratch, layout.finish());
    CHECK(has(text, "sparc64"));
    CHECK(has(text, std::string(image_store::machine_architecture())));
}

TEST_CASE("In a flat root upper layers replace, delete and empty what lower ones brought") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("kept", "1"), file("gone", "1"), file("changed", "1"), folder("dir"), file("dir/old", "1"),
                  folder("emptied"), file("emptied/old", "1"), symbolic("lib", "usr/lib"), file("tree/sub/x", "1")});
    layout.layer({file(".wh.gone", ""), file("changed", "2"), file("emptied/new", "2"),
                  file("emptied/.wh..wh..opq", ""), file("lib/y", "2"), file("tree", "2"), file("dir/new", "2")});
    Store store(flat(scratch));
    const fs::path root = store.ensure(layout.finish(), layout.dir()).layers.front();
    CHECK(slurp(root / "kept") == "1");
    CHECK_FALSE(fs::exists(root / "gone"));
    CHECK(slurp(root / "changed") == "2");
    CHECK(slurp(root / "dir/old") == "1");
    CHECK(slurp(root / "dir/new") == "2");
    CHECK(slurp(root / "emptied/new") == "2");
    CHECK_FALSE(fs::exists(root / "emptied/old"));
    CHECK(slurp(root / "lib/y") == "2");
    CHECK(slurp(root / "tree") == "2");
    CHECK_FALSE(fs::exists(root / ".wh.gone"));
}

TEST_CASE("A layer that climbs out of its root is refused with its digest and the entry") {
    CHECK(has(refusal_of({file("../escaped", "x")}), "../escaped"));
    CHECK(has(refusal_of({file("a/../../escaped", "x")}), "climbs out"));
    CHECK(has(refusal_of({file("/tmp/gantry-escaped", "x")}), "absolute"));
    CHECK(has(refusal_of({symbolic("a", "/tmp"), file("a/gantry-escaped", "x")}), "passes through"));
    CHECK(has(refusal_of({symbolic("a", ".."), symbolic("b", "a/.."), file("b/escaped", "x")}), "passes through"));
    CHECK(has(refusal_of({symbolic("a", "/etc"), folder("a/gantry-escaped")}), "passes through"));
    CHECK(has(refusal_of({hard("a", "/etc/passwd")}), "absolute"));
    CHECK(has(refusal_of({hard("a", "../../../../etc/passwd")}), "climbs out"));
    CHECK(has(refusal_of({symbolic("l", "/etc"), hard("a", "l/passwd")}), "does not hold"));
    CHECK(has(refusal_of({hard("a", "nowhere")}), "does not hold"));
    CHECK(has(refusal_of({file("d/.wh...", "")}), "no deletion"));
    CHECK(has(refusal_of({file(".", "x")}), "root"));
}

TEST_CASE("A link that points outside may stand in a layer and is replaced, not followed, by a later entry") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({symbolic("a", (scratch.path() / "escaped").string()), file("a", "inside")});
    Store store(flat(scratch));
    const fs::path root = store.ensure(layout.finish(), layout.dir()).layers.front();
    CHECK(slurp(root / "a") == "inside");
    CHECK_FALSE(fs::exists(scratch.path() / "escaped"));
}

TEST_CASE("A truncated layer is refused with the sizes") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", std::string(5000, 'x'))});
    const std::string manifest = layout.finish();
    const auto whole = fs::file_size(layout.blob(layout.layers()[0]));
    fs::resize_file(layout.blob(layout.layers()[0]), 700);
    const std::string text = refusal(scratch, manifest);
    CHECK(has(text, layout.layers()[0]));
    CHECK(has(text, std::to_string(whole)));
    CHECK(has(text, "700"));
}

TEST_CASE("A layer, manifest or configuration with other content than its digest is refused") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", std::string(500, 'x'))});
    const std::string manifest = layout.finish();
    fs::path target;
    SECTION("layer") { target = layout.blob(layout.layers()[0]); }
    SECTION("manifest") { target = layout.blob(manifest); }
    std::string bytes = slurp(target);
    bytes[bytes.size() / 2] ^= 1;
    spill(target, bytes);
    CHECK(has(refusal(scratch, manifest), "sha256:" + target.filename().string()));
}

TEST_CASE("A layer whose tar is not what the configuration says is refused") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    const std::string plain = tar({file("a", "1")});
    layout.layer_bytes(pack(plain, Packing::kGzip), sha256("another"), Packing::kGzip);
    CHECK(has(refusal(scratch, layout.finish()), sha256(plain)));
}

TEST_CASE("A compressed layer that ends early or is no tar is refused even with a right digest") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    const std::string plain = tar({file("a", std::string(100000, 'x')), file("b", "y")});
    SECTION("gzip cut") {
        const std::string packed = pack(plain, Packing::kGzip);
        layout.layer_bytes(packed.substr(0, packed.size() / 2), sha256(plain), Packing::kGzip);
    }
    SECTION("tar cut") { layout.layer_bytes(plain.substr(0, 50000), sha256(plain.substr(0, 50000)), Packing::kPlain); }
    SECTION("no tar") {
        const std::string noise(3000, '\x55');
        layout.layer_bytes(noise, sha256(noise), Packing::kPlain);
    }
    CHECK(has(refusal(scratch, layout.finish()), layout.layers()[0]));
}

TEST_CASE("A layer whose last block is not filled up is taken, as umoci insert makes them") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    const std::string plain = tar({file("a", std::string(700, 'x'))}).substr(0, 512 + 700);
    layout.layer_bytes(pack(plain, Packing::kGzip), sha256(plain), Packing::kGzip);
    Store store(flat(scratch));
    const fs::path root = store.ensure(layout.finish(), layout.dir()).layers.front();
    CHECK(slurp(root / "a") == std::string(700, 'x'));
}

TEST_CASE("A layer that unpacks to more than the limit is refused") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("bomb", std::string(65 << 20, '\0'))}, Packing::kGzip);
    CHECK(has(refusal(scratch, layout.finish()), "larger than " + std::to_string(64 << 20)));
    Layout many(scratch.path() / "many");
    std::vector<Item> items(3, file("", std::string(30 << 20, '\0')));
    for (std::size_t i = 0; i < items.size(); ++i) items[i].path = "f" + std::to_string(i);
    many.layer(items, Packing::kGzip);
    const std::string manifest = many.finish();
    fs::remove_all(layout.dir());
    fs::rename(many.dir(), layout.dir());
    CHECK(has(refusal(scratch, manifest), "unpacks to more than " + std::to_string(64 << 20)));
}

TEST_CASE("What is no OCI layout, or lacks a blob, is refused") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({file("a", "1")});
    const std::string manifest = layout.finish();
    SECTION("no oci-layout") {
        fs::remove(layout.dir() / "oci-layout");
        CHECK(has(refusal(scratch, manifest), "oci-layout"));
    }
    SECTION("no layer") {
        fs::remove(layout.blob(layout.layers()[0]));
        CHECK(has(refusal(scratch, manifest), layout.layers()[0]));
    }
    SECTION("no manifest") { CHECK(has(refusal(scratch, sha256("nothing")), sha256("nothing"))); }
    SECTION("bad digest") { CHECK(has(refusal(scratch, "sha256:../../x"), "64 hex digits")); }
    SECTION("no JSON") { CHECK(has(refusal(scratch, layout.put("{\"layers\":")), "JSON")); }
}

TEST_CASE("What an interrupted unpack left is not used and is swept") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer({folder("/"), folder("./"), file("a", "1"), file("./b", "2")});
    const std::string manifest = layout.finish();
    {
        Store store(flat(scratch));
        int asked = 0;
        const auto interrupt = [&] { return ++asked > 6; };
        CHECK_THROWS_AS(store.ensure(manifest, layout.dir(), interrupt), gantry::Failure);
        CHECK(store.images().empty());
    }
    // A process that died in the middle leaves this:
    fs::create_directories(scratch.path() / "store/tmp/1-0");
    spill(scratch.path() / "store/tmp/1-0/a", "half");
    // Or a record without its root.
    fs::create_directories(scratch.path() / "store/images");
    spill(scratch.path() / "store/images" / (manifest.substr(7) + ".json"), "{\"layers\":[");

    Store store(flat(scratch));
    CHECK(store.images().empty());
    CHECK(slurp(store.ensure(manifest, layout.dir()).layers.front() / "a") == "1");
    store.sweep();
    CHECK(fs::is_empty(scratch.path() / "store/tmp"));
    CHECK(store.find(manifest));
    CHECK(fs::exists(scratch.path() / "store/images" / (manifest.substr(7) + ".json")));
}

TEST_CASE("Calls at the same time share the work and all succeed") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    std::vector<Item> items;
    for (int i = 0; i < 500; ++i) items.push_back(file("f" + std::to_string(i), std::string(1000, 'x')));
    layout.layer(items, Packing::kGzip);
    const std::string manifest = layout.finish();
    Store store(flat(scratch));
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back(
            [&] { good += slurp(store.ensure(manifest, layout.dir()).layers.front() / "f499").size() == 1000; });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(good == 4);
    CHECK(fs::is_empty(scratch.path() / "store/tmp"));
}

TEST_CASE("Removing an image keeps what another image uses") {
    const Scratch scratch;
    StoreOptions options = flat(scratch);
    options.form = ::geteuid() == 0 ? TreeForm::kOverlay : TreeForm::kFlat;
    Layout one(scratch.path() / "one"), two(scratch.path() / "two");
    one.layer({file("shared", "1")});
    one.layer({file("own", "1")});
    two.layer({file("shared", "1")});
    const std::string first = one.finish(), second = two.finish();
    Store store(options);
    const Image a = store.ensure(first, one.dir());
    const Image b = store.ensure(second, two.dir());
    if (options.form == TreeForm::kOverlay) CHECK(a.layers[0] == b.layers[0]);
    store.remove(first);
    CHECK(store.images() == std::vector<std::string>{second});
    CHECK_FALSE(fs::exists(a.layers.back()));
    CHECK(slurp(b.layers.back() / "shared") == "1");
    store.remove(first);
    store.remove(second);
    CHECK(fs::is_empty(scratch.path() / "store/tmp"));
    CHECK(fs::is_empty(scratch.path() / "store/layers/sha256"));
    CHECK(fs::is_empty(scratch.path() / "store/roots/sha256"));
}

TEST_CASE("Signals are read by name and number") {
    CHECK(image_store::parse_signal("SIGTERM") == 15);
    CHECK(image_store::parse_signal("INT") == 2);
    CHECK(image_store::parse_signal("9") == 9);
    CHECK(image_store::parse_signal("SIGRTMIN+3") == SIGRTMIN + 3);
    CHECK(image_store::parse_signal("SIGNOTHING") == 0);
    CHECK(image_store::parse_signal("99") == 0);
    CHECK(image_store::parse_signal("SIGRTMIN+999") == 0);
}
