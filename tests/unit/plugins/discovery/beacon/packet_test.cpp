// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/beacon/packet.hpp"

#include <arpa/inet.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <gantry/status.hpp>
#include <numeric>

#include "plugins/transport/secret/secret.hpp"

using namespace beacon;
using cluster_secret::Key;

namespace {

template <std::size_t N>
std::array<std::uint8_t, N> from(std::uint8_t first) {
    std::array<std::uint8_t, N> out;
    std::iota(out.begin(), out.end(), first);
    return out;
}

Token address(const char* text) {
    Token out{};
    if (inet_pton(AF_INET6, text, out.data()) != 1) throw std::invalid_argument(text);
    return out;
}

Packet answer(const char* where = "::ffff:10.90.0.1") {
    return {Kind::kAnswer, from<8>(1), from<16>(16), from<16>(32), address(where), 3900, {}};
}
Packet query() { return {Kind::kQuery, from<8>(1), from<16>(16), {}, {}, 0, {}}; }
Packet hello(std::string name) { return {Kind::kHello, from<8>(1), {}, from<16>(32), {}, 0, std::move(name)}; }

const char* kSecret = "a secret of more than 16 bytes\n";

std::string hex(const Raw& raw) {
    std::string out;
    char two[3];
    for (const std::uint8_t byte : raw) {
        std::snprintf(two, sizeof two, "%02x", byte);
        out += two;
    }
    return out;
}

}  // namespace

TEST_CASE("a packet is the bytes that another implementation writes, MAC and derived key included") {
    // tests/support/beacon.py: seal(key_of(secret), ANSWER, ...)
    CHECK(hex(seal(Key(kSecret, kKeyLabel), answer())) ==
          "4754423102000f3c0102030405060708101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
          "00000000000000000000ffff0a5a0001" +
              std::string(128, '0') + "9a9fb52ebff0e6b3720686316c9d89fbe9cddbd7f4e8398fdb763a6f7231375c");
}

TEST_CASE("every kind of packet survives being sealed and opened") {
    const Key key(kSecret, kKeyLabel);
    for (const Packet& packet :
         {query(), answer(), answer("fd00::1"), hello("SNode1"), hello("陀螺仪"), hello(std::string(63, 'x'))}) {
        CHECK(open(key, seal(key, packet)) == packet);
    }
}

TEST_CASE("a packet that was changed in any bit, cut or lengthened is none") {
    const Key key(kSecret, kKeyLabel);
    const Raw good = seal(key, answer());
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        Raw bad = good;
        bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ 1u << bit % 8);
        CAPTURE(bit);
        CHECK_FALSE(open(key, bad));
    }
    std::vector<std::uint8_t> longer(good.begin(), good.end());
    longer.push_back(0);
    CHECK_FALSE(open(key, longer));
    for (std::size_t size = 0; size < good.size(); ++size) CHECK_FALSE(open(key, std::span(good).first(size)));
}

TEST_CASE("another secret, or the same secret for another use, opens nothing") {
    const Raw packet = seal(Key(kSecret, kKeyLabel), query());
    CHECK_FALSE(open(Key("another secret of 16 bytes", kKeyLabel), packet));
    CHECK_FALSE(open(Key(kSecret, "gantry/1 transport psk"), packet));
    CHECK(open(Key("a secret of more than 16 bytes", kKeyLabel), packet));  // line ends do not count
}

TEST_CASE("an answer leads to an address that another host can dial") {
    for (const char* good : {"::ffff:10.0.0.1", "::ffff:192.168.1.1", "fd00::1", "2001:db8::1"}) {
        INFO(good);
        CHECK(dialable(address(good)));
        CHECK(decode(encode(answer(good))));
    }
    for (const char* bad : {"::", "::1", "fe80::1", "ff02::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1",
                            "::ffff:169.254.1.1", "::ffff:224.0.0.1", "::ffff:255.255.255.255"}) {
        INFO(bad);
        CHECK_FALSE(dialable(address(bad)));
        CHECK_THROWS_AS(encode(answer(bad)), gantry::Failure);
        Raw forged = encode(answer());
        std::ranges::copy(address(bad), forged.begin() + 48);
        CHECK_FALSE(decode(forged));
    }
    CHECK(endpoint(answer()) == "10.90.0.1:3900");
    CHECK(endpoint(answer("fd00::1")) == "[fd00::1]:3900");
}

TEST_CASE("what a kind does not use is zero, and a name is a name") {
    const auto refused = [](Raw raw, std::size_t at, std::uint8_t value) {
        raw[at] = value;
        return !decode(raw);
    };
    CHECK(refused(encode(query()), 4, 0));          // no kind
    CHECK(refused(encode(query()), 4, 4));          // an unknown one
    CHECK(refused(encode(query()), 7, 1));          // a port
    CHECK(refused(encode(query()), 32, 1));         // a cookie
    CHECK(refused(encode(query()), 48, 1));         // an address
    CHECK(refused(encode(query()), 100, 1));        // a name
    CHECK(refused(encode(answer()), 100, 1));       // a name
    CHECK(refused(encode(hello("ab")), 16, 1));     // a nonce
    CHECK(refused(encode(hello("ab")), 5, 0));      // no name
    CHECK(refused(encode(hello("ab")), 5, 64));     // a name that ends behind its place
    CHECK(refused(encode(hello("ab")), 64, '\n'));  // a control character
    CHECK(refused(encode(hello("ab")), 70, 'c'));   // bytes behind the name
    CHECK_THROWS_AS(encode(hello("")), gantry::Failure);
    CHECK_THROWS_AS(encode(hello(std::string(64, 'x'))), gantry::Failure);
}
