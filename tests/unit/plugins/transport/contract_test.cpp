// SPDX-License-Identifier: Apache-2.0
//
// The contract of role transport/1, on everything that claims to keep it: the plugin over loopback and the in-memory
// transport of the tests.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <map>
#include <random>

#include "tests/unit/plugins/transport/world.hpp"

using namespace contract;
using Kind = Event::Kind;

namespace {

constexpr std::uint32_t kControl = GANTRY_CHANNEL_CONTROL, kBulk = GANTRY_CHANNEL_BULK;

struct Named {
    const char* name;
    std::unique_ptr<World> (*make)();
};

std::uint64_t seed() {
    static const std::uint64_t chosen = [] {
        const char* given = std::getenv("GANTRY_SEED");
        const std::uint64_t out = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
        WARN("seed " << out << " (GANTRY_SEED repeats it)");
        return out;
    }();
    return chosen;
}

std::string noise(std::mt19937_64& random, std::size_t length) {
    std::string out(length, '\0');
    for (auto& c : out) c = static_cast<char>(random());
    return out;
}

// A server and one that has dialled it.
struct Pair {
    explicit Pair(World& in) : world(in), server(in.make("one")), client(in.make("one")) {
        const auto bound = server.listen("127.0.0.1:0");
        REQUIRE(world.run_until([&] { return bound->ended; }));
        REQUIRE(bound->text == "");
        address = bound->address;
        dial();
    }
    void dial() {
        const auto before = server.count(Kind::kUp);
        const auto dialled = client.dial(address);
        REQUIRE(world.run_until([&] { return dialled->ended && server.count(Kind::kUp) > before; }));
        REQUIRE(dialled->text == "");
        there = dialled->peer;
        here = server.of(Kind::kUp).back().peer;
    }

    World& world;
    End &server, &client;
    std::string address;
    std::uint64_t there = 0;  // the server, as the client calls it
    std::uint64_t here = 0;   // the client, as the server calls it
};

}  // namespace

#define ALL_WORLDS                                                                                  \
    const auto named = GENERATE(Named{"in memory", &memory_world}, Named{"fake host", &vsoa_world}, \
                                Named{"kernel's host", &kernel_world});                             \
    INFO(named.name);                                                                               \
    const auto made = named.make();                                                                 \
    World& world = *made

TEST_CASE("a dialled peer is up on both sides, with the addresses of the connection") {
    ALL_WORLDS;
    Pair pair(world);
    REQUIRE(pair.client.events.front().kind == Kind::kUp);
    const Event mine = pair.client.events.front(), theirs = pair.server.events.front();
    CHECK_FALSE(mine.inbound);
    CHECK(theirs.inbound);
    CHECK(mine.peer == pair.there);
    CHECK(mine.text == pair.address);
    CHECK(theirs.local == pair.address);
    CHECK(theirs.text == mine.local);
}

TEST_CASE("messages of every size arrive whole and in order, both ways, on both channels") {
    ALL_WORLDS;
    Pair pair(world);
    std::mt19937_64 random(seed());
    const auto longest = static_cast<std::size_t>(pair.client.message_max_bytes());
    REQUIRE(longest >= (256u << 10) + (64u << 10) + 4096);
    const std::vector<std::size_t> sizes = {0,      1,      2,      3,           4,           5,
                                            1000,   16383,  16384,  65535,       65536,       65537,
                                            131072, 262123, 262124, 262144 + 20, longest - 1, longest};
    for (std::uint32_t channel : {kControl, kBulk}) {
        for (std::size_t size : sizes) {
            const std::string up = noise(random, size), down = noise(random, size);
            REQUIRE(pair.client.send(pair.there, channel, up) == GANTRY_OK);
            REQUIRE(pair.server.send(pair.here, channel, down) == GANTRY_OK);
            pair.client.events.clear();
            pair.server.events.clear();
            REQUIRE(world.run_until([&] { return !pair.client.events.empty() && !pair.server.events.empty(); }));
            CHECK(pair.server.events.at(0).text == up);
            CHECK(pair.client.events.at(0).text == down);
            CHECK(pair.server.events.at(0).channel == channel);
            CHECK(pair.client.events.at(0).peer == pair.there);
        }
    }
    // And many without waiting.
    std::vector<std::string> sent;
    for (int i = 0; i < 2000; ++i) {
        sent.push_back(noise(random, random() % 300));
        REQUIRE(pair.client.send(pair.there, kControl, sent.back()) == GANTRY_OK);
    }
    pair.server.events.clear();
    REQUIRE(world.run_until([&] { return pair.server.events.size() >= sent.size(); }));
    for (std::size_t i = 0; i < sent.size(); ++i) REQUIRE(pair.server.events[i].text == sent[i]);
    CHECK(pair.server.events.size() == sent.size());
}

TEST_CASE("a message above the limit is refused, and the peer stays") {
    ALL_WORLDS;
    Pair pair(world);
    const auto longest = static_cast<std::size_t>(pair.client.message_max_bytes());
    CHECK(pair.client.send(pair.there, kControl, std::string(longest + 1, 'x')) == GANTRY_INVALID);
    CHECK(pair.client.send(pair.there, kControl, "still here") == GANTRY_OK);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kMessage) == 1; }));
    CHECK(pair.server.of(Kind::kMessage)[0].text == "still here");
}

TEST_CASE("control goes before bulk that waits") {
    ALL_WORLDS;
    Pair pair(world);
    for (int i = 0; i < 20; ++i) REQUIRE(pair.client.send(pair.there, kBulk, std::string(100'000, 'b')) == GANTRY_OK);
    REQUIRE(pair.client.send(pair.there, kControl, "first") == GANTRY_OK);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kMessage) == 21; }));
    const auto messages = pair.server.of(Kind::kMessage);
    const auto at = std::find_if(messages.begin(), messages.end(), [](const auto& m) { return m.channel == kControl; });
    REQUIRE(at != messages.end());
    CHECK(at - messages.begin() <= 3);
}

TEST_CASE("a full queue says so, says when there is room, and loses nothing that it took") {
    ALL_WORLDS;
    Pair pair(world);
    std::uint64_t sent = 0, refused = 0;
    while (refused == 0 && sent < 1000) {
        const auto status = pair.client.send(pair.there, kBulk, std::to_string(sent) + std::string(200'000, '.'));
        status == GANTRY_OK ? ++sent : ++refused;
        REQUIRE((status == GANTRY_OK || status == GANTRY_FULL));
    }
    REQUIRE(refused == 1);
    CHECK(pair.client.count(Kind::kWritable) == 0);
    REQUIRE(world.run_until([&] { return pair.client.count(Kind::kWritable) == 1; }));
    CHECK(pair.client.send(pair.there, kBulk, std::to_string(sent++)) == GANTRY_OK);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kMessage) == sent; }));
    const auto messages = pair.server.of(Kind::kMessage);
    for (std::uint64_t i = 0; i < sent; ++i) {
        CHECK(messages[i].text.substr(0, messages[i].text.find('.')) == std::to_string(i));
    }
    CHECK(pair.client.count(Kind::kWritable) == 1);
}

TEST_CASE("whoever does not know the secret never comes up, and both sides hear why") {
    ALL_WORLDS;
    Pair pair(world);
    End& stranger = world.make("another");
    const auto dialled = stranger.dial(pair.address);
    REQUIRE(world.run_until([&] { return dialled->ended && pair.server.count(Kind::kRefused) == 1; }));
    CHECK(dialled->code == GANTRY_DENIED);
    CHECK_THAT(dialled->text, Catch::Contains("the secrets differ"));
    const Event refused = pair.server.of(Kind::kRefused)[0];
    CHECK(refused.reason == GANTRY_DOWN_REFUSED);
    CHECK_THAT(refused.text, Catch::Contains("the secrets differ"));
    CHECK(refused.local.rfind("127.0.0.1:", 0) == 0);
    CHECK(stranger.events.empty());
    CHECK(pair.server.count(Kind::kUp) == 1);
    // The others do not notice.
    CHECK(pair.client.send(pair.there, kControl, "as before") == GANTRY_OK);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kMessage) == 1; }));
    CHECK(pair.server.count(Kind::kDown) + pair.client.count(Kind::kDown) == 0);
}

TEST_CASE("close sends what waits, then both sides are down in order") {
    ALL_WORLDS;
    Pair pair(world);
    for (int i = 0; i < 10; ++i) REQUIRE(pair.client.send(pair.there, kControl, std::string(50'000, 'x')) == GANTRY_OK);
    pair.client.close(pair.there);
    CHECK(pair.client.send(pair.there, kControl, "too late") == GANTRY_NOT_FOUND);
    REQUIRE(
        world.run_until([&] { return pair.client.count(Kind::kDown) == 1 && pair.server.count(Kind::kDown) == 1; }));
    CHECK(pair.server.count(Kind::kMessage) == 10);
    CHECK(pair.server.events.back().kind == Kind::kDown);
    CHECK(pair.server.events.back().reason == GANTRY_DOWN_CLOSED);
    CHECK(pair.client.events.back().reason == GANTRY_DOWN_CLOSED);
}

TEST_CASE("nothing comes after down, and a peer that is down takes nothing") {
    ALL_WORLDS;
    Pair pair(world);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(pair.client.send(pair.there, kControl, std::string(1000, 'x')) == GANTRY_OK);
        REQUIRE(pair.server.send(pair.here, kControl, std::string(1000, 'y')) == GANTRY_OK);
    }
    pair.server.close(pair.here);
    REQUIRE(
        world.run_until([&] { return pair.client.count(Kind::kDown) == 1 && pair.server.count(Kind::kDown) == 1; }));
    CHECK(pair.server.send(pair.here, kControl, "x") == GANTRY_NOT_FOUND);
    CHECK(pair.client.send(pair.there, kControl, "x") == GANTRY_NOT_FOUND);
    CHECK(pair.client.count(Kind::kMessage) == 100);
    pair.dial();  // as good a wait as any: turns of the loop in which nothing more may come for the old peer
    for (End* end : {&pair.client, &pair.server}) {
        const auto down = std::find_if(end->events.begin(), end->events.end(),
                                       [](const auto& event) { return event.kind == Kind::kDown; });
        CHECK(std::none_of(down + 1, end->events.end(), [&](const auto& event) { return event.peer == down->peer; }));
    }
}

TEST_CASE("a peer that dies is down as broken, and dialling again makes a new peer") {
    ALL_WORLDS;
    Pair pair(world);
    End& other = world.make("one");
    const auto dialled = other.dial(pair.address);
    REQUIRE(world.run_until([&] { return dialled->ended && pair.server.count(Kind::kUp) == 2; }));
    world.kill(other);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kDown) == 1; }));
    CHECK(pair.server.of(Kind::kDown)[0].reason == GANTRY_DOWN_RESET);
    CHECK(pair.server.of(Kind::kDown)[0].peer == pair.server.of(Kind::kUp)[1].peer);

    const auto first = pair.here;
    pair.client.close(pair.there);
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kDown) == 2; }));
    pair.dial();
    CHECK(pair.here != first);
    CHECK(pair.server.send(first, kControl, "x") == GANTRY_NOT_FOUND);
    CHECK(pair.server.send(pair.here, kControl, "again") == GANTRY_OK);
    REQUIRE(world.run_until([&] { return pair.client.count(Kind::kMessage) == 1; }));
}

TEST_CASE("dialling where nobody listens, and listening where somebody does, are unavailable") {
    ALL_WORLDS;
    Pair pair(world);
    const auto again = pair.server.listen(pair.address);
    const auto nobody = pair.client.dial("127.0.0.1:1");
    REQUIRE(world.run_until([&] { return again->ended && nobody->ended; }));
    CHECK(again->code == GANTRY_UNAVAILABLE);
    CHECK_THAT(again->text, Catch::Contains("cannot listen on " + pair.address));
    CHECK(nobody->code == GANTRY_UNAVAILABLE);
    CHECK_THAT(nobody->text, Catch::Contains("cannot dial 127.0.0.1:1") && Catch::Contains("refused"));
}

TEST_CASE("an answer may be sent, and a peer closed, from inside an event") {
    ALL_WORLDS;
    Pair pair(world);
    pair.server.on_event = [&](const Event& event) {
        if (event.kind != Kind::kMessage) return;
        if (event.text == "enough") return pair.server.close(event.peer);
        pair.server.send(event.peer, event.channel, event.text + "!");
    };
    for (int i = 0; i < 100; ++i) pair.client.send(pair.there, kControl, std::to_string(i));
    pair.client.send(pair.there, kControl, "enough");
    REQUIRE(world.run_until([&] { return pair.client.count(Kind::kDown) == 1; }));
    const auto answers = pair.client.of(Kind::kMessage);
    REQUIRE(answers.size() == 100);
    CHECK(answers[99].text == "99!");
}

TEST_CASE("many peers do not disturb each other") {
    ALL_WORLDS;
    Pair pair(world);
    constexpr std::size_t kPeers = 40, kEach = 50;
    std::vector<End*> ends;
    std::vector<std::shared_ptr<Outcome>> dials;
    for (std::size_t i = 0; i < kPeers; ++i) {
        ends.push_back(&world.make("one"));
        dials.push_back(ends.back()->dial(pair.address));
    }
    REQUIRE(world.run_until([&] {
        return pair.server.count(Kind::kUp) == kPeers + 1 &&
               std::all_of(dials.begin(), dials.end(), [](const auto& dial) { return dial->ended; });
    }));
    for (std::size_t m = 0; m < kEach; ++m) {
        for (std::size_t i = 0; i < kPeers; ++i) {
            const std::string text = std::to_string(i) + ":" + std::to_string(m);
            REQUIRE(ends[i]->send(dials[i]->peer, kControl, text) == GANTRY_OK);
        }
    }
    REQUIRE(world.run_until([&] { return pair.server.count(Kind::kMessage) == kPeers * kEach; }));
    std::map<std::uint64_t, std::pair<std::string, std::size_t>> next;  // sender's number, its next message
    for (const auto& event : pair.server.of(Kind::kMessage)) {
        const auto colon = event.text.find(':');
        auto& [sender, number] = next[event.peer];
        if (number == 0) sender = event.text.substr(0, colon);
        CHECK(event.text == sender + ":" + std::to_string(number++));
    }
    CHECK(next.size() == kPeers);
}
