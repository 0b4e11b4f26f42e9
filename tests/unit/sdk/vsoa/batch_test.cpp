// Packets that arrive together are answered together, unless somebody would wait for it; and the library's own loop.
#include "sdk/vsoa/include/vsoa_loop.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

using Callback = std::function<void(vsoa_server_t*, vsoa_cli_id_t, uint32_t number)>;

void listen(RunningServer& server, const char* topic, Callback& callback) {
    const vsoa_url_t u = url(topic);
    REQUIRE(vsoa_server_add_listener(
        server.handle, &u,
        [](void* arg, vsoa_server_t* handle, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*, vsoa_payload_t*) {
            (*static_cast<Callback*>(arg))(handle, id, vsoa_parser_get_seqno(header));
        },
        &callback));
}

void reply(vsoa_server_t* server, vsoa_cli_id_t id, uint32_t number) {
    vsoa_server_cli_reply(server, id, 0, number, 0, nullptr);
}

Bytes calls(std::initializer_list<const char*> urls) {
    Bytes bytes;
    uint32_t number = 0;
    for (const char* topic : urls) bytes = bytes + packet(VSOA_TYPE_RPC, ++number, topic);
    return bytes;
}

constexpr size_t kReply = 20;

}  // namespace

TEST_CASE("calls that arrive together are answered in one piece and in order") {
    Callback echo = reply;
    RunningServer server;
    listen(server, "/echo", echo);
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    REQUIRE(peer.send(calls({"/echo", "/echo", "/nowhere", "/echo"})));
    uint8_t bytes[10 * kReply];
    REQUIRE(vsoa::wait_for(peer.fd(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
    REQUIRE(recv(peer.fd(), bytes, sizeof bytes, 0) == 4 * kReply);
    for (size_t i = 0; i < 4; ++i) CHECK(bytes[i * kReply + 7] == i + 1);
}

TEST_CASE("an answer that offers a tunnel waits for nothing") {
    Inbox<bool> arrived;
    Callback offer = [&](vsoa_server_t* handle, vsoa_cli_id_t id, uint32_t number) {
        vsoa_server_cli_reply(handle, id, 0, number, htons(1234), nullptr);
        arrived.take();  // as a program does that accepts the stream right there
    };
    RunningServer server;
    listen(server, "/stream", offer);
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    REQUIRE(peer.send(calls({"/stream", "/stream"})));
    const int64_t begin = vsoa::now_ns();
    const auto first = peer.receive();
    REQUIRE(first);
    CHECK(first->seqno == 1);
    CHECK(vsoa::now_ns() - begin < 5'000 * vsoa::kNanosPerMs);
    arrived.put(true);
    arrived.put(true);
}

TEST_CASE("an answer does not wait for a callback that is known to be slow") {
    Inbox<bool> go_on;
    Callback quick = reply, slow = [&](vsoa_server_t*handle, vsoa_cli_id_t id, uint32_t number) {
        go_on.take(300ms);
        reply(handle, id, number);
    };
    RunningServer server;
    listen(server, "/quick", quick);
    listen(server, "/slow", slow);
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    // The first time nobody knows.
    REQUIRE(peer.send(calls({"/quick", "/slow"})));
    REQUIRE(peer.receive());
    REQUIRE(peer.receive());
    for (int i = 0; i < 3; ++i) {
        REQUIRE(peer.send(calls({"/quick", "/slow"})));
        const auto first = peer.receive();
        REQUIRE(first);
        CHECK(first->seqno == 1);
        // The other one has not been answered: it waits for this.
        CHECK_FALSE(vsoa::wait_for(peer.fd(), POLLIN, vsoa::now_ns() + 20 * vsoa::kNanosPerMs));
        go_on.put(true);
        REQUIRE(peer.receive());
    }
}

TEST_CASE("what was answered before a client is dropped, or breaks the protocol, reaches it") {
    Callback echo = reply,
             leave = [](vsoa_server_t*handle, vsoa_cli_id_t id, uint32_t) { vsoa_server_cli_close(handle, id); };
    RunningServer server;
    listen(server, "/echo", echo);
    listen(server, "/leave", leave);
    server.start();
    for (const Bytes& last : {packet(VSOA_TYPE_RPC, 2, "/leave"), Bytes(40, 'x')}) {
        RawPeer peer(server.address);
        REQUIRE(peer.log_in());
        REQUIRE(peer.send(calls({"/echo"}) + packet(VSOA_TYPE_PINGECHO, 2) + last));
        const auto first = peer.receive();
        REQUIRE(first);
        CHECK(first->seqno == 1);
        CHECK(peer.receive());
        CHECK_FALSE(peer.receive());
    }
}

TEST_CASE("a publish reaches who has subscribed by then, whatever was published before") {
    RunningServer server;
    server.start();
    RunningClient first, second;
    REQUIRE(first.connect(server.address));
    REQUIRE(second.connect(server.address));
    REQUIRE(first.subscribe("/t"));
    const vsoa_url_t u = url("/t");
    const auto reached = [&](const char* text) {
        const vsoa_payload_t p = payload(text);
        REQUIRE(vsoa_server_publish(server.handle, &u, &p));
        const vsoa_payload_t end = payload("end");
        vsoa_cli_id_t ids[2];
        REQUIRE(vsoa_server_cli_array(server.handle, ids, 2) == 2);
        const vsoa_url_t mark = url("/mark");
        for (const vsoa_cli_id_t id : ids) REQUIRE(vsoa_server_cli_datagram(server.handle, id, &mark, &end));
        REQUIRE(first.datagrams.take());
        REQUIRE(second.datagrams.take());
        std::string who;
        for (RunningClient* client : {&first, &second}) {
            if (client->messages.size() == 0) continue;
            CHECK(client->messages.take()->param == text);
            who += client == &first ? '1' : '2';
        }
        return who;
    };
    CHECK(reached("one") == "1");
    REQUIRE(second.subscribe("/"));
    CHECK(reached("both") == "12");
    CHECK(reached("both again") == "12");
    REQUIRE(vsoa_client_unsubscribe(first.handle, &u, RunningClient::on_result, &first, nullptr));
    REQUIRE(first.results.take());
    CHECK(reached("the other") == "2");
    vsoa_cli_id_t ids[2];
    REQUIRE(vsoa_server_cli_array(server.handle, ids, 2) == 2);
    for (const vsoa_cli_id_t id : ids) REQUIRE(vsoa_server_cli_set_authed(server.handle, id, false));
    CHECK(reached("nobody").empty());
    for (const vsoa_cli_id_t id : ids) REQUIRE(vsoa_server_cli_set_authed(server.handle, id, true));
    CHECK(reached("the other again") == "2");
}

TEST_CASE("as many calls as there are numbers are outstanding at once, and each gets its own answer") {
    std::vector<uint32_t> asked;
    Callback collect = [&](vsoa_server_t* handle, vsoa_cli_id_t id, uint32_t number) {
        asked.push_back(number);
        if (asked.size() < 65536) return;
        for (auto it = asked.rbegin(); it != asked.rend(); ++it) reply(handle, id, *it);
    };
    RunningServer server;
    listen(server, "/later", collect);
    server.start();
    std::atomic<int> answers{0};
    RunningClient client;
    REQUIRE(client.connect(server.address));
    const vsoa_url_t u = url("/later");
    const auto count = [](void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t*) {
        if (header != nullptr) ++*static_cast<std::atomic<int>*>(arg);
    };
    for (int i = 0; i < 65536; ++i) {
        REQUIRE(vsoa_client_call(client.handle, VSOA_CLIENT_RPC_METHOD_GET, &u, nullptr, count, &answers, nullptr));
    }
    CHECK(eventually([&] { return answers == 65536; }));
}

TEST_CASE("the library's own loop handles messages, time limits and the end of the connection") {
    vsoa_server_t* server = vsoa_server_create(nullptr);
    const timespec moment = span(1ms), limit = span(5s);
    CHECK_FALSE(vsoa_server_wait(server, &moment));
    CHECK(errno == ENOTCONN);
    vsoa::Address address = loopback();
    REQUIRE(vsoa_server_start(server, address.raw(), address.length));
    REQUIRE(vsoa_server_address(server, address.raw(), &address.length));
    CHECK(vsoa_server_wait(server, &moment));  // nothing came

    std::atomic<bool> stop{false};
    std::thread thread([&] {
        while (!stop) vsoa_server_wait(server, &moment);
    });
    vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
    REQUIRE(vsoa_client_connect(client, address.raw(), address.length, &limit, nullptr, nullptr, 0));
    int results = 0;
    const auto count = [](void* arg, vsoa_client_t*, bool success) { *static_cast<int*>(arg) += success ? 1 : 100; };
    REQUIRE(vsoa_client_ping(client, count, &results, &limit));
    while (results == 0) REQUIRE(vsoa_client_wait(client, nullptr));
    CHECK(results == 1);
    stop = true;
    thread.join();

    // Nobody answers now.
    const timespec soon = span(20ms);
    REQUIRE(vsoa_client_ping(client, count, &results, &soon));
    while (results == 1) REQUIRE(vsoa_client_wait(client, nullptr));
    CHECK(results == 101);
    vsoa_server_close(server);
    CHECK(eventually([&] { return !vsoa_client_wait(client, &limit); }));
    vsoa_client_close(client);
}
