// Peers that do not read.
#include <netinet/in.h>

#include <catch2/catch.hpp>

#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// Logs in with a small receive buffer, subscribes to /flood and then does not read.
struct Sleeper : RawPeer {
    explicit Sleeper(const vsoa::Address& to) : RawPeer(to) {
        const int small = 100'000;
        REQUIRE(setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
        REQUIRE(log_in());
        REQUIRE(send(packet(VSOA_TYPE_SUBSCRIBE, 1, "/flood")));
        REQUIRE(receive());
    }
};

bool flood(RunningServer& server, const std::string& data_text) {
    const vsoa_url_t u = url("/flood");
    const vsoa_payload_t p = payload("", data_text);
    return vsoa_server_publish(server.handle, &u, &p);
}

}  // namespace

TEST_CASE("a subscriber that does not read is dropped by its send timeout and delays nobody for longer") {
    Inbox<vsoa_cli_id_t> gone;
    RunningServer server;
    vsoa_server_on_cli(
        server.handle,
        [](void* arg, vsoa_server_t*, vsoa_cli_id_t id, bool connect) {
            if (!connect) static_cast<Inbox<vsoa_cli_id_t>*>(arg)->put(id);
        },
        &gone);
    server.start();
    RunningClient reader;
    REQUIRE(reader.connect(server.address));
    REQUIRE(reader.subscribe("/flood"));
    Sleeper sleeper(server.address);
    const timespec limit = span(300ms);
    REQUIRE(vsoa_server_cli_send_timeout(server.handle, sleeper.id, &limit));

    // Far more than buffers and queue hold; the publisher meets the sleeper's full queue once at most.
    const std::string block(200000, 'x');
    int64_t longest = 0;
    int sent = 0;
    for (; sent < 500 && gone.size() == 0; ++sent) {
        const int64_t begin = vsoa::now_ns();
        REQUIRE(flood(server, block));
        longest = std::max(longest, vsoa::now_ns() - begin);
        REQUIRE(reader.messages.take());
    }
    CHECK(gone.take() == sleeper.id);
    CHECK(longest < 3000 * vsoa::kNanosPerMs);
    CHECK(vsoa_server_count(server.handle) == 1);
    CHECK(reader.subscribe("/still"));
}

TEST_CASE("a waiting packet is sent or its client dropped without the program's help") {
    // The server's loop is stopped: neither flushing nor dropping may need it.
    RunningServer server;
    server.start();
    Sleeper sleeper(server.address);
    const timespec limit = span(200ms), patient = span(20000ms);
    const bool reads = GENERATE(true, false);
    REQUIRE(vsoa_server_cli_send_timeout(server.handle, sleeper.id, reads ? &patient : &limit));
    server.loop.stop();
    const std::string block(250000, 'y');
    const auto queued = [&] {
        return server.handle->core.with_client(sleeper.id, [](vsoa::Link& link) { return link.queued() > 0; });
    };
    int sent = 0;
    // Until the kernel takes no more.
    do {
        REQUIRE(flood(server, block));
    } while (++sent < 1000 && !queued());
    REQUIRE(sent < 1000);
    if (!reads) {
        CHECK(eventually([&] { return vsoa_server_count(server.handle) == 0; }));
        return;
    }
    for (int i = 0; i < sent; ++i) {
        const auto message = sleeper.receive();
        REQUIRE(message);
        REQUIRE(message->payload.data_len == block.size());
    }
    CHECK(vsoa_server_count(server.handle) == 1);
}

TEST_CASE("a publisher that is faster than its reader loses nothing") {
    RunningServer server;
    server.start();
    const timespec patient = span(20000ms);
    REQUIRE(vsoa_server_send_timeout(server.handle, true, &patient));
    RunningClient reader;
    REQUIRE(reader.connect(server.address));
    REQUIRE(reader.subscribe("/flood"));
    constexpr int kMessages = 400;
    std::thread publisher([&] {
        for (int i = 0; i < kMessages; ++i) flood(server, std::string(40000, 'z') + std::to_string(i));
    });
    int i = 0;
    for (; i < kMessages; ++i) {
        const auto message = reader.messages.take();
        if (!message || message->data.substr(40000) != std::to_string(i)) break;
    }
    publisher.join();
    CHECK(i == kMessages);
}

TEST_CASE("a client whose server does not read loses the connection, not the program") {
    const vsoa::Fd listening = vsoa::open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(bind(listening.get(), loopback().raw(), loopback().length) == 0);
    REQUIRE(listen(listening.get(), 1) == 0);
    const Bytes login = packet(VSOA_TYPE_SERVINFO, 0, "", "{}", std::string("\0\0\0\1", 4), VSOA_FLAG_REPLY);
    vsoa::Fd peer;
    std::thread server([&] {
        vsoa::wait_for(listening.get(), POLLIN, vsoa::now_ns() + 5000 * vsoa::kNanosPerMs);
        peer = vsoa::Fd(accept(listening.get(), nullptr, nullptr));
        uint8_t request[64];
        if (recv(peer.get(), request, sizeof request, 0) > 0)
            send(peer.get(), login.data(), login.size(), MSG_NOSIGNAL);
    });
    RunningClient client;
    const bool connected = client.connect(*vsoa::Address::local(listening.get()));
    server.join();
    REQUIRE(connected);
    const timespec limit = span(200ms);
    REQUIRE(vsoa_client_send_timeout(client.handle, &limit));
    const vsoa_url_t u = url("/d");
    const std::string block(250000, 'x');
    const vsoa_payload_t p = payload("", block);
    bool good = true;
    for (int i = 0; i < 1000 && good; ++i) good = vsoa_client_datagram(client.handle, &u, &p);
    CHECK_FALSE(good);
    CHECK(client.lost.take() == true);
}
