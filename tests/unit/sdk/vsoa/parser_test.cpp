#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <random>

#include "sdk/vsoa/include/vsoa_parser.h"
#include "sdk/vsoa/src/packet.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"
#include "tests/unit/sdk/vsoa/vectors.hpp"

using rig::Bytes;
using rig::operator+;

namespace {

struct Buffer {
    alignas(8) uint8_t bytes[VSOA_MAX_PACKET_LENGTH + 64];
};

Bytes to_bytes(const std::string& text) { return {text.begin(), text.end()}; }

/// Collects packets of a stream that is fed in pieces; 0: all at once.
struct Collected {
    std::vector<Bytes> packets;
    bool good = true;
};

Bytes copy_of(vsoa_header_t* header) {
    const auto* from = reinterpret_cast<uint8_t*>(header);
    return {from, from + vsoa_parser_get_length(header)};
}

Collected by_c_parser(const Bytes& stream, const std::function<size_t()>& piece) {
    auto recv = std::make_unique<vsoa_recv_t>();
    vsoa_parser_init_recv(recv.get());
    Collected out;
    Bytes rest = stream;
    for (size_t at = 0; at < stream.size() && out.good;) {
        const size_t length = std::min(piece(), stream.size() - at);
        const auto collect = [](void* arg, vsoa_header_t* header) {
            static_cast<Collected*>(arg)->packets.push_back(copy_of(header));
            return true;
        };
        out.good = vsoa_parser_input(recv.get(), rest.data() + at, length, collect, &out);
        at += length;
    }
    return out;
}

Collected by_receiver(const Bytes& stream, const std::function<size_t()>& piece) {
    vsoa::Receiver receiver;
    Collected out;
    for (size_t at = 0; at < stream.size();) {
        const auto space = receiver.space();
        const size_t length = std::min({piece(), stream.size() - at, space.room});
        std::memcpy(space.at, stream.data() + at, length);
        receiver.commit(length);
        at += length;
        vsoa_header_t* header = nullptr;
        for (;;) {
            const auto next = receiver.next(header);
            if (next == vsoa::Receiver::Next::kBad) return {out.packets, false};
            if (next == vsoa::Receiver::Next::kMore) break;
            out.packets.push_back(copy_of(header));
        }
    }
    return out;
}

}  // namespace

TEST_CASE("every recorded packet decodes to its fields and encodes again to them") {
    int count = 0;
    auto in = std::make_unique<Buffer>(), out = std::make_unique<Buffer>();
    for (const Vector& v : read_vectors()) {
        if (v.kind != "vsoa") continue;
        INFO(v.name << " packet " << ++count);
        std::memcpy(in->bytes, v.hex.data(), v.hex.size());
        vsoa_header_t* header = vsoa_parser_packet_input(in->bytes, v.hex.size());
        REQUIRE(header != nullptr);
        CHECK(vsoa_parser_get_type(header) == v.type);
        CHECK((vsoa_parser_get_flags(header) & ~VSOA_PAD_MASK) == v.flags);
        CHECK(vsoa_parser_get_flags(header) >> VSOA_PAD_SHIFT == v.pad);
        CHECK(vsoa_parser_get_status(header) == v.status);
        CHECK(vsoa_parser_get_seqno(header) == v.seqno);
        CHECK(ntohs(vsoa_parser_get_tunid(header)) == v.tunid);
        vsoa_url_t url;
        vsoa_payload_t payload;
        CHECK(vsoa_parser_get_url(header, &url) == !v.url.empty());
        CHECK(vsoa_parser_get_payload(header, &payload) == !(v.param.empty() && v.data.empty()));
        CHECK(rig::text(&url) == v.url);
        CHECK(rig::param(&payload) == v.param);
        CHECK(rig::data(&payload) == v.data);

        // The same bytes again, but for the vendor's pad bytes.
        std::string expected = v.hex;
        std::fill_n(expected.end() - v.pad, v.pad, '\0');
        std::memset(out->bytes, 0xee, sizeof out->bytes);
        vsoa_header_t* again =
            vsoa_parser_init_header(out->bytes, static_cast<uint8_t>(v.type), static_cast<uint8_t>(v.flags),
                                    static_cast<uint8_t>(v.status), static_cast<uint32_t>(v.seqno));
        if ((v.flags & VSOA_FLAG_TUNNEL) != 0)
            REQUIRE(vsoa_parser_set_tunid(again, htons(static_cast<uint16_t>(v.tunid))));
        REQUIRE(vsoa_parser_set_url(again, &url));
        REQUIRE(vsoa_parser_set_payload(again, &payload));
        const size_t length = vsoa_parser_fixp_length(again);
        CHECK(std::string(out->bytes, out->bytes + length) == expected);
        uint8_t pad = 9;
        CHECK(vsoa_parser_calc_size(&url, &payload, &pad) == length);
        CHECK(pad == v.pad);

        vsoa::Frame frame(static_cast<uint8_t>(v.type), static_cast<uint8_t>(v.flags), static_cast<uint8_t>(v.status),
                          static_cast<uint32_t>(v.seqno));
        frame.tunid(htons(static_cast<uint16_t>(v.tunid)));
        REQUIRE(frame.body(&url, &payload));
        Bytes bytes;
        frame.append_to(bytes);
        CHECK(bytes == to_bytes(expected));
    }
    CHECK(count == 147);
}

TEST_CASE("appending many packets moves the earlier ones only now and then") {
    Bytes out;
    int moves = 0;
    const vsoa::Frame frame(VSOA_TYPE_PINGECHO);
    for (int i = 0; i < 10'000; ++i) {
        const size_t room = out.capacity();
        frame.append_to(out);
        if (out.capacity() != room) ++moves;
    }
    CHECK(out.size() == 10'000 * VSOA_HDR_LENGTH);
    CHECK(moves < 40);
}

TEST_CASE("a stream gives the same packets however it is cut") {
    Bytes stream;
    std::vector<Bytes> expected;
    for (const Vector& v : read_vectors()) {
        if (v.kind != "vsoa") continue;
        stream = stream + to_bytes(v.hex);
        expected.push_back(to_bytes(v.hex.substr(0, v.hex.size() - static_cast<size_t>(v.pad))));
    }
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const std::function<size_t()> pieces[] = {[] { return size_t{1}; }, [] { return SIZE_MAX; },
                                              [&] { return size_t{1 + random() % 100}; }};
    for (const auto& piece : pieces) {
        CHECK(by_c_parser(stream, piece).packets == expected);
        CHECK(by_receiver(stream, piece).packets == expected);
    }
}

TEST_CASE("packets whose length is no multiple of four are taken") {
    // As the vendor's C and Python parsers do; the next packet then begins at an odd place.
    Bytes odd = rig::packet(VSOA_TYPE_PUBLISH, 0, "/a", "{}", "x");
    odd[2] &= static_cast<uint8_t>(~VSOA_PAD_MASK);
    odd.resize(25);
    const Bytes stream = odd + odd + odd;
    for (const auto& parse : {by_c_parser, by_receiver}) {
        for (const size_t size : {size_t{1}, size_t{7}, SIZE_MAX}) {
            const Collected got = parse(stream, [=] { return size; });
            CHECK(got.good);
            CHECK(got.packets == std::vector<Bytes>{odd, odd, odd});
        }
    }
}

TEST_CASE("the longest packet is taken and the next longer one is refused") {
    const std::string most(VSOA_MAX_DATA_LENGTH - 2, 'x');
    const Bytes good = rig::packet(VSOA_TYPE_PUBLISH, 0, "/a", "", most);
    REQUIRE(good.size() == VSOA_MAX_PACKET_LENGTH);
    Bytes bad = good;
    bad[11] = 3;  // url_len one more, and so the packet
    for (const auto& parse : {by_c_parser, by_receiver}) {
        CHECK(parse(good + good, [] { return size_t{10007}; }).packets.size() == 2);
        CHECK_FALSE(parse(bad, [] { return SIZE_MAX; }).good);
    }
    vsoa::Frame frame(VSOA_TYPE_PUBLISH);
    const std::string more = most + "x";
    const vsoa_url_t url = rig::url("/a");
    const vsoa_payload_t payload = rig::payload("", more);
    CHECK_FALSE(frame.body(&url, &payload));
    CHECK(errno == EMSGSIZE);
    CHECK(vsoa_parser_calc_size(&url, &payload, nullptr) == 0);
    auto buffer = std::make_unique<Buffer>();
    vsoa_header_t* header = vsoa_parser_init_header(buffer->bytes, VSOA_TYPE_PUBLISH, 0, 0, 0);
    REQUIRE(vsoa_parser_set_url(header, &url));
    CHECK_FALSE(vsoa_parser_set_payload(header, &payload));
    const std::string long_url(65536, '/');
    const vsoa_url_t too_long = rig::url(long_url.c_str());
    CHECK_FALSE(vsoa_parser_set_url(header, &too_long));
    CHECK_FALSE(vsoa::Frame(VSOA_TYPE_PUBLISH).body(&too_long, nullptr));
}

TEST_CASE("lengths that overflow 32 bits are refused at the header") {
    Bytes header = rig::packet(VSOA_TYPE_PUBLISH, 0);
    std::memset(header.data() + 12, 0xff, 8);
    for (const auto& parse : {by_c_parser, by_receiver}) CHECK_FALSE(parse(header, [] { return size_t{1}; }).good);
    std::memset(header.data() + 12, 0, 4);
    for (const auto& parse : {by_c_parser, by_receiver}) CHECK_FALSE(parse(header, [] { return SIZE_MAX; }).good);
}

TEST_CASE("a datagram holds one whole packet or is ignored") {
    alignas(8) uint8_t buffer[64] = {};
    const Bytes good = rig::packet(VSOA_TYPE_DATAGRAM, 7, "/a", "{}");
    std::memcpy(buffer, good.data(), good.size());
    CHECK(vsoa_parser_packet_input(buffer, good.size()) != nullptr);
    CHECK(vsoa_parser_packet_input(buffer, good.size() + 9) != nullptr);
    CHECK(vsoa_parser_packet_input(buffer, 23) == nullptr);
    CHECK(vsoa_parser_packet_input(buffer, 0) == nullptr);
    std::memset(buffer + 12, 0xff, 8);
    CHECK(vsoa_parser_packet_input(buffer, good.size()) == nullptr);
    buffer[0] = 0x19;
    CHECK(vsoa_parser_packet_input(buffer, good.size()) == nullptr);
}

TEST_CASE("garbage never breaks the parsers") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const Bytes sound = rig::packet(VSOA_TYPE_RPC, 1, "/a/b", "{\"a\":1}", "data");
    for (int round = 0; round < 3000; ++round) {
        Bytes stream;
        for (int i = 0; i < 4; ++i) {
            Bytes part = sound;
            // Some bytes of the header wrong, mostly not the first.
            for (unsigned wrong = random() % 3; wrong > 0; --wrong)
                part[random() % 20] = static_cast<uint8_t>(random());
            if (random() % 4 == 0) part[0] = vsoa::kMagicByte;
            stream = stream + part;
        }
        stream.resize(random() % (stream.size() + 1));
        const auto piece = [&] { return size_t{1 + random() % 40}; };
        const Collected a = by_c_parser(stream, piece), b = by_receiver(stream, piece);
        REQUIRE(a.packets == b.packets);
        REQUIRE(a.good == b.good);
    }
}
