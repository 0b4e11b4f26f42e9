// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/beacon/packet.hpp"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstring>
#include <gantry/status.hpp>

#include "plugins/transport/secret/secret.hpp"

namespace beacon {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic{'G', 'T', 'B', '1'};
constexpr std::size_t kKind = 4, kLength = 5, kPort = 6, kSender = 8, kNonce = 16, kCookie = 32, kAddress = 48,
                      kName = 64, kMac = 128;
static_assert(kMac + kMacSize == kPacketSize && kName + kNameMax + 1 == kMac);

template <std::size_t N>
void take(std::span<const std::uint8_t> from, std::size_t at, std::array<std::uint8_t, N>& to) {
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), N, to.begin());
}

bool valid_name(std::string_view name) {
    return !name.empty() && name.size() <= kNameMax &&
           std::ranges::none_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool valid(const Packet& p) {
    const Token none{};
    const bool nowhere = p.address == none && p.port == 0;
    switch (p.kind) {
        case Kind::kQuery:
            return nowhere && p.cookie == none && p.name.empty();
        case Kind::kAnswer:
            return dialable(p.address) && p.port != 0 && p.name.empty();
        case Kind::kHello:
            return nowhere && p.nonce == none && valid_name(p.name);
    }
    return false;
}

std::span<const std::uint8_t> bytes_of(const cluster_secret::Key& key) {
    return {key.data(), cluster_secret::Key::kSize};
}

}  // namespace

bool dialable(const Token& address) {
    in6_addr a;
    std::memcpy(&a, address.data(), sizeof a);
    if (IN6_IS_ADDR_V4MAPPED(&a)) {
        const std::uint8_t first = address[12], second = address[13];
        return first != 0 && first != 127 && first < 224 && !(first == 169 && second == 254);
    }
    return !IN6_IS_ADDR_UNSPECIFIED(&a) && !IN6_IS_ADDR_LOOPBACK(&a) && !IN6_IS_ADDR_LINKLOCAL(&a) &&
           !IN6_IS_ADDR_MULTICAST(&a);
}

bool plausible(std::span<const std::uint8_t> bytes) {
    return bytes.size() == kPacketSize && std::equal(kMagic.begin(), kMagic.end(), bytes.begin());
}

std::optional<Packet> decode(std::span<const std::uint8_t> bytes) {
    if (!plausible(bytes) || bytes[kKind] < 1 || bytes[kKind] > 3 || bytes[kLength] > kNameMax) return std::nullopt;
    Packet out;
    out.kind = static_cast<Kind>(bytes[kKind]);
    out.port = static_cast<std::uint16_t>(bytes[kPort] << 8 | bytes[kPort + 1]);
    take(bytes, kSender, out.sender);
    take(bytes, kNonce, out.nonce);
    take(bytes, kCookie, out.cookie);
    take(bytes, kAddress, out.address);
    const auto name = bytes.subspan(kName, kMac - kName);
    out.name.assign(name.begin(), name.begin() + bytes[kLength]);
    const auto rest = name.subspan(bytes[kLength]);
    if (std::ranges::any_of(rest, [](std::uint8_t b) { return b != 0; }) || !valid(out)) return std::nullopt;
    return out;
}

Raw encode(const Packet& packet) {
    if (!valid(packet)) throw gantry::Failure(gantry::Code::kInvalid, "a beacon that breaks its own form");
    Raw out{};
    std::ranges::copy(kMagic, out.begin());
    out[kKind] = static_cast<std::uint8_t>(packet.kind);
    out[kLength] = static_cast<std::uint8_t>(packet.name.size());
    out[kPort] = static_cast<std::uint8_t>(packet.port >> 8);
    out[kPort + 1] = static_cast<std::uint8_t>(packet.port);
    std::ranges::copy(packet.sender, out.begin() + kSender);
    std::ranges::copy(packet.nonce, out.begin() + kNonce);
    std::ranges::copy(packet.cookie, out.begin() + kCookie);
    std::ranges::copy(packet.address, out.begin() + kAddress);
    std::ranges::copy(packet.name, out.begin() + kName);
    return out;
}

std::array<std::uint8_t, 32> hmac(std::span<const std::uint8_t> key, std::span<const std::uint8_t> bytes) {
    std::array<std::uint8_t, 32> out{};
    unsigned length = out.size();
    if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(), out.data(), &length) ==
        nullptr) {
        throw gantry::Failure(gantry::Code::kFailed, "OpenSSL computes no HMAC-SHA256; is its default provider there?");
    }
    return out;
}

Raw seal(const cluster_secret::Key& key, const Packet& packet) {
    Raw out = encode(packet);
    const auto mac = hmac(bytes_of(key), std::span(out).first(kMac));
    std::ranges::copy(mac, out.begin() + kMac);
    return out;
}

std::optional<Packet> open(const cluster_secret::Key& key, std::span<const std::uint8_t> bytes) {
    if (!plausible(bytes)) return std::nullopt;
    const auto mac = hmac(bytes_of(key), bytes.first(kMac));
    if (CRYPTO_memcmp(mac.data(), bytes.data() + kMac, kMacSize) != 0) return std::nullopt;
    return decode(bytes);
}

std::string endpoint(const Packet& answer) {
    char text[INET6_ADDRSTRLEN] = "";
    in6_addr a;
    std::memcpy(&a, answer.address.data(), sizeof a);
    const std::string behind = ':' + std::to_string(answer.port);
    if (IN6_IS_ADDR_V4MAPPED(&a)) return inet_ntop(AF_INET, &a.s6_addr[12], text, sizeof text) + behind;
    return '[' + std::string(inet_ntop(AF_INET6, &a, text, sizeof text)) + ']' + behind;
}

}  // namespace beacon
