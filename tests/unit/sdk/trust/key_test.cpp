// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/trust/key.hpp>

namespace gantry::trust {
namespace {

// RFC 8032, section 7.1, test 1: the private key 9d61b19d... in PKCS#8, and the public key that belongs to it.
constexpr std::string_view kPrivate =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n";
constexpr std::string_view kPublic =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "-----END PUBLIC KEY-----\n";
constexpr std::string_view kOfRsa =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALYWZeCTJurrESzqLzttDeUI5ojOwzdB\n"
    "wIku8JSBL152KiCyS5fFd9XzSuNRZjYhPDjMzwmUNWS/cpEHnt7XQIMCAwEAAQ==\n"
    "-----END PUBLIC KEY-----\n";

Digest digest(std::uint8_t first) {
    Digest out{};
    out[0] = first;
    return out;
}

}  // namespace

TEST_CASE("a key is read and written in OpenSSL's files") {
    std::string error;
    const auto secret = Key::read_private(kPrivate, error);
    REQUIRE(secret);
    CHECK(secret->private_pem() == kPrivate);
    CHECK(secret->public_pem() == kPublic);
    const auto open = Key::read_public(kPublic, error);
    REQUIRE(open);
    CHECK(open->id() == secret->id());
    CHECK(open->private_pem() == "");
    CHECK(hex(open->id()) == "21fe31dfa154a261");  // sha256sum of the 32 bytes
}

TEST_CASE("what is no Ed25519 key of that kind is refused") {
    std::string error;
    const std::string long_one(kKeyFileMax + 1, '\n');
    for (const std::string_view pem : {std::string_view(), kPrivate, kOfRsa, kPublic.substr(0, 60),
                                       std::string_view("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                                       std::string_view(long_one)}) {
        CHECK_FALSE(Key::read_public(pem, error));
        CHECK(error == "is no public Ed25519 key in PEM, expected -----BEGIN PUBLIC KEY-----");
    }
    CHECK_FALSE(Key::read_private(kPublic, error));
    CHECK(error == "is no private Ed25519 key in PEM without a password, expected -----BEGIN PRIVATE KEY-----");
}

TEST_CASE("a signature is good for its key and its bytes alone") {
    const auto key = *Key::make(), other = *Key::make();
    CHECK(key.id() != other.id());
    const Seal seal = key.sign(digest(1));
    CHECK(key.sign(digest(1)).signature == seal.signature);
    CHECK(key.signed_by(seal, digest(1)));
    CHECK_FALSE(key.signed_by(seal, digest(2)));
    CHECK_FALSE(other.signed_by(seal, digest(1)));
    Seal claimed = seal;
    claimed.key = other.id();
    CHECK_FALSE(other.signed_by(claimed, digest(1)));
    CHECK_FALSE(key.signed_by(claimed, digest(1)));
    for (std::size_t i = 0; i < seal.signature.size(); ++i) {
        Seal changed = seal;
        changed.signature[i] ^= 0x10;
        CHECK_FALSE(key.signed_by(changed, digest(1)));
    }
    std::string error;
    CHECK(Key::read_public(key.public_pem(), error)->signed_by(seal, digest(1)));
}

}  // namespace gantry::trust
