// SPDX-License-Identifier: Apache-2.0
//
// Layers that mean harm, in both forms that a tree may have. The overlay form, with owners, needs root.
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <gantry/status.hpp>

#include "plugins/runtime/image-store/layer.hpp"
#include "plugins/runtime/image-store/store.hpp"
#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace fs = std::filesystem;
using namespace image_builder;
using image_store::Image;
using image_store::Store;
using image_store::StoreOptions;
using image_store::TreeForm;

namespace {

std::vector<TreeForm> forms() {
    if (::geteuid() != 0) return {TreeForm::kFlat};
    return {TreeForm::kFlat, TreeForm::kOverlay};
}

StoreOptions options(const Scratch& scratch, TreeForm form) {
    return {scratch.path() / "store", form, form == TreeForm::kOverlay, 64 << 20, &image_store::unpack_layer};
}

Item node(std::string path, mode_t type, dev_t device, mode_t permissions = 0600) {
    Item out{std::move(path), type, {}, permissions};
    out.device = device;
    return out;
}

// A version 2 capability set: CAP_NET_RAW permitted and effective.
std::string file_capability() {
    return {"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20};
}

std::string attribute(const fs::path& file, const char* name) {
    char value[256];
    const ssize_t n = ::lgetxattr(file.c_str(), name, value, sizeof(value));
    return n < 0 ? "" : std::string(value, static_cast<std::size_t>(n));
}

mode_t mode_of(const fs::path& file) {
    struct stat st {};
    REQUIRE(::lstat(file.c_str(), &st) == 0);
    return st.st_mode;
}

// What each form says about a layout that must be refused; nothing of it may stay.
void must_refuse(const std::string& manifest, const fs::path& layout, const std::vector<std::string>& words) {
    for (const TreeForm form : forms()) {
        CAPTURE(form == TreeForm::kFlat);
        const Scratch scratch;
        Store store(options(scratch, form));
        std::string text;
        try {
            store.ensure(manifest, layout);
        } catch (const gantry::Failure& failure) {
            CHECK(failure.code() == gantry::Code::kInvalid);
            text = failure.what();
        }
        for (const std::string& word : words) CHECK_THAT(text, Catch::Contains(word));
        CHECK(text != "");
        CHECK(store.images().empty());
        for (const char* folder : {"layers/sha256", "roots/sha256", "tmp", "images"}) {
            CHECK(fs::is_empty(scratch.path() / "store" / folder));
        }
        CHECK_FALSE(fs::exists(scratch.path() / "escaped"));
        CHECK_FALSE(fs::exists("/tmp/gantry-escaped"));
    }
}

void must_refuse(const std::vector<Item>& items, const std::string& word) {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    layout.layer(items);
    const std::string manifest = layout.finish();
    must_refuse(manifest, layout.dir(), {word, layout.layers().front()});
}

// The folder of the only layer, in each form.
void each_root(const std::vector<Item>& items, const std::function<void(const fs::path&, TreeForm)>& look) {
    for (const TreeForm form : forms()) {
        CAPTURE(form == TreeForm::kFlat);
        const Scratch scratch;
        Layout layout(scratch.path() / "layout");
        layout.layer(items);
        Store store(options(scratch, form));
        look(store.ensure(layout.finish(), layout.dir()).layers.front(), form);
    }
}

}  // namespace

TEST_CASE("What climbs out of the root is refused in every form") {
    must_refuse({file("../escaped", "x")}, "climbs out");
    must_refuse({file("a/../../escaped", "x")}, "climbs out");
    must_refuse({file("./../escaped", "x")}, "climbs out");
    must_refuse({folder(".."), file("../escaped", "x")}, "climbs out");
    must_refuse({file("/tmp/gantry-escaped", "x")}, "absolute");
    must_refuse({symbolic("a", "/tmp"), file("a/gantry-escaped", "x")}, "passes through");
    must_refuse({symbolic("a", ".."), file("a/escaped", "x")}, "passes through");
    must_refuse({symbolic("a", "."), symbolic("b", "a/.."), file("b/escaped", "x")}, "passes through");
    must_refuse({symbolic("a", "/etc"), file("a/.wh.passwd", "")}, "passes through");
    must_refuse({symbolic("a", "/etc"), file("a/.wh..wh..opq", "")}, "passes through");
    must_refuse({file("a", "1"), file("a/b", "x")}, "passes through");
    must_refuse({hard("a", "/etc/passwd")}, "absolute");
    must_refuse({hard("a", "../../../etc/passwd")}, "climbs out");
    must_refuse({symbolic("l", "/etc"), hard("a", "l/passwd")}, "does not hold");
    must_refuse({folder("d"), hard("a", "d")}, "hard link to a folder");
    must_refuse({file("d/.wh...", "")}, "no deletion");
    must_refuse({file("d/.wh..", "")}, "no deletion");
    must_refuse({file(".", "x")}, "root");
    must_refuse({symbolic("./", "/etc")}, "root");
    must_refuse({file(std::string(300, 'n'), "x")}, "255 bytes");
}

TEST_CASE("Truncated layers and layers with a wrong digest are refused in every form") {
    const Scratch scratch;
    Layout layout(scratch.path() / "layout");
    const std::string plain = tar({file("a", std::string(100'000, 'x')), file("b", "y")});
    SECTION("the blob is cut short") {
        layout.layer_bytes(plain, sha256(plain), Packing::kPlain);
        const std::string manifest = layout.finish();
        fs::resize_file(layout.blob(layout.layers()[0]), 700);
        must_refuse(manifest, layout.dir(), {"is damaged", layout.layers()[0], "700", std::to_string(plain.size())});
    }
    SECTION("the blob is missing") {
        layout.layer_bytes(plain, sha256(plain), Packing::kPlain);
        const std::string manifest = layout.finish();
        fs::remove(layout.blob(layout.layers()[0]));
        must_refuse(manifest, layout.dir(), {"is missing", layout.layers()[0]});
    }
    SECTION("one bit of the blob is another") {
        layout.layer_bytes(plain, sha256(plain), Packing::kPlain);
        const std::string manifest = layout.finish();
        std::string bytes = plain;
        bytes[5000] ^= 1;
        spill(layout.blob(layout.layers()[0]), bytes);
        must_refuse(manifest, layout.dir(), {"is damaged", layout.layers()[0], sha256(bytes)});
    }
    SECTION("one bit of the configuration is another") {
        layout.layer_bytes(plain, sha256(plain), Packing::kPlain);
        const std::string manifest = layout.finish();
        const auto config = boost::json::parse(slurp(layout.blob(manifest))).at("config").at("digest").as_string();
        const fs::path blob = layout.blob(std::string(config));
        std::string bytes = slurp(blob);
        bytes[bytes.find("linux")] = 'L';
        spill(blob, bytes);
        must_refuse(manifest, layout.dir(), {"is damaged", std::string(config)});
    }
    SECTION("the tar within ends early") {
        const std::string cut = plain.substr(0, 50'000);
        layout.layer_bytes(cut, sha256(cut), Packing::kPlain);
        must_refuse(layout.finish(), layout.dir(), {layout.layers()[0], "broken tar"});
    }
    SECTION("the compression ends early") {
        const std::string packed = pack(plain, Packing::kGzip);
        layout.layer_bytes(packed.substr(0, packed.size() / 2), sha256(plain), Packing::kGzip);
        must_refuse(layout.finish(), layout.dir(), {layout.layers()[0]});
    }
    SECTION("the configuration promises another tar") {
        layout.layer_bytes(pack(plain, Packing::kGzip), sha256("another"), Packing::kGzip);
        must_refuse(layout.finish(), layout.dir(), {layout.layers()[0], sha256(plain), sha256("another")});
    }
    SECTION("it unpacks to more than the limit") {
        layout.layer({file("bomb", std::string(65 << 20, '\0'))}, Packing::kGzip);
        must_refuse(layout.finish(), layout.dir(), {layout.layers()[0], "refused"});
    }
}

TEST_CASE("Devices are made only where owners are kept, and never one that overlayfs takes for a deletion") {
    must_refuse({node("a", S_IFCHR, ::makedev(0, 0))}, "disguised deletion");
    each_root({node("null", S_IFCHR, ::makedev(1, 3), 0666), node("disk", S_IFBLK, ::makedev(8, 0)),
               node("pipe", S_IFIFO, 0, 0640), file("kept", "1")},
              [](const fs::path& root, TreeForm form) {
                  CHECK(S_ISFIFO(mode_of(root / "pipe")));
                  CHECK(fs::exists(root / "kept"));
                  CHECK(fs::exists(root / "null") == (form == TreeForm::kOverlay));
                  CHECK(fs::exists(root / "disk") == (form == TreeForm::kOverlay));
                  if (form == TreeForm::kOverlay) CHECK(mode_of(root / "null") == (S_IFCHR | 0666));
              });
}

TEST_CASE("Set-user-id, owners and file capabilities stay only where owners are kept") {
    Item program = file("program", "#!", 04755);
    program.uid = 12;
    program.gid = 13;
    program.xattrs = {{"security.capability", file_capability()}};
    Item shared = folder("shared", 03777);
    shared.gid = 13;
    each_root({program, shared}, [](const fs::path& root, TreeForm form) {
        struct stat st {};
        REQUIRE(::stat((root / "program").c_str(), &st) == 0);
        if (form == TreeForm::kOverlay) {
            CHECK(mode_of(root / "program") == (S_IFREG | 04755));
            CHECK(mode_of(root / "shared") == (S_IFDIR | 03777));
            CHECK(st.st_uid == 12);
            CHECK(st.st_gid == 13);
            CHECK(attribute(root / "program", "security.capability").size() == 20);
        } else {
            CHECK(mode_of(root / "program") == (S_IFREG | 0755));
            CHECK(mode_of(root / "shared") == (S_IFDIR | 0777));
            CHECK(st.st_uid == ::geteuid());
            CHECK(attribute(root / "program", "security.capability") == "");
        }
    });
}

TEST_CASE("An image cannot speak to overlayfs or to this node's policy by attributes") {
    Item a = file("a", "1"), d = folder("d");
    for (Item* item : {&a, &d}) {
        item->xattrs = {{"trusted.overlay.opaque", "y"},
                        {"trusted.overlay.redirect", "/"},
                        {"user.overlay.opaque", "y"},
                        {"security.selinux", "x"},
                        {"user.note", "kept"}};
    }
    each_root({a, d}, [](const fs::path& root, TreeForm) {
        for (const char* name : {"a", "d"}) {
            for (const char* dropped :
                 {"trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"}) {
                CAPTURE(name, dropped);
                CHECK(attribute(root / name, dropped) == "");
            }
            // Not on every file system.
            CHECK((attribute(root / name, "user.note") == "kept" || attribute(root / name, "user.note") == ""));
        }
    });
    a.xattrs = {{"user.big", std::string(65 << 10, 'x')}};
    must_refuse({a}, "attributes");
}

TEST_CASE("More entries than a layer may have are refused, even if all are one folder") {
    for (const TreeForm form : forms()) {
        CAPTURE(form == TreeForm::kFlat);
        const Scratch scratch;
        image_store::TreeWriter tree(gantry::Fd(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
                                     form, form == TreeForm::kOverlay);
        tree.begin_layer("layer x");
        image_store::TreeEntry entry;
        entry.type = S_IFREG;
        entry.path = "gone/.wh..wh.aufs";  // makes nothing, but is one
        for (std::size_t i = 0; i < image_store::kMaxEntries; ++i) tree.add(entry, {});
        CHECK_THROWS_WITH(tree.add(entry, {}), Catch::Contains("layer x") && Catch::Contains("500000 entries"));
    }
}

TEST_CASE("What a layer deletes and brings anew hides the lower one's, in either order") {
    const bool whiteout_first = GENERATE(true, false);
    const bool described = GENERATE(true, false);
    CAPTURE(whiteout_first, described);
    std::vector<Item> upper{file("d/new", "2"), file("e", "2")};
    if (described) upper.insert(upper.begin(), folder("d"));
    const std::vector<Item> deletions{file(".wh.d", ""), file(".wh.e", "")};
    upper.insert(whiteout_first ? upper.begin() : upper.end(), deletions.begin(), deletions.end());
    for (const TreeForm form : forms()) {
        CAPTURE(form == TreeForm::kFlat);
        const Scratch scratch;
        Layout layout(scratch.path() / "layout");
        layout.layer({folder("d"), file("d/old", "1"), folder("e"), file("e/old", "1")});
        layout.layer(upper);
        Store store(options(scratch, form));
        const fs::path root = store.ensure(layout.finish(), layout.dir()).layers.back();
        CHECK(slurp(root / "d/new") == "2");
        CHECK(slurp(root / "e") == "2");
        CHECK((mode_of(root / "d") & 0777) == 0755);
        if (form == TreeForm::kFlat) CHECK_FALSE(fs::exists(root / "d/old"));
        if (form == TreeForm::kOverlay) CHECK(attribute(root / "d", "trusted.overlay.opaque") == "y");
    }
}

TEST_CASE("Harmless and common ways to write a layer are taken") {
    each_root({folder("./"), file("./a", "1"), folder("./d/"), file("d//b", "2"), symbolic("abs", "/d/b"),
               symbolic("up", "../../../etc"), file("e/./f", "3"), hard("same", "./a"), file("a", "4")},
              [](const fs::path& root, TreeForm) {
                  CHECK(slurp(root / "a") == "4");
                  CHECK(slurp(root / "same") == "1");
                  CHECK(slurp(root / "d/b") == "2");
                  CHECK(slurp(root / "e/f") == "3");
                  CHECK(fs::read_symlink(root / "abs") == "/d/b");
                  CHECK(fs::read_symlink(root / "up") == "../../../etc");
                  CHECK((mode_of(root / "e") & 0777) == 0755);
              });
}
