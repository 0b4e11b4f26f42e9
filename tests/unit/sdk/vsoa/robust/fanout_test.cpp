// A publish to many keeps others from the server only for moments, and its subscribers see no difference.
#include <atomic>

#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

constexpr size_t kMany = 200;

const vsoa_url_t kTopic = url("/topic");

/// Clients of one server, all of which have subscribed.
struct Subscribers {
    explicit Subscribers(RunningServer& server) {
        for (size_t i = 0; i < kMany; ++i) {
            all.push_back(std::make_unique<RawPeer>(server.address));
            REQUIRE(all.back()->log_in());
            REQUIRE(all.back()->send(packet(VSOA_TYPE_SUBSCRIBE, 1, kTopic.url)));
            REQUIRE(all.back()->receive());
        }
    }
    /// Whether something has arrived at this one.
    bool has(size_t which) const {
        uint8_t byte;
        return recv(all[which]->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    }
    std::vector<std::unique_ptr<RawPeer>> all;
};

}  // namespace

TEST_CASE("while a publish goes to many, other threads send, and another url goes out") {
    RunningServer server;
    server.start();
    RawPeer other(server.address);
    REQUIRE(other.log_in());
    REQUIRE(other.send(packet(VSOA_TYPE_SUBSCRIBE, 1, "/other")));
    REQUIRE(other.receive());
    Subscribers subscribers(server);
    const vsoa_url_t another = url("/other");
    int between[2] = {0, 0};
    const bool both = eventually([&] {
        std::thread publisher([&] { vsoa_server_publish(server.handle, &kTopic, nullptr); });
        // The first one has it, so the fan-out is under way; what returns before the last one has it did not wait.
        REQUIRE(subscribers.all.front()->receive());
        vsoa_server_cli_datagram(server.handle, other.id, &another, nullptr);
        between[0] += !subscribers.has(kMany - 1);
        vsoa_server_publish(server.handle, &another, nullptr);
        between[1] += !subscribers.has(kMany - 1);
        publisher.join();
        for (size_t i = 1; i < kMany; ++i) REQUIRE(subscribers.all[i]->receive());
        for (int i = 0; i < 2; ++i) REQUIRE(other.receive());
        return between[0] > 0 && between[1] > 0;
    });
    CHECK(both);
}

TEST_CASE("what several threads publish reaches all of many subscribers in one order") {
    constexpr int kThreads = 3, kEach = 50;
    RunningServer server;
    server.start();
    Subscribers subscribers(server);
    std::vector<std::thread> publishers;
    for (char name = 'a'; name < 'a' + kThreads; ++name) {
        publishers.emplace_back([&server, name] {
            for (int i = 0; i < kEach; ++i) {
                const std::string text = name + std::to_string(i);
                const vsoa_payload_t load = payload("", text);
                vsoa_server_publish(server.handle, &kTopic, &load);
            }
        });
    }
    std::vector<std::string> order;
    for (size_t i = 0; i < kMany; ++i) {
        for (size_t k = 0; k < kThreads * kEach; ++k) {
            const auto packet = subscribers.all[i]->receive();
            REQUIRE(packet);
            const std::string text = data(&packet->payload);
            if (i == 0) order.push_back(text);
            REQUIRE(text == order[k]);
        }
    }
    for (std::thread& thread : publishers) thread.join();
}

TEST_CASE("who has unsubscribed gets nothing more, whatever publish is under way") {
    RunningServer server;
    server.start();
    Subscribers subscribers(server);
    std::atomic<bool> stop{false};
    std::thread publisher([&] {
        while (!stop) vsoa_server_publish(server.handle, &kTopic, nullptr);
    });
    RawPeer& last = *subscribers.all.back();
    for (int i = 0; i < 100; ++i) {
        for (const int type : {VSOA_TYPE_UNSUBSCRIBE, VSOA_TYPE_PINGECHO, VSOA_TYPE_SUBSCRIBE}) {
            REQUIRE(last.send(packet(static_cast<uint8_t>(type), 7, type == VSOA_TYPE_PINGECHO ? "" : kTopic.url)));
            auto got = last.receive();
            // Between the answer to UNSUBSCRIBE and SUBSCRIBE there is none.
            while (got && got->type == VSOA_TYPE_PUBLISH && type != VSOA_TYPE_PINGECHO) got = last.receive();
            REQUIRE(got);
            CHECK(got->type == type);
        }
        // The others must not be dropped as slow.
        uint8_t bytes[4096];
        for (const auto& peer : subscribers.all) {
            while (peer.get() != &last && recv(peer->fd(), bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
        }
    }
    stop = true;
    publisher.join();
}
