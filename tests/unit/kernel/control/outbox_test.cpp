// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/outbox.hpp"

#include <catch2/catch.hpp>
#include <vector>

using namespace gantry;
using host::Channel;
using host::Sent;

namespace {

// Takes `room` messages of at most 100 bytes.
struct Narrow final : host::Transport {
    std::int64_t message_max_bytes() const override { return 100; }
    void begin(host::TransportEvents) override {}
    void listen(const std::string&, host::Done<std::string>) override {}
    void dial(const std::string&, Duration, host::Done<host::PeerId>) override {}
    Sent send(host::PeerId, Channel, std::string_view bytes) override {
        if (bytes.size() > 100) return Sent::kTooLong;
        if (room == 0) return Sent::kFull;
        --room;
        sent.emplace_back(bytes);
        return Sent::kOk;
    }
    void close(host::PeerId peer) override { closed.push_back(peer); }
    int room = 1;
    std::vector<std::string> sent;
    std::vector<host::PeerId> closed;
};

struct Fixture {
    Fixture() {
        outbox.use(&transport, [this](host::PeerId, std::size_t bytes) { refused.push_back(bytes); });
    }
    Narrow transport;
    control::Outbox outbox;
    std::vector<std::size_t> refused;
};

}  // namespace

TEST_CASE_METHOD(Fixture, "what does not fit waits in order until the peer takes more") {
    for (const std::string text : {"a", "b", "c"}) outbox.send(1, Channel::kControl, text);
    CHECK(transport.sent == std::vector<std::string>{"a"});
    CHECK(outbox.waiting(1) == 2);
    transport.room = 5;
    outbox.send(1, Channel::kControl, "d");  // not before those that wait
    outbox.writable(1);
    CHECK(transport.sent == std::vector<std::string>{"a", "b", "c", "d"});
    CHECK(outbox.waiting(1) == 0);
}

TEST_CASE_METHOD(Fixture, "a message that is too long is told, at once or from the queue, and holds up nothing") {
    outbox.send(1, Channel::kControl, std::string(101, 'x'));
    outbox.send(1, Channel::kControl, "a");
    outbox.send(1, Channel::kControl, "b");
    outbox.send(1, Channel::kControl, std::string(102, 'x'));
    outbox.send(1, Channel::kControl, "c");
    transport.room = 5;
    outbox.writable(1);
    CHECK(refused == std::vector<std::size_t>{101, 102});
    CHECK(transport.sent == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE_METHOD(Fixture, "a peer that falls too far behind is closed") {
    transport.room = 0;
    for (std::size_t bytes = 0; bytes <= control::Outbox::kQueueMax; bytes += 100)
        outbox.send(7, Channel::kControl, std::string(100, 'x'));
    CHECK(transport.closed == std::vector<host::PeerId>{7});
    CHECK(outbox.waiting(7) == 0);
}
