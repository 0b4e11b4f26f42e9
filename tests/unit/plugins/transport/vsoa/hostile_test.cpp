// SPDX-License-Identifier: Apache-2.0
//
// transport/vsoa against other sides that mean harm or are broken: each loses its own connection, and nobody else does.
#include <vsoa_parser.h>

#include <deque>
#include <random>

#include "tests/unit/plugins/transport/vsoa/fixture.hpp"

namespace {

// A server with a good peer, whose connection must survive everything.
struct Scene {
    explicit Scene(Settings settings = {}) : server(host, std::move(settings)), good(host), address(server.listen()) {
        there = good.reach(server, address);
    }
    ~Scene() { good_peer_is_well(); }
    void good_peer_is_well() {
        const auto before = server.driver.messages.size();
        CHECK(good.driver.send(there, Channel::kControl, "well") == Code::kOk);
        CHECK(host.run_until([&] { return server.driver.messages.size() > before; }));
        CHECK(server.driver.messages.back().data == "well");
    }
    FakeHost host{real_time()};
    Node server, good;
    std::string address;
    gantry::PeerId there = 0;
};

std::string packet(std::uint8_t type, std::string_view url, std::string_view data, std::uint32_t seqno = 0) {
    std::vector<char> out(VSOA_MAX_PACKET_LENGTH);
    vsoa_header_t* header = vsoa_parser_init_header(out.data(), type, 0, 0, seqno);
    const vsoa_url_t vsoa_url{const_cast<char*>(url.data()), url.size()};
    const vsoa_payload_t payload{nullptr, 0, const_cast<char*>(data.data()), data.size()};
    REQUIRE(vsoa_parser_set_url(header, &vsoa_url));
    REQUIRE(vsoa_parser_set_payload(header, &payload));
    return {out.data(), vsoa_parser_fixp_length(header)};
}

std::string huge_header(std::uint32_t data_len) {
    std::string out = packet(VSOA_TYPE_DATAGRAM, "/control", "");
    out.resize(VSOA_HDR_LENGTH);
    reinterpret_cast<vsoa_header_t*>(out.data())->data_len = htonl(data_len);
    return out;
}

}  // namespace

TEST_CASE("what is not TLS is turned away, and reported with the reason") {
    Scene scene;
    const std::string junk = GENERATE(std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(4096, '\xff'),
                                      vsoa_transport::login_packet(), std::string(100'000, '\0'));
    raw::Plain peer(scene.address);
    peer.send(junk);
    REQUIRE(scene.host.run_until([&] { return peer.ended() && scene.server.driver.refusals.size() == 1; }));
    CHECK_THAT(scene.server.driver.refusals[0].text, Catch::Contains("no TLS 1.3"));
    CHECK(scene.server.driver.ups.size() == 1);
}

TEST_CASE("random bytes never pass for a handshake") {
    Scene scene;
    std::random_device device;
    const auto seed = device();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 50; ++i) {
        std::string junk(random() % 500 + 5, '\0');
        for (auto& c : junk) c = static_cast<char>(random());
        if (i % 2 == 0) junk.replace(0, 3, "\x16\x03\x01");  // begins like TLS
        raw::Plain peer(scene.address);
        peer.send(junk);
    }
    scene.good_peer_is_well();
    CHECK(scene.server.driver.ups.size() == 1);
}

TEST_CASE("a connection that only looks whether the port is open is no news") {
    Scene scene;
    { raw::Plain peer(scene.address); }
    scene.good_peer_is_well();
    CHECK(scene.server.driver.refusals.empty());
}

TEST_CASE("a connection that stays silent or stops in the middle of its handshake is ended in time") {
    Scene scene(Settings().duration("handshake_timeout", 200ms));
    raw::Plain silent(scene.address), half(scene.address);
    half.send(std::string("\x16\x03\x01\x02\x00\x01\x00", 7));
    raw::Peer no_login(scene.address, kSecret);
    REQUIRE(scene.host.run_until([&] {
        no_login.turn();
        return silent.ended() && half.ended() && no_login.end && scene.server.driver.refusals.size() == 3;
    }));
    for (const auto& refusal : scene.server.driver.refusals) {
        CHECK(refusal.reason == Down::kTimeout);
        CHECK(refusal.text == "no handshake within 200 ms");
    }
}

TEST_CASE("hundreds of silent connections do not keep a node out") {
    Scene scene;
    std::deque<raw::Plain> silent;
    for (int i = 0; i < 200; ++i) silent.emplace_back(scene.address);
    REQUIRE(scene.host.run_until([&] { return scene.server.driver.refusals.size() > 10; }));
    Node late(scene.host);
    late.reach(scene.server, scene.address);
    CHECK_THAT(scene.server.driver.refusals[0].text, Catch::Contains("64 connections"));
}

TEST_CASE("a peer with the secret that breaks VSOA's rules loses its own connection") {
    Scene scene;
    const auto [what, bytes, why] = GENERATE(table<std::string, std::string, std::string>({
        {"junk", "this is no VSOA packet at all", "not VSOA"},
        {"data_len 0xffffffff", huge_header(0xffffffff), "not VSOA"},
        {"one byte too long", huge_header(VSOA_MAX_PACKET_LENGTH), "not VSOA"},
        {"endless parts",
         [] {
             std::string out;
             const std::string part = packet(VSOA_TYPE_DATAGRAM, "/bulk/more", std::string(250'000, 'x'));
             for (int i = 0; i < 5; ++i) out += part;
             return out;
         }(),
         "above 1 MiB"},
    }));
    INFO(what);
    raw::Peer peer(scene.address, kSecret);
    peer.send(vsoa_transport::login_packet());
    peer.send(bytes);
    REQUIRE(scene.host.run_until([&] {
        peer.turn();
        return peer.end && scene.server.driver.downs.size() == 1;
    }));
    CHECK(scene.server.driver.downs[0].reason == Down::kReset);
    CHECK_THAT(scene.server.driver.downs[0].text, Catch::Contains(why));
    CHECK(scene.server.driver.messages.empty());
}

TEST_CASE("a packet that is cut off is never delivered") {
    Scene scene;
    const std::string whole = packet(VSOA_TYPE_DATAGRAM, "/control", std::string(1000, 'x'));
    {
        raw::Peer peer(scene.address, kSecret);
        peer.send(vsoa_transport::login_packet() + whole + whole.substr(0, whole.size() / 2));
        REQUIRE(scene.host.run_until([&] {
            peer.turn();
            return scene.server.driver.messages.size() == 1;
        }));
    }
    REQUIRE(scene.host.run_until([&] { return scene.server.driver.downs.size() == 1; }));
    CHECK(scene.server.driver.messages.size() == 1);
}

TEST_CASE("a message before the login ends the connection") {
    Scene scene;
    raw::Peer peer(scene.address, kSecret);
    peer.send(packet(VSOA_TYPE_DATAGRAM, "/control", "hello"));
    REQUIRE(scene.host.run_until([&] {
        peer.turn();
        return peer.end && scene.server.driver.refusals.size() == 1;
    }));
    CHECK(scene.server.driver.messages.empty());
}

TEST_CASE("one that speaks another protocol is told so") {
    Scene scene;
    raw::Peer peer(scene.address, kSecret);
    std::string login = vsoa_transport::login_packet();
    login[login.find("gantry/1") + 7] = '9';
    peer.send(login);
    REQUIRE(scene.host.run_until([&] {
        peer.turn();
        return peer.end && scene.server.driver.refusals.size() == 1;
    }));
    CHECK(*peer.end == vsoa_transport::Step::kEnd);
    REQUIRE(peer.received.size() > VSOA_HDR_LENGTH);
    CHECK(peer.received[3] == VSOA_STATUS_ARGUMENTS);
    CHECK_THAT(scene.server.driver.refusals[0].text, Catch::Contains("does not speak gantry/1"));
}

TEST_CASE("unknown types, unknown urls and a second login are ignored, a ping is answered") {
    Scene scene;
    raw::Peer peer(scene.address, kSecret);
    peer.send(vsoa_transport::login_packet());
    for (std::uint8_t type :
         {VSOA_TYPE_RPC, VSOA_TYPE_SUBSCRIBE, VSOA_TYPE_PUBLISH, VSOA_TYPE_QOSSETUP, VSOA_TYPE_NOOP, 0x42}) {
        peer.send(packet(type, "/control", "x"));
    }
    peer.send(packet(VSOA_TYPE_DATAGRAM, "/elsewhere", "x") + vsoa_transport::login_packet());
    peer.send(packet(VSOA_TYPE_PINGECHO, "", "", 77) + packet(VSOA_TYPE_DATAGRAM, "/control", "at last"));
    const auto echo = vsoa_transport::echo_packet(77);
    REQUIRE(scene.host.run_until([&] {
        peer.turn();
        return scene.server.driver.messages.size() == 1 && peer.received.find(echo) != std::string::npos;
    }));
    CHECK(scene.server.driver.messages[0].data == "at last");
    CHECK(scene.server.driver.ups.size() == 2);
}

TEST_CASE("a peer that takes nothing for too long is given up") {
    Scene scene(Settings().duration("peer_timeout", 300ms));
    raw::Peer peer(scene.address, kSecret);
    peer.send(vsoa_transport::login_packet());
    REQUIRE(scene.host.run_until([&] {
        peer.turn();
        return scene.server.driver.ups.size() == 2;
    }));
    peer.reads = false;
    const auto id = scene.server.driver.ups[1].peer;
    const std::string much(1 << 20, 'x');
    REQUIRE(scene.host.run_until([&] {
        scene.server.driver.send(id, Channel::kBulk, much);
        return scene.server.driver.downs.size() == 1;
    }));
    CHECK(scene.server.driver.downs[0].peer == id);
    CHECK(scene.server.driver.downs[0].reason == Down::kTimeout);
    CHECK(scene.server.driver.downs[0].text == "took nothing for 300 ms");
}

TEST_CASE("nothing travels in clear, and a bit changed on the way ends the connection") {
    FakeHost host(real_time());
    Node server(host), client(host);
    raw::Relay relay(server.listen());
    auto dialled = client.driver.dial(relay.address);
    REQUIRE(host.run_until([&] {
        relay.turn();
        return dialled.ended() && server.driver.ups.size() == 1;
    }));
    const auto peer = dialled.wait().result.peer;
    client.driver.send(peer, Channel::kControl, "password of the axis: 123456");
    REQUIRE(host.run_until([&] {
        relay.turn();
        return server.driver.messages.size() == 1;
    }));
    for (const char* word : {"password", "123456", "SERVINFO", "protocol", "/control", "a secret of"}) {
        CHECK(relay.seen.find(word) == std::string::npos);
    }
    relay.flip = true;
    client.driver.send(peer, Channel::kControl, "changed on the way");
    REQUIRE(host.run_until([&] {
        relay.turn();
        return server.driver.downs.size() == 1 && client.driver.downs.size() == 1;
    }));
    CHECK(server.driver.messages.size() == 1);
    CHECK_THAT(server.driver.downs[0].text, Catch::Contains("the encryption broke"));
}
