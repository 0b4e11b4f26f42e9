// Frames and streams of a capture that is hostile: nothing may be read beyond its end, and memory stays bounded.
#include <pcap/dlt.h>

#include <catch2/catch.hpp>
#include <memory>
#include <random>

#include "sdk/vsoa/tools/capture.hpp"
#include "sdk/vsoa/tools/stream.hpp"
#include "tests/unit/sdk/vsoa/vectors.hpp"

using namespace vsoa::tools;

namespace {

std::string golden_stream() {
    std::string out;
    for (const auto& v : read_vectors()) {
        if (v.kind == "vsoa" && v.transport == "tcp") out += v.hex;
    }
    return out;
}

struct Seeing {
    int packets = 0;
    uint64_t troubled = 0;
    StreamDecoder stream;

    explicit Seeing(bool expected)
        : stream({[this](vsoa_header_t* header) {
                      ++packets;
                      vsoa_url_t url;
                      vsoa_payload_t payload;
                      vsoa_parser_get_url(header, &url);
                      vsoa_parser_get_payload(header, &payload);
                      // Every byte may be read.
                      sum += std::hash<std::string_view>()({url.url, url.url_len});
                      sum += std::hash<std::string_view>()({payload.param, payload.param_len});
                      sum += std::hash<std::string_view>()({static_cast<const char*>(payload.data), payload.data_len});
                  },
                  [this](const std::string&, uint64_t bytes) { troubled += bytes; }},
                 expected) {}

    size_t sum = 0;
};

uint32_t seed() {
    const uint32_t out = std::random_device()();
    UNSCOPED_INFO("seed " << out);
    return out;
}

}  // namespace

TEST_CASE("every golden packet of a stream is found, however it is cut") {
    const std::string stream = golden_stream();
    int expected = 0;
    for (const auto& v : read_vectors()) expected += v.kind == "vsoa" && v.transport == "tcp";
    for (const size_t size : {size_t{1}, size_t{19}, size_t{64}, stream.size()}) {
        Seeing seeing(false);
        seeing.stream.begin(0xffffff00);
        for (size_t at = 0; at < stream.size(); at += size) {
            seeing.stream.segment(0xffffff00 + static_cast<uint32_t>(at), std::string_view(stream).substr(at, size));
        }
        seeing.stream.finish();
        CHECK(seeing.packets == expected);
        CHECK(seeing.troubled == 0);
    }
}

TEST_CASE("segments with any bytes and any numbers are survived") {
    std::mt19937 random(seed());
    const std::string golden = golden_stream();
    for (int round = 0; round < 200; ++round) {
        Seeing seeing(round % 2 == 0);
        std::string stream = golden;
        for (unsigned i = 0; i < random() % 40; ++i) stream[random() % stream.size()] = static_cast<char>(random());
        if (round % 3 == 0) seeing.stream.begin(0);
        for (int i = 0; i < 200; ++i) {
            const size_t at = random() % stream.size();
            const uint32_t number = random() % 8 == 0 ? static_cast<uint32_t>(random()) : static_cast<uint32_t>(at);
            seeing.stream.segment(number, std::string_view(stream).substr(at, random() % 300));
            if (random() % 5 == 0) seeing.stream.acknowledged(static_cast<uint32_t>(random() % stream.size()));
        }
        seeing.stream.finish();
    }
}

TEST_CASE("a gap is given up when too much waits behind it") {
    Seeing seeing(true);
    seeing.stream.begin(0);
    const std::string chunk(16 * 1024, 'x');
    uint32_t at = 100;
    while (seeing.troubled == 0 && at < 4 * 1024 * 1024) {
        seeing.stream.segment(at, chunk);
        at += static_cast<uint32_t>(chunk.size());
    }
    CHECK(seeing.troubled >= 100);
    CHECK(at < 2 * 1024 * 1024);
}

TEST_CASE("frames of any bytes are survived, on every link layer") {
    std::mt19937 random(seed());
    constexpr int kLinks[] = {DLT_EN10MB, DLT_RAW,  DLT_NULL,      DLT_LOOP,
                              DLT_IPV4,   DLT_IPV6, DLT_LINUX_SLL, DLT_LINUX_SLL2};
    FrameReader reader;
    Seen seen;
    size_t sum = 0, read = 0;
    for (int round = 0; round < 200'000; ++round) {
        // Of exactly this size, so that a sanitizer sees the byte behind it.
        const size_t size = random() % 120;
        const auto frame = std::make_unique<char[]>(size);
        for (size_t i = 0; i < size; ++i) frame[i] = static_cast<char>(random());
        const int link = kLinks[random() % std::size(kLinks)];
        // Something that is nearly IP with nearly TCP or UDP.
        if (link == DLT_RAW && size > 30) {
            const bool six = random() % 2 == 0;
            frame[0] = six ? 0x60 : 0x45;
            frame[six ? 4 : 2] = 0;
            if (!six) frame[6] = static_cast<char>(random() % 2 * 0x20);
            constexpr char kProtocols[] = {6, 17, 0, 43, 44, 60};
            frame[six ? 6 : 9] = kProtocols[random() % std::size(kProtocols)];
        }
        if (!reader.read(link, {frame.get(), size}, random() % 3 * 10, seen)) continue;
        ++read;
        sum += std::hash<std::string_view>()(seen.bytes) + seen.from.text().size();
    }
    CHECK(read > 0);
    CHECK(sum > 0);
}
