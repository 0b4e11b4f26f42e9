// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/blobs.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <thread>

#include "kernel/control/files.hpp"
#include "tests/unit/kernel/control/folder.hpp"
#include "tests/unit/kernel/control/scene.hpp"

using namespace gantry;
using control::BlobStore;

namespace {

// sha256 of "hello"
const std::string kHello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

struct Store : test::Folder {
    Store() : blobs(path / "images") { REQUIRE(blobs.open()); }
    Status take(const std::string& digest, const std::string& text) {
        std::array<int, 2> ends{};
        REQUIRE(pipe(ends.data()) == 0);
        const control::FileDescriptor in(ends[0]);
        std::thread writer([&] {
            const control::FileDescriptor out(ends[1]);
            CHECK(::write(out.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        });
        auto taken = blobs.take(digest, in.get());
        writer.join();
        return taken;
    }
    std::size_t files() const {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path / "images/blobs/sha256"))
            ++count;
        return count;
    }
    BlobStore blobs;
};

}  // namespace

TEST_CASE_METHOD(Store, "a blob that matches its digest is kept") {
    REQUIRE(take(kHello, "hello"));
    CHECK(blobs.has(kHello));
    CHECK(blobs.read(kHello, 1, 3).value() == "ell");
    CHECK(blobs.read(kHello, 4, 100).value() == "o");
    CHECK(blobs.size(kHello).value() == 5);
}

TEST_CASE_METHOD(Store, "a blob that does not match is refused with both digests, and nothing stays") {
    const auto taken = take(kHello, "hallo");
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code == Code::kInvalid);
    CHECK(taken.error().message.find(kHello) != std::string::npos);
    CHECK(files() == 0);
}

TEST_CASE_METHOD(Store, "a transfer goes on where it stopped") {
    REQUIRE(blobs.append(kHello, 0, "he"));
    CHECK(blobs.partial_size(kHello) == 2);
    CHECK(blobs.append(kHello, 3, "lo").error().code == Code::kConflict);
    REQUIRE(blobs.append(kHello, 2, "llo"));
    CHECK_FALSE(blobs.has(kHello));
    REQUIRE(blobs.finish(kHello));
    CHECK(blobs.has(kHello));
    CHECK(blobs.partial_size(kHello) == 0);
}

TEST_CASE_METHOD(Store, "a transfer with wrong bytes is dropped, so that it begins anew") {
    REQUIRE(blobs.append(kHello, 0, "hallo"));
    CHECK(blobs.finish(kHello).error().code == Code::kInvalid);
    CHECK(blobs.partial_size(kHello) == 0);
    CHECK(files() == 0);
}

TEST_CASE_METHOD(Store, "a digest that is none cannot name a file") {
    for (const std::string bad : {"", "sha256:", "sha256:../../../etc/passwd", "sha512:00", "2cf24d"}) {
        CHECK(blobs.append(bad, 0, "x").error().code == Code::kInvalid);
        CHECK(blobs.read(bad, 0, 1).error().code == Code::kInvalid);
        CHECK_FALSE(blobs.has(bad));
    }
}

TEST_CASE_METHOD(Store, "what is missing of an image is told level by level") {
    CHECK(blobs.missing(kHello).value() == std::vector{kHello});
    const auto manifest = R"({"config":{"digest":")" + kHello + R"(","size":5},"layers":[]})";
    // sha256 of that text is found by offering it under a wrong name
    const auto refused = take(kHello, manifest);
    const auto& message = refused.error().message;
    const auto digest = message.substr(message.rfind("sha256:"), 71);
    REQUIRE(take(digest, manifest));
    CHECK(blobs.missing(digest).value() == std::vector{kHello});
    REQUIRE(take(kHello, "hello"));
    CHECK(blobs.missing(digest).value().empty());
}

TEST_CASE_METHOD(Store, "what a killed process left is removed when the store is opened, a fresh part excepted") {
    const auto hex = kHello.substr(7);
    const auto file = [&](const std::string& end) { return path / "images/blobs/sha256" / (hex + end); };
    write("images/blobs/sha256/" + hex + ".upload-1234", "x");
    REQUIRE(blobs.append(kHello, 0, "he"));
    REQUIRE(blobs.open());
    CHECK_FALSE(exists(file(".upload-1234")));
    CHECK(blobs.partial_size(kHello) == 2);
    last_write_time(file(".part"), std::filesystem::file_time_type::clock::now() - std::chrono::hours(25));
    REQUIRE(blobs.open());
    CHECK(files() == 0);
}

TEST_CASE_METHOD(Store, "only what an image refers to is kept, and what was written a moment ago if that is asked") {
    const auto manifest = R"({"config":{"digest":")" + kHello + R"(","size":5},"layers":[]})";
    const auto digest = test::sha256(manifest), other = test::sha256("other");
    for (const auto& [name, text] : {std::pair(digest, manifest), {kHello, "hello"}, {other, "other"}})
        REQUIRE(take(name, text));
    blobs.keep({digest}, std::chrono::hours(1));
    CHECK(files() == 3);
    blobs.keep({digest}, std::chrono::seconds(0));
    CHECK(blobs.missing(digest)->empty());
    CHECK_FALSE(blobs.has(other));
    blobs.remove(digest, {kHello});
    CHECK_FALSE(blobs.has(digest));
    CHECK(blobs.has(kHello));
}

TEST_CASE_METHOD(Store, "damaged blobs are dropped, sound ones stay") {
    const auto manifest = R"({"config":{"digest":")" + kHello + R"(","size":5},"layers":[]})";
    const auto digest = test::sha256(manifest);
    REQUIRE(take(digest, manifest));
    REQUIRE(take(kHello, "hello"));
    CHECK_FALSE(blobs.drop_damaged(digest).value());
    write("images/blobs/sha256/" + kHello.substr(7), "hallo");
    CHECK(blobs.drop_damaged(digest).value());
    CHECK(blobs.missing(digest).value() == std::vector{kHello});
    write("images/blobs/sha256/" + digest.substr(7), "{");
    CHECK(blobs.drop_damaged(digest).value());
    CHECK_FALSE(blobs.has(digest));
}

TEST_CASE("a manifest names its configuration and layers, an index this machine's manifest") {
    const auto manifest = control::parse_manifest(
        R"({"config":{"digest":")" + kHello + R"(","size":5},"layers":[{"digest":")" + kHello + R"(","size":9}]})",
        "amd64");
    REQUIRE(manifest);
    CHECK(manifest->refs.size() == 2);
    CHECK(manifest->refs[1].size == 9);
    const std::string index =
        R"({"manifests":[{"digest":")" + kHello + R"(","size":5,"platform":{"architecture":"arm64","os":"linux"}}]})";
    CHECK(control::parse_manifest(index, "arm64")->is_index);
    CHECK(control::parse_manifest(index, "amd64").error().message.find("amd64") != std::string::npos);
}

TEST_CASE("a broken manifest is refused with the place") {
    for (const std::string bad : {"", "[]", "{}", "nonsense", R"({"config":{"digest":"sha256:zz","size":1}})",
                                  R"({"config":{"size":1}})", R"({"manifests":[{"digest":5}]})"}) {
        CHECK(control::parse_manifest(bad, "amd64").error().code == Code::kInvalid);
    }
}
