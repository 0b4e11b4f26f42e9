// SPDX-License-Identifier: Apache-2.0
//
// `gantry image import` of good and broken layouts, with the real program and a fake gantryd.
#include <catch2/catch.hpp>
#include <set>

#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/trouble.hpp"
#include "tests/unit/kernel/cli/fake_server.hpp"
#include "tests/unit/kernel/cli/image_builder.hpp"
#include "tests/unit/kernel/cli/program.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

// Keeps blobs and checks what it gets as gantryd does.
class FakeStore {
  public:
    FakeStore() : server([this](const FakeRequest& r, FakeConnection& c) { handle(r, c); }) {}

    void handle(const FakeRequest& request, FakeConnection& connection) {
        const std::string blobs = "/v1/blobs/";
        if (!request.target.starts_with(blobs)) return connection.answer(200, R"({"name":"x"})");
        const auto digest = request.target.substr(blobs.size());
        Sha256 sum;
        sum.add(request.body.data(), request.body.size());
        if (sum.digest() != digest) return connection.answer(400, R"({"error":{"code":"invalid","message":"digest"}})");
        const bool fresh = stored.insert(digest).second;
        connection.answer(fresh ? 201 : 409, fresh ? "{}" : R"({"error":{"code":"exists","message":"there"}})");
    }

    Ran import(const std::string& path, std::vector<std::string> more = {}, RunOptions options = {}) {
        std::vector<std::string> arguments{"--socket", server.socket(), "image", "import", path};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_gantry(arguments, options);
    }

    std::set<std::string> stored;
    FakeServer server;
};

std::string good_layer() {
    return tar_of({{"/", "", TarEntry::kFolder},  // umoci does so
                   {"./", "", TarEntry::kFolder},
                   {"bin", "", TarEntry::kFolder},
                   {"bin/busybox", std::string(100'000, 'b')},
                   {"bin/sh", "/bin/busybox", TarEntry::kSymbolicLink},
                   {"bin/ls", "bin/busybox", TarEntry::kHardLink},
                   {"lib", "usr/lib", TarEntry::kSymbolicLink},
                   {"var/run", "../run", TarEntry::kSymbolicLink},
                   {"etc/.wh.passwd", ""},
                   {"etc/.wh.old", ""},
                   {"etc/old/a/./b", "below what the lower layers had"},
                   {"etc/old", "the later one wins"},
                   {"etc/.wh..wh..opq", ""}},
                  true);
}

// A layout with one image of this layer, and what importing it gives.
Ran import_layer(const std::string& layer, std::size_t* uploads = nullptr) {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    builder.add_to_index(builder.add_image(layer, "axis_server:1.0"));
    builder.finish();
    FakeStore store;
    auto ran = store.import(builder.folder());
    if (uploads) *uploads = store.server.requests().size();
    return ran;
}

}  // namespace

TEST_CASE("an image is imported from a folder, a tar file and a compressed one") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    const auto image = builder.add_image(good_layer(), "axis_server:1.0");
    builder.add_to_index(image);
    builder.finish();
    builder.pack(folder.path / "plain.tar", false);
    builder.pack(folder.path / "small.tgz", true);
    for (const char* name : {"layout", "plain.tar", "small.tgz"}) {
        INFO(name);
        FakeStore store;
        const auto ran = store.import(folder.path / name);
        INFO(ran.err);
        CHECK(ran.status == exit_status::kOk);
        CHECK(ran.out.find("image axis_server:1.0 is stored") != std::string::npos);
        CHECK(store.stored.size() == 3);
        const auto requests = store.server.requests();
        REQUIRE(requests.size() == 4);
        CHECK(requests[3].text() == "PUT /v1/images/axis_server:1.0");
        CHECK(requests[3].body == to_text(json::object{{"digest", image.at("digest")}}));
        // The manifest is the last blob: what it names is there before it.
        CHECK(requests[2].target == "/v1/blobs/" + std::string(image.at("digest").as_string()));
    }
}

TEST_CASE("blobs that are there already are a success") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    builder.add_to_index(builder.add_image(good_layer(), "axis_server:1.0"));
    builder.finish();
    FakeStore store;
    CHECK(store.import(builder.folder()).status == exit_status::kOk);
    const auto again = store.import(builder.folder());
    CHECK(again.status == exit_status::kOk);
    CHECK(again.out.find("is there already") != std::string::npos);
}

TEST_CASE("progress is shown on a terminal and taken away at the end") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    builder.add_to_index(builder.add_image(good_layer(), "axis_server:1.0"));
    builder.finish();
    FakeStore store;
    const auto ran = store.import(builder.folder(), {}, {.terminal = true});
    CHECK(ran.status == exit_status::kOk);
    CHECK(ran.out.find("uploading sha256:") != std::string::npos);
    CHECK(ran.out.find("image axis_server:1.0 is stored") != std::string::npos);
}

TEST_CASE("a layout's names are whole names, or are given") {
    const TempFolder folder;
    LayoutBuilder tagged(folder.path / "tagged");
    tagged.add_to_index(tagged.add_image(good_layer(), "1.0"));
    tagged.finish();
    FakeStore store;
    const auto bare = store.import(tagged.folder());
    CHECK(bare.status == exit_status::kUsage);
    CHECK(bare.err.find("a bare tag") != std::string::npos);
    CHECK(store.server.requests().empty());
    CHECK(store.import(tagged.folder(), {"--name", "axis_server"}).out.find("axis_server:1.0") != std::string::npos);
    CHECK(store.import(tagged.folder(), {"--name", "registry:5000/a/b:2"}).status == exit_status::kOk);
    CHECK(store.server.count("PUT /v1/images/registry:5000%2Fa%2Fb:2") == 1);

    LayoutBuilder nameless(folder.path / "nameless");
    nameless.add_to_index(nameless.add_image(good_layer(), ""));
    nameless.finish();
    CHECK(store.import(nameless.folder()).status == exit_status::kUsage);
    CHECK(store.import(nameless.folder(), {"--name", "陀螺仪"}).status == exit_status::kUsage);
    CHECK(store.import(nameless.folder(), {"--name", "陀螺仪:1"}).status == exit_status::kOk);
}

TEST_CASE("every image of a layout is imported under its own name") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    builder.add_to_index(builder.add_image(good_layer(), "a:1"));
    builder.add_to_index(builder.add_image(tar_of({{"x", "y"}}, true), "b:1"));
    builder.finish();
    FakeStore store;
    CHECK(store.import(builder.folder()).status == exit_status::kOk);
    CHECK(store.server.count("PUT /v1/images/a:1") == 1);
    CHECK(store.server.count("PUT /v1/images/b:1") == 1);
    CHECK(store.import(builder.folder(), {"--name", "c:1"}).status == exit_status::kUsage);
}

TEST_CASE("of an image for several platforms one is chosen") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    const auto amd = builder.add_image(good_layer(), ""), arm = builder.add_image(good_layer(), "", "arm64");
    auto attestation = builder.add_image(good_layer(), "", "unknown");
    attestation["platform"] = json::object{{"os", "unknown"}, {"architecture", "unknown"}};
    auto index = builder.add_blob(to_text(json::object{{"manifests", json::array{amd, arm, attestation}}}),
                                  "application/vnd.oci.image.index.v1+json");
    index["annotations"] = json::object{{"org.opencontainers.image.ref.name", "axis_server:1.0"}};
    builder.add_to_index(index);
    builder.finish();
    FakeStore store;
    const auto unclear = store.import(builder.folder());
    CHECK(unclear.status == exit_status::kBadData);
    CHECK(unclear.err.find("linux/amd64, linux/arm64") != std::string::npos);
    CHECK(store.import(builder.folder(), {"--platform", "linux/riscv64"}).status == exit_status::kBadData);
    CHECK(store.import(builder.folder(), {"--platform", "linux/arm64"}).status == exit_status::kOk);
    CHECK(store.server.requests().back().body == to_text(json::object{{"digest", arm.at("digest")}}));
}

TEST_CASE("a layer that climbs out of its root is refused before anything is uploaded") {
    const std::vector<std::vector<TarEntry>> layers = {
        {{"ok", ""}, {"../evil", "x"}},
        {{"a/b/../../../evil", "x"}},
        {{"/etc/passwd", "x"}},
        {{"evil", "../outside", TarEntry::kHardLink}},
        {{"evil", "/etc/shadow", TarEntry::kHardLink}},
        {{"out", "/etc", TarEntry::kSymbolicLink}, {"out/evil", "x"}},
        {{"a/out", "../../..", TarEntry::kSymbolicLink}, {"a/out/tmp/evil", "x"}},
        {{"out", "/etc", TarEntry::kSymbolicLink}, {"evil", "out/shadow", TarEntry::kHardLink}},
        {{"a/.wh...", ""}, {"evil", ""}},
        {{"a/b/../c", "x"}},
        {{"usr/lib", "", TarEntry::kFolder}, {"lib", "usr/lib", TarEntry::kSymbolicLink}, {"lib/x", "x"}},
        {{"file", "x"}, {"file/x", "x"}},
        {{"evil", "in/a/lower/layer", TarEntry::kHardLink}},
        {{"a", "", TarEntry::kFolder}, {"evil", "a", TarEntry::kHardLink}},
        {{"a/b", "x"}, {"a", "x"}, {"evil", "a/b", TarEntry::kHardLink}},
        {{"self", "self", TarEntry::kHardLink}},
        {{".wh.gone", ""}, {"evil", "gone", TarEntry::kHardLink}},
        {{std::string(256, 'n'), "x"}},
        {{"/", "x"}},
    };
    for (const auto& entries : layers) {
        INFO(entries.back().name << " " << entries.back().content);
        for (const bool gzip : {false, true}) {
            std::size_t uploads = 1;
            const auto layer = tar_of(entries, gzip);
            const auto ran = import_layer(layer, &uploads);
            CHECK(ran.status == exit_status::kBadData);
            CHECK(uploads == 0);
            Sha256 sum;
            sum.add(layer.data(), layer.size());
            CHECK(ran.err.find("layer " + sum.digest()) != std::string::npos);
            CHECK(ran.err.find("entry \"") != std::string::npos);
        }
    }
}

TEST_CASE("layers that nodes take are taken: without the last block's filling, of another order, with odd names") {
    auto tar = tar_of(
        {{"./a//b", "x"}, {"c", "a/b", TarEntry::kHardLink}, {"d", "/any/where", TarEntry::kSymbolicLink}}, false);
    while (tar.ends_with('\0')) tar.pop_back();
    for (const auto& layer : {tar, tar_of({{"a/x", "x"}, {"a", "", TarEntry::kFolder}, {"a/.wh.y", ""}}, true)}) {
        const auto ran = import_layer(layer);
        INFO(ran.err);
        CHECK(ran.status == exit_status::kOk);
    }
}

TEST_CASE("an empty layer, and one compressed as no node unpacks it, are refused before anything is uploaded") {
    std::size_t uploads = 1;
    const auto empty = import_layer("", &uploads);
    CHECK(empty.status == exit_status::kBadData);
    CHECK(empty.err.find("is empty") != std::string::npos);
    CHECK(uploads == 0);
    CHECK(import_layer(bzip2_of(tar_of({{"a", "x"}}, false))).status == exit_status::kBadData);
}

TEST_CASE("a layer whose tar is another than the configuration says is refused with both digests") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    const auto layer = good_layer();
    const json::object config{{"os", "linux"},
                              {"architecture", "amd64"},
                              {"rootfs", json::object{{"diff_ids", json::array{"sha256:" + std::string(64, '0')}}}}};
    builder.add_to_index(builder.add_manifest(
        builder.add_blob(to_text(config), "application/vnd.oci.image.config.v1+json"), layer, "a:1"));
    builder.finish();
    FakeStore store;
    const auto ran = store.import(builder.folder());
    CHECK(ran.status == exit_status::kBadData);
    Sha256 sum;
    const auto tar = unpacked(layer);
    sum.add(tar.data(), tar.size());
    CHECK(ran.err.find(sum.digest()) != std::string::npos);
    CHECK(ran.err.find(std::string(64, '0')) != std::string::npos);
}

TEST_CASE("a layer that is truncated inside is refused though its digest is right") {
    const auto whole = tar_of({{"a", std::string(50'000, 'a')}, {"b", std::string(50'000, 'b')}}, false);
    const auto squeezed = good_layer();
    for (const auto& layer :
         {whole.substr(0, 30'000), whole.substr(0, 51'000), squeezed.substr(0, squeezed.size() / 2),
          squeezed.substr(0, squeezed.size() - 9), std::string("no tar at all"), std::string(700, '\xff')}) {
        INFO(layer.size());
        std::size_t uploads = 1;
        const auto ran = import_layer(layer, &uploads);
        CHECK(ran.status == exit_status::kBadData);
        CHECK(ran.err.find("truncated or damaged") != std::string::npos);
        CHECK(uploads == 0);
    }
}

TEST_CASE("blobs that are damaged, short or missing are refused") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    const auto layer = good_layer();
    const auto image = builder.add_image(layer, "a:1");
    builder.add_to_index(image);
    builder.finish();
    const auto file = builder.blob(builder.add_blob(layer, ""));
    FakeStore store;
    const auto refused = [&](const char* why) {
        const auto ran = store.import(builder.folder());
        INFO(ran.err);
        CHECK(ran.status == exit_status::kBadData);
        CHECK(ran.err.find(why) != std::string::npos);
        CHECK(store.server.requests().empty());
    };
    auto damaged = layer;
    damaged[100] ^= 1;
    write_file(file, damaged);
    refused("has the wrong digest");
    write_file(file, layer.substr(1));
    refused("truncated");
    std::filesystem::remove(file);
    refused("lacks blobs/sha256/");
    write_file(file, layer);
    write_file(builder.blob(image), "{}");
    refused("wrong size");
}

TEST_CASE("what is no layout is refused and says what one is") {
    const TempFolder folder;
    FakeStore store;
    const auto refused = [&](const std::string& path, int status, const char* why) {
        const auto ran = store.import(path);
        INFO(ran.err);
        CHECK(ran.status == status);
        CHECK(ran.err.find(why) != std::string::npos);
    };
    refused(folder.path / "none.tar", exit_status::kNotFound, "No such file");
    refused(folder.path, exit_status::kBadData, "skopeo copy");
    write_file(folder.path / "text", "this is no tar file");
    refused(folder.path / "text", exit_status::kBadData, "no tar file");
    write_file(folder.path / "empty", "");
    refused(folder.path / "empty", exit_status::kBadData, "");
    write_file(folder.path / "other.tar", tar_of({{"manifest.json", "[]"}}, false));
    refused(folder.path / "other.tar", exit_status::kBadData, "manifest.json names no image");
    write_file(folder.path / "neither.tar", tar_of({{"axis", "x"}}, false));
    refused(folder.path / "neither.tar", exit_status::kBadData, "index.json");
    write_file(folder.path / "cut.tar", tar_of({{"index.json", std::string(9000, ' ')}}, false).substr(0, 4000));
    refused(folder.path / "cut.tar", exit_status::kBadData, "no tar file that can be read to its end");
    for (const char* index : {"", "[]", "{", "{}", R"({"manifests":[]})", R"({"manifests":[{}]})",
                              R"({"manifests":[{"digest":"sha256:../../etc","size":1}]})", R"({"manifests":7})"}) {
        write_file(folder.path / "index.json", index);
        refused(folder.path, exit_status::kBadData, "");
    }
}

TEST_CASE("an image that gantryd refuses says which part") {
    const TempFolder folder;
    LayoutBuilder builder(folder.path / "layout");
    builder.add_to_index(builder.add_image(good_layer(), "a:1"));
    builder.finish();
    FakeServer full([](const FakeRequest&, FakeConnection& connection) {
        connection.answer(507, R"({"error":{"code":"full","message":"the disk is full"}})");
    });
    const auto ran = run_gantry({"--socket", full.socket(), "image", "import", builder.folder()});
    CHECK(ran.status == exit_status::kFailed);
    CHECK(ran.err.find("cannot store blob sha256:") != std::string::npos);
    CHECK(ran.err.find("the disk is full") != std::string::npos);
}
