// SPDX-License-Identifier: Apache-2.0
//
// What beacons say: three kinds of packet of one size, each with a MAC under a key derived from the cluster's secret.
//
//     query   agent -> group        "who is a controller?"  nonce
//     answer  controller -> agent   the query's nonce, where to dial, a cookie
//     hello   agent -> controller   the answer's cookie, the node's name (only if it has one to tell)
//
// An answer is believed only with the nonce of one of the last two queries and once for each, a hello only with a
// cookie that the controller gave to that very address in the last 20 s: what was recorded is worth nothing later. No
// clock is compared and nothing is kept over a restart. All packets have one size, so that an answer to a query with a
// forged sender's address is no larger than the query.
//
//     offset 0  "GTB1"   4 kind   5 length of the name   6 port (big endian)   8 sender   16 nonce   32 cookie
//            48 address (IPv6, an IPv4 address mapped)   64 name, filled up with zeros   128 MAC, HMAC-SHA256 of 0 to
//            127
//
// Fields that a kind does not use are zero.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace cluster_secret {
class Key;
}

namespace beacon {

inline constexpr std::size_t kPacketSize = 160, kMacSize = 32, kNameMax = 63;
inline constexpr const char* kKeyLabel = "gantry/1 discovery beacon";

using Raw = std::array<std::uint8_t, kPacketSize>;
using Id = std::array<std::uint8_t, 8>;
using Token = std::array<std::uint8_t, 16>;

enum class Kind : std::uint8_t { kQuery = 1, kAnswer = 2, kHello = 3 };

struct Packet {
    Kind kind = Kind::kQuery;
    Id sender{};           // of one run of one plugin, random
    Token nonce{};         // query, answer
    Token cookie{};        // answer, hello
    Token address{};       // answer
    std::uint16_t port{};  // answer
    std::string name;      // hello: 1 to 63 bytes, no control characters

    bool operator==(const Packet&) const = default;
};

// What the bytes before the MAC say; nothing, if that is no packet of ours in the one form that encode() writes. The
// MAC is not looked at.
std::optional<Packet> decode(std::span<const std::uint8_t> bytes);
// The MAC stays zero.
Raw encode(const Packet& packet);

// Complete with the MAC, and back: nothing, if the MAC is another key's or the packet none.
Raw seal(const cluster_secret::Key& key, const Packet& packet);
std::optional<Packet> open(const cluster_secret::Key& key, std::span<const std::uint8_t> bytes);
// It looks like a packet of some cluster: size and first bytes.
bool plausible(std::span<const std::uint8_t> bytes);

// Of an answer: "10.0.0.1:3900", "[fd00::1]:3900".
std::string endpoint(const Packet& answer);
// Can be dialled from another host: not unspecified, loopback, link-local or multicast.
bool dialable(const Token& address);

std::array<std::uint8_t, 32> hmac(std::span<const std::uint8_t> key, std::span<const std::uint8_t> bytes);

}  // namespace beacon
