// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/image_fetch.hpp"

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/control/folder.hpp"
#include "tests/unit/kernel/control/scene.hpp"

using namespace gantry;
using control::BlobStore;
using control::ImageFetch;

namespace {

// A controller that has every blob given to it, and answers when the test lets it.
struct Fetch : test::Folder {
    Fetch() : blobs(path / "images"), lane(io, 1) {
        REQUIRE(blobs.open());
        fetch.connected(true);
    }
    std::string have(const std::string& text) {
        content[test::sha256(text)] = text;
        return R"({"digest":")" + test::sha256(text) + R"(","size":)" + std::to_string(text.size()) + "}";
    }
    std::string image(const std::string& layer) {
        const auto manifest = R"({"config":)" + have("{}") + R"(,"layers":[)" + have(layer) + "]}";
        have(manifest);
        return test::sha256(manifest);
    }
    void want(const std::string& digest, bool urgent) {
        fetch.fetch(digest, urgent, [this, digest](Result<void> done) {
            ended.push_back(digest);
            results[digest] = std::move(done);
        });
    }
    void answer(const core::BlobRead& read) {
        const auto& text = content.at(read.digest);
        const auto at = std::min<std::size_t>(read.offset, text.size());
        served += std::min<std::size_t>(read.length, text.size() - at);
        fetch.data({read.digest, read.offset, text.size(), ""}, text.substr(at, read.length));
    }
    bool until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            if (!asked.empty()) {
                const auto read = asked.front();
                asked.pop_front();
                answer(read);
            }
            io.restart();
            io.run_one_for(std::chrono::milliseconds(asked.empty() ? 5 : 0));
        }
        return true;
    }

    boost::asio::io_context io;
    BlobStore blobs;
    control::Lane lane;
    std::deque<core::BlobRead> asked;
    std::map<std::string, std::string> content;
    std::vector<std::string> ended;
    std::map<std::string, Status> results;
    std::size_t served = 0;
    std::uint32_t last_percent = 0;
    ImageFetch fetch{lane, blobs, [this](const core::BlobRead& read) { asked.push_back(read); },
                     [this](const std::string&, std::uint32_t percent, std::uint64_t) { last_percent = percent; }};
};

std::string large(char fill) { return std::string(20 * limits::kBlobChunk + 17, fill); }

}  // namespace

TEST_CASE_METHOD(Fetch, "an image comes whole, an empty blob in it included") {
    const auto digest = image("");
    want(digest, true);
    REQUIRE(until([&] { return !ended.empty(); }));
    CHECK(results[digest]);
    CHECK(blobs.missing(digest)->empty());
}

TEST_CASE_METHOD(Fetch, "a transfer that lost its connection goes on where it stopped") {
    const auto digest = image(large('a'));
    want(digest, true);
    REQUIRE(until([&] { return blobs.partial_size(test::sha256(large('a'))) > 5 * limits::kBlobChunk; }));
    fetch.connected(false);
    asked.clear();
    io.restart();
    io.run_for(std::chrono::milliseconds(50));
    CHECK(asked.empty());  // nobody is there to be asked
    fetch.connected(true);
    REQUIRE(until([&] { return !ended.empty(); }));
    CHECK(results[digest]);
    const auto all = large('a').size() + 2 + content[digest].size();
    CHECK(served < all + 6 * limits::kBlobChunk);  // what was under way when it broke
}

TEST_CASE_METHOD(Fetch,
                 "an image that a copy waits for goes before one that is only to be ready, which goes on after") {
    const auto later = image(large('b'));
    const auto now = image(large('c'));
    want(later, false);
    REQUIRE(until([&] { return blobs.partial_size(test::sha256(large('b'))) > 5 * limits::kBlobChunk; }));
    want(now, true);
    REQUIRE(until([&] { return ended.size() == 1; }));
    CHECK(ended.front() == now);
    const auto before = served;
    REQUIRE(until([&] { return ended.size() == 2; }));
    CHECK(results[later]);
    CHECK(served - before < large('b').size());  // not from its beginning
}

TEST_CASE_METHOD(Fetch, "an image that a copy begins to wait for goes before the others that are only to be ready") {
    const auto first = image(large('g'));
    const auto lazy = image("lazy");
    const auto raised = image("raised");
    want(first, false);
    want(lazy, false);
    want(raised, false);
    CHECK(fetch.hurry(raised));
    CHECK_FALSE(fetch.hurry(test::sha256("nobody asked")));
    REQUIRE(until([&] { return ended.size() == 3; }));
    CHECK(ended == std::vector{raised, first, lazy});
}

TEST_CASE_METHOD(Fetch, "of what copies wait for, the first asked is the first served") {
    const auto one = image(large('d'));
    const auto two = image(large('e'));
    want(one, true);
    want(two, true);
    REQUIRE(until([&] { return ended.size() == 2; }));
    CHECK(ended == std::vector{one, two});
}

TEST_CASE_METHOD(Fetch, "a blob with other bytes than its digest says fails, and the next image comes nevertheless") {
    const auto bad = image("good");
    content[test::sha256("good")] = "evil";
    const auto next = image("next");
    want(bad, true);
    want(next, true);
    REQUIRE(until([&] { return ended.size() == 2; }));
    CHECK(results[bad].error().code == Code::kInvalid);
    CHECK(results[next]);
}

TEST_CASE_METHOD(Fetch, "a controller that sends less than it promised is not waited for") {
    const auto digest = image(large('f'));
    want(digest, true);
    REQUIRE(until([&] { return blobs.has(digest) && !asked.empty() && asked.front().digest != digest; }));
    fetch.data({asked.front().digest, asked.front().offset, 1'000, ""}, "");
    REQUIRE(ended.size() == 1);
    CHECK(results[digest].error().code == Code::kUnavailable);
}

TEST_CASE_METHOD(Fetch, "progress counts what was there before") {
    const auto digest = image(large('g'));
    REQUIRE(blobs.append(test::sha256(large('g')), 0, large('g').substr(0, 15 * limits::kBlobChunk)));
    want(digest, true);
    REQUIRE(until([&] {
        return last_percent > 0 && blobs.has(digest) &&
               blobs.partial_size(test::sha256(large('g'))) > 15 * limits::kBlobChunk;
    }));
    CHECK(last_percent >= 70);
    REQUIRE(until([&] { return !ended.empty(); }));
}
