// SPDX-License-Identifier: Apache-2.0
//
// The faults of the in-memory transport.
#include "tests/support/memory_transport.hpp"

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

#include "tests/support/asio_clock.hpp"

using namespace gantry;
using namespace gantry::test;

namespace {

// Keeps what one end hears as lines.
struct Heard {
    explicit Heard(host::Transport& transport) {
        transport.begin({[this](host::PeerId peer, bool, std::string, std::string) {
                             last = peer;
                             lines.push_back("up");
                         },
                         [this](host::PeerId, host::Channel, std::string bytes) { lines.push_back(bytes); },
                         [this](host::PeerId, host::Down reason, std::string) {
                             lines.push_back(reason == host::Down::kClosed    ? "closed"
                                             : reason == host::Down::kTimeout ? "timeout"
                                                                              : "reset");
                         },
                         [](host::PeerId) {}, [](std::string, host::Down, std::string) {}});
    }
    std::vector<std::string> lines;
    host::PeerId last = 0;
};

struct Scene {
    explicit Scene(std::uint64_t seed, MemoryFaults faults = {}) : network(clock, seed, faults) {
        server->listen("10.0.0.1:3900", [](Result<std::string>) {});
        clock.advance({});
    }
    bool dial() {
        bool up = false;
        client->dial("10.0.0.1:3900", seconds(1), [&](Result<host::PeerId> peer) { up = peer.has_value(); });
        clock.advance(milliseconds(1500));
        return up;
    }
    VirtualClock clock;
    MemoryNetwork network;
    std::unique_ptr<host::Transport> server = network.make("server", "s"), client = network.make("client", "s");
    Heard at_server{*server}, at_client{*client};
};

std::vector<std::string> history(std::uint64_t seed) {
    Scene scene(seed, {milliseconds(1), milliseconds(50), 50'000, 100'000, 0});
    for (int i = 0; i < 200; ++i) {
        if (scene.client->send(scene.at_client.last, host::Channel::kControl, std::to_string(i)) != host::Sent::kOk) {
            scene.dial();
        }
        scene.clock.advance(milliseconds(7));
    }
    scene.clock.advance(seconds(1));
    return scene.at_server.lines;
}

}  // namespace

TEST_CASE("one seed gives one history, and another seed another") {
    CHECK(history(1) == history(1));
    CHECK(history(1) != history(2));
    const auto lines = history(3);
    CHECK(std::count(lines.begin(), lines.end(), "reset") > 2);
    CHECK(std::count(lines.begin(), lines.end(), "up") > 2);
}

TEST_CASE("during a short cut messages wait, after a long one both ends are down") {
    Scene scene(1);
    REQUIRE(scene.dial());
    scene.network.cut("client", "server");
    scene.client->send(scene.at_client.last, host::Channel::kControl, "late");
    scene.clock.advance(seconds(1));
    CHECK(scene.at_server.lines == std::vector<std::string>{"up"});
    scene.network.heal("server", "client");
    scene.clock.advance(milliseconds(100));
    CHECK(scene.at_server.lines == std::vector<std::string>{"up", "late"});

    scene.network.cut("client", "server");
    scene.client->send(scene.at_client.last, host::Channel::kControl, "lost");
    scene.clock.advance(seconds(3));
    CHECK(scene.at_server.lines == std::vector<std::string>{"up", "late", "timeout"});
    CHECK(scene.at_client.lines == std::vector<std::string>{"up", "timeout"});
    CHECK_FALSE(scene.dial());
    scene.network.heal("client", "server");
    CHECK(scene.dial());
}

TEST_CASE("a host that is reset or goes away is down for the others") {
    Scene scene(1);
    REQUIRE(scene.dial());
    scene.network.reset("client");
    scene.clock.advance({});
    CHECK(scene.at_server.lines.back() == "reset");
    REQUIRE(scene.dial());
    scene.client.reset();
    scene.clock.advance({});
    CHECK(scene.at_server.lines.back() == "reset");
}

TEST_CASE("the in-memory transport runs in a real loop, too") {
    boost::asio::io_context io;
    AsioClock clock(io);
    MemoryNetwork network(clock, 1, {milliseconds(1), milliseconds(2), 0, 0, 0});
    auto server = network.make("server", "s"), client = network.make("client", "s");
    Heard at_server(*server), at_client(*client);
    server->listen("10.0.0.1:3900", [](Result<std::string>) {});
    client->dial("10.0.0.1:3900", seconds(1), [&](Result<host::PeerId> peer) {
        REQUIRE(peer);
        client->send(*peer, host::Channel::kControl, "hello");
    });
    io.run_for(std::chrono::seconds(5));
    CHECK(at_server.lines == std::vector<std::string>{"up", "hello"});
}
