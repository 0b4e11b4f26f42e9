// SPDX-License-Identifier: Apache-2.0
//
// What the readers of image archives make of good files, of files that no tool would write, and of damaged ones.
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>

#include "kernel/cli/digest.hpp"
#include "kernel/cli/layer_check.hpp"
#include "kernel/cli/layout.hpp"
#include "tests/unit/kernel/cli/image_builder.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

struct Folder {
    Folder() {
        std::string name = "/tmp/gantry-archives.XXXXXX";
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

std::string sha256(const std::string& bytes) {
    Sha256 sum;
    sum.add(bytes.data(), bytes.size());
    return sum.digest();
}

std::string layer() { return tar_of({{"bin/axis", std::string(3000, 'a')}}, false); }

std::string config_of(const std::vector<std::string>& layers, const std::string& os = "linux",
                      json::object labels = {}) {
    json::array ids;
    for (const auto& one : layers) ids.push_back(json::string(sha256(one)));
    return to_text(json::object{{"os", os},
                                {"architecture", "arm64"},
                                {"config", json::object{{"Labels", std::move(labels)}}},
                                {"rootfs", json::object{{"diff_ids", std::move(ids)}}}});
}

std::string manifest_of(const std::string& config, const std::vector<std::string>& layers,
                        const std::vector<std::string>& names) {
    return to_text(json::array{json::object{{"Config", config},
                                            {"RepoTags", json::array(names.begin(), names.end())},
                                            {"Layers", json::array(layers.begin(), layers.end())}}});
}

// Members of a docker-save archive of one image with two layers that are the same.
std::vector<TarEntry> docker_save() {
    return {{"a1/layer.tar", layer()},
            {"a1/VERSION", "1.0"},
            {"b2/layer.tar", "../a1/layer.tar", TarEntry::kSymbolicLink},
            {"config.json", config_of({layer(), layer()})},
            {"repositories", "{}"},
            {"manifest.json", manifest_of("config.json", {"a1/layer.tar", "b2/layer.tar"}, {"axis:1.0", "axis:new"})}};
}

// What reading it gives: the images, every layer looked through, or the first failure.
Outcome<std::vector<LayoutImage>> read(const std::string& file, const std::string& platform = "") {
    GANTRY_TRY(layout, Layout::open(file));
    GANTRY_TRY(images, images_of(layout, platform));
    for (const auto& image : images) {
        for (const auto& part : image.parts) {
            if (part.is_layer) GANTRY_CHECK(check_layer(part));
        }
    }
    return images;
}

Outcome<std::vector<LayoutImage>> read(const std::vector<TarEntry>& entries, bool gzip = false) {
    const Folder folder;
    write_file(folder.path / "image.tar", tar_of(entries, gzip));
    return read(folder.path / "image.tar");
}

void refused(const std::vector<TarEntry>& entries, const std::string& why) {
    const auto got = read(entries);
    INFO(why);
    REQUIRE(!got);
    INFO(got.error().error.text());
    CHECK(got.error().status == exit_status::kBadData);
    CHECK(got.error().error.text().find(why) != std::string::npos);
}

std::string text_of_blob(const Blob& blob) {
    std::string text(static_cast<std::size_t>(blob.size()), '\0');
    REQUIRE(blob.read(0, text.data(), text.size()));
    return text;
}

std::vector<TarEntry> with(const std::string& name, const std::string& content) {
    auto entries = docker_save();
    for (auto& entry : entries)
        if (entry.name == name) entry = {name, content};
    return entries;
}

// The script's file, read.
Outcome<std::vector<LayoutImage>> ecsc(const std::string& arguments) {
    const Folder folder;
    const std::string file = folder.path / "axis.arm64.tar";
    const std::string command = std::string("python3 ") + GANTRY_MAKE_ECSC_TAR + " " + file + " " + arguments;
    REQUIRE(std::system(command.c_str()) == 0);
    return read(file);
}

bool warned(const std::vector<std::string>& warnings, const std::string& about) {
    return std::any_of(warnings.begin(), warnings.end(),
                       [&](const auto& warning) { return warning.find(about) != std::string::npos; });
}

}  // namespace

TEST_CASE("what docker save writes is an image under each of its names") {
    const auto images = read(docker_save());
    REQUIRE(images);
    REQUIRE(images->size() == 2);
    CHECK(images->at(0).name == "axis:1.0");
    CHECK(images->at(1).name == "axis:new");
    CHECK(images->at(0).digest == images->at(1).digest);
    const auto& parts = images->at(0).parts;
    REQUIRE(parts.size() == 4);
    CHECK(parts[0].digest == sha256(layer()));
    CHECK(parts[1].digest == parts[0].digest);
    const auto manifest = text_of_blob(parts[3].blob);
    CHECK(sha256(manifest) == images->at(0).digest);
    const auto document = parse_json(manifest, 1 << 20);
    REQUIRE(document);
    CHECK(document->at_pointer("/config/digest").as_string() == sha256(config_of({layer(), layer()})));
    CHECK(document->at_pointer("/layers/1/mediaType").as_string() == "application/vnd.oci.image.layer.v1.tar");
}

TEST_CASE("the same archive has the same digest, compressed or not, with its members in another order") {
    const auto first = read(docker_save()), second = read(docker_save(), true);
    auto turned = docker_save();
    std::reverse(turned.begin(), turned.end());
    const auto third = read(turned);
    REQUIRE(first);
    REQUIRE(second);
    REQUIRE(third);
    CHECK(first->at(0).digest == second->at(0).digest);
    CHECK(first->at(0).digest == third->at(0).digest);
}

TEST_CASE("a layer that a newer tool left compressed is known by its first bytes") {
    const auto squeezed = tar_of({{"bin/axis", std::string(3000, 'a')}}, true);
    auto config = parse_json(config_of({""}), 1 << 20);
    config->as_object()["rootfs"] = json::object{{"diff_ids", json::array{json::string(sha256(unpacked(squeezed)))}}};
    const auto images = read({{"blobs/sha256/1", squeezed},
                              {"c.json", to_text(*config)},
                              {"manifest.json", manifest_of("c.json", {"blobs/sha256/1"}, {"a:1"})}});
    REQUIRE(images);
    const auto manifest = text_of_blob(images->at(0).parts.back().blob);
    CHECK(manifest.find("layer.v1.tar+gzip") != std::string::npos);
}

TEST_CASE("an archive with both forms is read as the OCI layout that it is, under the whole name") {
    const Folder folder;
    LayoutBuilder builder(folder.path / "both");
    auto image = builder.add_image(layer(), "1.0");
    image["annotations"].as_object()["io.containerd.image.name"] = "docker.io/library/axis:1.0";
    builder.add_to_index(image);
    builder.finish();
    write_file(builder.folder() / "manifest.json", manifest_of("none", {"none"}, {"axis:1.0"}));
    builder.pack(folder.path / "both.tar", false);
    const auto images = read(folder.path / "both.tar");
    REQUIRE(images);
    REQUIRE(images->size() == 1);
    CHECK(images->at(0).name == "docker.io/library/axis:1.0");
    CHECK(images->at(0).digest == std::string(image.at("digest").as_string()));
}

TEST_CASE("an image for another platform than was asked for is refused") {
    const Folder folder;
    write_file(folder.path / "image.tar", tar_of(docker_save(), false));
    const auto got = read(folder.path / "image.tar", "linux/amd64");
    REQUIRE(!got);
    CHECK(got.error().error.text().find("linux/arm64, not for linux/amd64") != std::string::npos);
    CHECK(read(folder.path / "image.tar", "linux/arm64"));
}

TEST_CASE("names that climb out of an archive are refused, in its members, links and documents") {
    auto evil = docker_save();
    evil.push_back({"../evil.tar", "x"});
    refused(evil, "climbs out of the archive");
    evil.back() = {"a/../../evil", "x"};
    refused(evil, "climbs out of the archive");
    evil.back() = {"/etc/cron.d/evil", "x"};
    refused(evil, "climbs out of the archive");
    for (const char* target : {"../../etc/shadow", "/etc/shadow", "../b2/layer.tar"}) {
        auto linked = docker_save();
        linked[2].content = target;  // out of the archive, or to itself
        refused(linked, "lacks b2/layer.tar");
    }
    for (const char* name : {"/etc/passwd", "../a1/layer.tar", "a1/../../etc/passwd", "", "."}) {
        refused(with("manifest.json", manifest_of("config.json", {name, "a1/layer.tar"}, {"a:1"})), "lacks");
        refused(with("manifest.json", manifest_of(name, {"a1/layer.tar", "a1/layer.tar"}, {"a:1"})),
                *name ? "lacks" : "expected the members");
    }
}

TEST_CASE("a folder is not left by a name in its documents") {
    const Folder folder;
    std::filesystem::create_directories(folder.path / "image");
    write_file(folder.path / "secret.tar", layer());
    write_file(folder.path / "image/config.json", config_of({layer()}));
    for (const auto& name : {std::string("../secret.tar"), (folder.path / "secret.tar").string()}) {
        write_file(folder.path / "image/manifest.json", manifest_of("config.json", {name}, {"a:1"}));
        const auto got = read(folder.path / "image");
        REQUIRE(!got);
        CHECK(got.error().error.text().find("lacks") != std::string::npos);
    }
    write_file(folder.path / "image/layer.tar", layer());
    write_file(folder.path / "image/manifest.json", manifest_of("config.json", {"layer.tar"}, {"a:1"}));
    CHECK(read(folder.path / "image"));
}

TEST_CASE("what is wrong in a docker-save archive is named") {
    refused(with("manifest.json", "[]"), "names no image");
    refused(with("manifest.json", "{}"), "names no image");
    refused(with("manifest.json", "[7]"), "expected the members Config and Layers");
    refused(with("manifest.json", "[{"), "expected JSON");
    refused(with("manifest.json", R"([{"Config":"config.json","Layers":[7]}])"), "names of layers");
    refused(with("manifest.json", R"([{"Config":"config.json","Layers":[]}])"), "expected 1 to 127 layers");
    refused(with("manifest.json", manifest_of("config.json", std::vector<std::string>(128, "a1/layer.tar"), {})),
            "more than 127 layers");
    refused(with("manifest.json", manifest_of("gone.json", {"a1/layer.tar", "a1/layer.tar"}, {})), "lacks gone.json");
    refused(with("config.json", "{}"), "expected the members os and architecture");
    refused(with("config.json", config_of({layer()})), "as many rootfs.diff_ids, got 2 and 1");
    refused(with("a1/layer.tar", tar_of({{"x", "y"}}, false)), "the image's configuration says");
    refused(with("a1/layer.tar", layer().substr(0, 2000)), "truncated or damaged");
    const std::string other = std::string(64, 'a') + ".json";
    auto renamed = docker_save();
    renamed[3].name = other;
    renamed[5].content = manifest_of(other, {"a1/layer.tar", "b2/layer.tar"}, {});
    refused(renamed, "has the wrong digest");
}

TEST_CASE("an image without a name has none") {
    for (const char* item :
         {R"([{"Config":"config.json","Layers":["a1/layer.tar","b2/layer.tar"]}])",
          R"([{"Config":"config.json","RepoTags":null,"Layers":["a1/layer.tar","b2/layer.tar"]}])"}) {
        const auto images = read(with("manifest.json", item));
        REQUIRE(images);
        CHECK(images->at(0).name.empty());
    }
}

TEST_CASE("what ecsc packs is an image of SylixOS with its labels untouched") {
    const auto images = ecsc("--name axis_server:1.2");
    REQUIRE(images);
    REQUIRE(images->size() == 1);
    CHECK(images->at(0).name == "axis_server:1.2");
    const auto config = text_of_blob(images->at(0).parts[1].blob);
    CHECK(config.find(R"("os": "sylixos")") != std::string::npos);
    CHECK(config.find(R"("mounts.0.options": "r")") != std::string::npos);
}

TEST_CASE("what the packer is known to write wrong is read and told") {
    // One letter of the rights of the mount that is always added.
    const auto plain = ecsc("");
    REQUIRE(plain);
    REQUIRE(plain->at(0).warnings.size() == 1);
    CHECK(plain->at(0).warnings[0].find("label mounts.0: expected one of ro, rw, rx, rwx, got \"r\"") !=
          std::string::npos);
    // The same mount twice, and two words the wrong way round.
    const auto twice = ecsc("--mount /etc/lic:/etc/lic:ro,rx --mount /apps/data:/data:rw");
    REQUIRE(twice);
    const auto& warnings = twice->at(0).warnings;
    CHECK(warned(warnings, "label mounts.2: \"/etc/lic\" is there already"));
    CHECK(warned(warnings, "mounts \"/data\" at \"/apps/data\""));
    CHECK(warnings.size() == 3);
    const auto odd = ecsc(
        "--label sylixos.resources.disk.limitMB=much --label sylixos.colour=red --label mounts.x.source=/a "
        "--label mounts.7.source=/a --label sylixos.devices.9.access=rw");
    REQUIRE(odd);
    CHECK(warned(odd->at(0).warnings, "label sylixos.resources.disk.limitMB: expected a number, got \"much\""));
    CHECK(warned(odd->at(0).warnings, "label sylixos.colour: is no setting"));
    CHECK(warned(odd->at(0).warnings, "label mounts.x.source: has no number"));
    CHECK(warned(odd->at(0).warnings, "label mounts.7: has no absolute destination"));
    CHECK(warned(odd->at(0).warnings, "label sylixos.devices.9: has no absolute path"));
}

TEST_CASE("a SylixOS image that climbs out by a label or in its layer, or has another layer, is refused") {
    for (const char* arguments :
         {"--label mounts.1.destination=/apps/../../etc", "--label mounts.0.source=/..",
          "--label sylixos.devices.0.path=/dev/../../mem", "--add ../../etc/passwd=x", "--wrong-layer"}) {
        INFO(arguments);
        const auto got = ecsc(arguments);
        REQUIRE(!got);
        CHECK(got.error().status == exit_status::kBadData);
    }
}

TEST_CASE("labels of images of Linux are nobody's business") {
    const auto images =
        read({{"layer.tar", layer()},
              {"c.json", config_of({layer()}, "linux", {{"mounts.0.options", "r"}, {"sylixos.x", "y"}})},
              {"manifest.json", manifest_of("c.json", {"layer.tar"}, {"a:1"})}});
    REQUIRE(images);
    CHECK(images->at(0).warnings.empty());
}

TEST_CASE("an archive that is damaged anywhere is read as it was or refused") {
    const char* given = std::getenv("GANTRY_SEED");
    const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
    INFO("seed " << seed << " (GANTRY_SEED repeats it)");
    std::mt19937_64 random(seed);
    const auto change = [&](std::string& bytes) {
        if (bytes.empty()) return;
        for (auto i = 1 + random() % 4; i > 0; --i) {
            const auto at = random() % bytes.size();
            switch (random() % 4) {
                case 0:
                    bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
                    break;
                case 1:
                    bytes[at] = "\"{}[]:,0-1.\\\0\xff/"[random() % 16];
                    break;
                case 2:
                    bytes.erase(at, 1 + random() % 40);
                    if (bytes.empty()) return;
                    break;
                default:
                    bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 64));
            }
        }
    };
    const Folder folder;
    const auto file = folder.path / "image.tar";
    const auto labels = json::object{{"mounts.0.source", "/a"},      {"mounts.0.destination", "/b"},
                                     {"mounts.0.options", "rx"},     {"sylixos.devices.0.path", "/dev/fb0"},
                                     {"sylixos.resources.a", "150"}, {"hostname", "x"}};
    std::vector<TarEntry> whole = docker_save();
    whole[3].content = config_of({layer(), layer()}, "sylixos", labels);
    const auto expected = [&] {
        write_file(file, tar_of(whole, false));
        return read(file);
    }();
    REQUIRE(expected);
    std::size_t good = 0, bad = 0;
    for (int i = 0; i < 3000; ++i) {
        auto entries = whole;
        std::string tar;
        if (i % 3 == 0) {
            tar = tar_of(entries, random() % 4 == 0);
            change(tar);
        } else {
            auto& entry = entries[random() % entries.size()];
            change(random() % 8 == 0 ? entry.name : entry.content);
            if (entry.name.empty()) entry.name = "x";
            tar = tar_of(entries, false);
        }
        write_file(file, tar);
        const auto got = read(file);
        if (!got) {
            ++bad;
            INFO("number " << i << ": " << got.error().error.text());
            CHECK(got.error().status == exit_status::kBadData);
            continue;
        }
        ++good;
        // Whatever was changed, what comes out is what it says of itself.
        for (const auto& image : *got) {
            for (const auto& part : image.parts) CHECK(sha256(text_of_blob(part.blob)) == part.digest);
        }
    }
    CHECK(good > 0);  // some change what nobody reads
    CHECK(bad > 1000);
}
