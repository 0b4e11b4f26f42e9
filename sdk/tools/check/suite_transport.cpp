// SPDX-License-Identifier: Apache-2.0
//
// transport: two instances that talk to each other over 127.0.0.1, and one that does not know the secret.
#include <algorithm>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

struct End {
    End(Rig& rig, testing::Settings settings) : instance(rig.make(std::move(settings))), driver(instance) {
        instance.start();
    }
    testing::Instance& instance;
    testing::TransportDriver driver;
};

// A server and one that has dialled it.
struct Talking {
    explicit Talking(Trial& trial)
        : rig(trial, true), server(rig, settings_of(trial)), client(rig, settings_of(trial)) {
        const auto bound = server.driver.listen("127.0.0.1:0").wait();
        expect(bound.ok(), "listen on 127.0.0.1:0 succeeds", bound.text);
        address = bound.result.address;
        rig.recorder.follow(client.instance.handle());
        auto pending = client.driver.dial(address);
        expect(until([&] { return pending.ended(); }), "dialling ends", "no answer");
        calls_of_dial = rig.recorder.followed();
        const auto dialled = pending.wait();
        expect(dialled.ok(), "dialling a listener with the same secret succeeds", dialled.text);
        there = dialled.result.peer;
        expect(until([&] { return !server.driver.ups.empty(); }), "the server hears of the peer", "nothing");
        here = server.driver.ups.front().peer;
    }
    bool until(const std::function<bool()>& condition) { return rig.host.run_until(condition, 10s); }
    bool arrived(std::size_t count) {
        return until([&] { return server.driver.messages.size() >= count; });
    }
    void must_send(Channel channel, const std::string& data) {
        const Code code = client.driver.send(there, channel, data);
        expect(code == Code::kOk, "send takes " + std::to_string(data.size()) + " bytes",
               "status " + std::to_string(static_cast<int>(code)));
    }

    Rig rig;
    End server, client;
    std::string address;
    PeerId there = 0, here = 0;  // the server as the client calls it, and the other way round
    std::vector<std::string> calls_of_dial;
};

void connect(Trial& trial) {
    Talking talking(trial);
    const auto& calls = talking.calls_of_dial;
    const auto up = std::ranges::find(calls, "sink.up"), answered = std::ranges::find(calls, "ops.complete");
    expect(up != calls.end() && up < answered, "up comes before the answer to dial", "after it");
    const auto& mine = talking.client.driver.ups.front();
    const auto& theirs = talking.server.driver.ups.front();
    expect(mine.peer == talking.there && !mine.inbound && theirs.inbound, "who dialled is told apart",
           "inbound is wrong");
    expect(mine.address == talking.address && theirs.address == mine.local_address, "the addresses of the connection",
           mine.address + ", " + theirs.address);
    const auto again = talking.server.driver.listen(talking.address).wait();
    expect(again.code == Code::kUnavailable, "UNAVAILABLE where somebody listens already", again.text);
}

void keep_order(Trial& trial) {
    constexpr std::size_t kMessages = 2'000;
    Talking talking(trial);
    std::vector<std::string> sent[2];
    for (std::size_t i = 0; i < kMessages; ++i) {
        std::string data(trial.random() % 300, '\0');
        for (char& c : data) c = static_cast<char>(trial.random());
        const auto channel = static_cast<Channel>(trial.random() % 2);
        talking.must_send(channel, data);
        sent[static_cast<std::size_t>(channel)].push_back(data);
        if (i % 100 == 0) talking.rig.host.turn();
    }
    expect(talking.arrived(kMessages), "2,000 messages arrive",
           std::to_string(talking.server.driver.messages.size()) + " did");
    std::vector<std::string> got[2];
    for (const auto& message : talking.server.driver.messages) {
        got[static_cast<std::size_t>(message.channel)].push_back(message.data);
    }
    for (std::size_t channel = 0; channel < 2; ++channel) {
        const auto wrong = std::ranges::mismatch(got[channel], sent[channel]).in1;
        expect(got[channel] == sent[channel], "the messages of channel " + std::to_string(channel) + " in order, whole",
               "message " + std::to_string(wrong - got[channel].begin()) + " is another one");
    }
}

void keep_limits(Trial& trial) {
    Talking talking(trial);
    const auto longest = static_cast<std::size_t>(talking.client.driver.facts().message_max_bytes);
    expect(longest >= (256u << 10) + (64u << 10) + 4'096, "message_max_bytes of at least 331,776",
           std::to_string(longest));
    const Code code = talking.client.driver.send(talking.there, Channel::kControl, std::string(longest + 1, 'x'));
    expect(code == Code::kInvalid, "INVALID for a message above message_max_bytes",
           "status " + std::to_string(static_cast<int>(code)));
    const std::string whole(longest, 'y');
    talking.must_send(Channel::kBulk, whole);
    talking.must_send(Channel::kControl, "");
    expect(talking.arrived(2), "the longest message and an empty one arrive", "they do not");
    const auto& messages = talking.server.driver.messages;
    expect(std::ranges::any_of(messages, [&](const auto& m) { return m.data == whole; }), "the longest message whole",
           "another one");
}

void push_back(Trial& trial) {
    constexpr std::size_t kPiece = 200'000;
    Talking talking(trial);
    std::size_t sent = 0;
    Code code = Code::kOk;
    const auto most = static_cast<std::size_t>(talking.client.driver.facts().queue_max_bytes) / kPiece + 200;
    while (sent < most && code == Code::kOk) {
        code =
            talking.client.driver.send(talking.there, Channel::kBulk, std::to_string(sent) + std::string(kPiece, '.'));
        if (code == Code::kOk) ++sent;
    }
    expect(code == Code::kFull, "FULL above queue_max_bytes", "status " + std::to_string(static_cast<int>(code)));
    expect(talking.until([&] { return !talking.client.driver.writables.empty(); }), "writable once there is room again",
           "nothing");
    talking.must_send(Channel::kBulk, std::to_string(sent++));
    expect(talking.arrived(sent), "everything that send took arrives",
           std::to_string(talking.server.driver.messages.size()) + " of " + std::to_string(sent));
    const auto& messages = talking.server.driver.messages;
    for (std::size_t i = 0; i < sent; ++i) {
        expect(messages[i].data.substr(0, messages[i].data.find('.')) == std::to_string(i), "messages in order",
               "another at " + std::to_string(i));
    }
}

void refuse_strangers(Trial& trial) {
    if (trial.subject.world.stranger.empty()) {
        throw Skipped{
            "no other secret: give the settings of a peer without the key in [stranger] of a file for --config"};
    }
    Talking talking(trial);
    End stranger(talking.rig, settings_of(trial, trial.subject.world.stranger));
    auto dialled = stranger.driver.dial(talking.address);
    talking.until([&] { return dialled.ended() && !talking.server.driver.refusals.empty(); });
    expect(dialled.ended(), "an answer to whoever dials without the secret", "none");
    expect(dialled.wait().code == Code::kDenied, "DENIED for whoever does not know the secret",
           "status " + std::to_string(static_cast<int>(dialled.wait().code)) + " " + dialled.wait().text);
    expect(!talking.server.driver.refusals.empty(), "the server hears that it turned somebody away", "nothing");
    expect(talking.server.driver.ups.size() == 1 && stranger.driver.ups.empty(), "no peer without the secret comes up",
           "one did");
    talking.must_send(Channel::kControl, "as before");
    expect(talking.arrived(1), "the others do not notice", "their message does not arrive");
}

void go_down(Trial& trial) {
    Talking talking(trial);
    for (int i = 0; i < 10; ++i) talking.must_send(Channel::kControl, std::string(50'000, 'x'));
    talking.client.driver.close(talking.there);
    expect(talking.client.driver.send(talking.there, Channel::kControl, "late") == Code::kNotFound,
           "NOT_FOUND for a peer that was closed", "another status");
    expect(talking.until([&] { return !talking.client.driver.downs.empty() && !talking.server.driver.downs.empty(); }),
           "down on both sides after close", "not on one");
    expect(talking.server.driver.messages.size() == 10, "what waited is sent before the close",
           std::to_string(talking.server.driver.messages.size()) + " of 10 messages");
    expect(talking.server.driver.downs.front().reason == Down::kClosed, "the reason CLOSED", "another one");
    talking.rig.host.run_until([&] { return talking.server.driver.downs.size() > 1; }, 200ms);
    expect(talking.server.driver.downs.size() == 1 && talking.client.driver.downs.size() == 1, "down comes once",
           "more often");
    const auto again = talking.client.driver.dial(talking.address).wait();
    expect(again.ok() && again.result.peer != talking.there, "dialling again makes a new peer", again.text);
}

}  // namespace

void add_transport(std::vector<Check>& out) {
    const auto add = [&out](std::string_view name, std::string_view promise, std::string_view cure,
                            std::string_view need, void (*body)(Trial&)) {
        out.push_back({name, promise, cure, {need}, body, 60, "transport"});
    };
    add("transport.connect", "A dialled peer is up on both sides, with addresses, before dial is answered.",
        "Report up from where the secret was proved, and complete dial after it.", "operations.answered", &connect);
    add("transport.order", "Messages of a channel arrive in order, whole and once.",
        "Keep one queue for each peer and channel; frame messages by length.", "transport.connect", &keep_order);
    add("transport.limits", "Messages up to message_max_bytes pass, longer ones are refused.",
        "Compare before you queue; answer INVALID and leave the peer up.", "transport.connect", &keep_limits);
    add("transport.back-pressure", "A full queue says FULL, then writable, and loses nothing that it took.",
        "Count the bytes that wait; report writable once when they have fallen.", "transport.order", &push_back);
    add("transport.strangers", "Whoever does not know the secret never comes up.",
        "Prove the secret in both directions before up; report refused and answer DENIED.", "transport.connect",
        &refuse_strangers);
    add("transport.down", "close sends what waits; then both sides are down, once, and nothing more comes.",
        "Flush for at most a second, then report down and forget the peer.", "transport.order", &go_down);
}

}  // namespace gantry::check
