// Our client with our server.
#include <netinet/in.h>

#include <catch2/catch.hpp>
#include <latch>

#include "sdk/vsoa/src/client.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

struct Answer {
    bool came;
    uint8_t status;
    std::string param, data;
    uint16_t tunid;
};

void on_reply(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* p) {
    auto* inbox = static_cast<Inbox<Answer>*>(arg);
    if (header == nullptr) return inbox->put({false, 0, "", "", 0});
    inbox->put({true, vsoa_parser_get_status(header), param(p), data(p), vsoa_parser_get_tunid(header)});
}

/// Answers with the method and what was sent; "/silent" gets nothing.
void serve(void*, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* u, vsoa_payload_t* p) {
    if (text(u) == "/silent") return;
    const bool set = (vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0;
    const std::string said = (set ? "SET " : "GET ") + text(u) + ' ' + param(p), bytes = data(p);
    const vsoa_payload_t answer = payload(said, bytes);
    vsoa_server_cli_reply(server, id, 128, vsoa_parser_get_seqno(header), 0, &answer);
}

struct Pair {
    explicit Pair(vsoa::Address where = loopback()) {
        const vsoa_url_t all = url("/");
        REQUIRE(vsoa_server_add_listener(server.handle, &all, serve, nullptr));
        vsoa_server_on_cli(
            server.handle,
            [](void* arg, vsoa_server_t*, vsoa_cli_id_t id, bool connect) {
                static_cast<Pair*>(arg)->clients.put({id, connect});
            },
            this);
        vsoa_server_on_datagram(
            server.handle,
            [](void* arg, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t* u, vsoa_payload_t* p, bool quick) {
                static_cast<Pair*>(arg)->datagrams.put({text(u), param(p), data(p), quick});
            },
            this);
        server.start(where);
        REQUIRE(client.connect(server.address, "secret"));
    }
    bool publish(const char* topic, const std::string& p = "", const std::string& d = "", bool quick = false) {
        const vsoa_url_t u = url(topic);
        const vsoa_payload_t both = payload(p, d);
        return (quick ? vsoa_server_quick_publish : vsoa_server_publish)(server.handle, &u, &both);
    }

    Inbox<std::pair<vsoa_cli_id_t, bool>> clients;
    Inbox<Message> datagrams;
    RunningServer server{"secret"};
    RunningClient client;
};

}  // namespace

TEST_CASE("a client logs in, is announced and is missed") {
    Pair pair;
    CHECK(pair.client.info == "{\"name\":\"rig\"}");
    CHECK(pair.clients.take() == std::pair(vsoa_cli_id_t{1}, true));
    CHECK(vsoa_server_count(pair.server.handle) == 1);
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    CHECK(vsoa_server_cli_address(pair.server.handle, 1, reinterpret_cast<sockaddr*>(&peer), &length));
    CHECK(ntohl(peer.sin_addr.s_addr) == INADDR_LOOPBACK);
    vsoa_cli_id_t ids[4];
    CHECK(vsoa_server_cli_array(pair.server.handle, ids, 4) == 1);
    CHECK(ids[0] == 1);
    pair.client.close();
    CHECK(pair.clients.take() == std::pair(vsoa_cli_id_t{1}, false));
    CHECK(vsoa_server_count(pair.server.handle) == 0);
}

TEST_CASE("a connect fails for its reason") {
    RunningServer server("secret");
    server.start();
    RunningClient wrong, none;
    CHECK_FALSE(wrong.connect(server.address, "Secret"));
    CHECK(errno == EACCES);
    CHECK_FALSE(none.connect(server.address));
    CHECK(errno == EACCES);
    CHECK(wrong.connect(server.address, "secret"));
    CHECK_FALSE(wrong.connect(server.address, "secret"));
    CHECK(errno == EISCONN);

    RunningClient late;
    const vsoa::Fd silent = vsoa::open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(bind(silent.get(), loopback().raw(), loopback().length) == 0);
    REQUIRE(listen(silent.get(), 1) == 0);
    CHECK_FALSE(late.connect(*vsoa::Address::local(silent.get()), nullptr, 100ms));
    CHECK(errno == ETIMEDOUT);
    server.close();
    CHECK_FALSE(late.connect(server.address));
    CHECK(errno == ECONNREFUSED);
}

TEST_CASE("a call brings its answer") {
    Inbox<Answer> answers;
    Pair pair;
    const vsoa_url_t u = url("/a/b");
    const std::string p = "{\"x\":1}", d(100000, 'd');
    const vsoa_payload_t both = payload(p, d);
    REQUIRE(vsoa_client_call(pair.client.handle, VSOA_CLIENT_RPC_METHOD_GET, &u, nullptr, on_reply, &answers, nullptr));
    REQUIRE(vsoa_client_call(pair.client.handle, VSOA_CLIENT_RPC_METHOD_SET, &u, &both, on_reply, &answers, nullptr));
    REQUIRE(vsoa_client_call(pair.client.handle, VSOA_CLIENT_RPC_METHOD_SET, &u, &both, nullptr, nullptr, nullptr));
    const Answer get = answers.take().value(), set = answers.take().value();
    CHECK(get.status == 128);
    CHECK(get.param == "GET /a/b ");
    CHECK(set.param == "SET /a/b {\"x\":1}");
    CHECK(set.data == d);
    REQUIRE(vsoa_client_ping(pair.client.handle, RunningClient::on_result, &pair.client, nullptr));
    CHECK(pair.client.results.take() == true);
    CHECK(answers.size() == 0);
}

TEST_CASE("the time limit of a call wakes a loop that waits without limit") {
    Inbox<Answer> answers;
    Pair pair;
    const vsoa_url_t silent = url("/silent");
    const timespec limit = span(80ms), longer = span(160ms);
    const int64_t begin = vsoa::now_ns();
    REQUIRE(vsoa_client_call(pair.client.handle, 0, &silent, nullptr, on_reply, &answers, &longer));
    REQUIRE(vsoa_client_call(pair.client.handle, 0, &silent, nullptr, on_reply, &answers, &limit));
    CHECK_FALSE(answers.take().value().came);
    CHECK(vsoa::now_ns() - begin >= 80 * vsoa::kNanosPerMs);
    CHECK_FALSE(answers.take().value().came);
    CHECK(vsoa::now_ns() - begin >= 160 * vsoa::kNanosPerMs);
    CHECK(vsoa::now_ns() - begin < 5000 * vsoa::kNanosPerMs);
    CHECK(vsoa_client_is_connect(pair.client.handle));
}

TEST_CASE("a lost connection ends its calls and tells the loop at once") {
    Inbox<Answer> answers;
    Pair pair;
    const vsoa_url_t silent = url("/silent");
    REQUIRE(vsoa_client_call(pair.client.handle, 0, &silent, nullptr, on_reply, &answers, nullptr));
    SECTION("the server ends") { pair.server.close(); }
    SECTION("the server drops the client") {
        CHECK(vsoa_server_cli_close(pair.server.handle, 1));
        CHECK(vsoa_server_count(pair.server.handle) == 0);
    }
    CHECK_FALSE(answers.take().value().came);
    CHECK(pair.client.lost.take() == true);
    CHECK_FALSE(vsoa_client_is_connect(pair.client.handle));
    CHECK_FALSE(vsoa_client_call(pair.client.handle, 0, &silent, nullptr, on_reply, &answers, nullptr));
    CHECK(errno == ENOTCONN);
}

TEST_CASE("a client can connect again after a disconnect") {
    Pair pair;
    pair.client.loop.stop();
    CHECK(vsoa_client_disconnect(pair.client.handle));
    CHECK_FALSE(vsoa_client_is_connect(pair.client.handle));
    CHECK(pair.client.connect(pair.server.address, "secret"));
    CHECK(pair.client.subscribe("/a"));
    CHECK(pair.publish("/a", "again"));
    CHECK(pair.client.messages.take().value().param == "again");
}

TEST_CASE("publishes reach subscribers in order, from any thread") {
    Pair pair;
    CHECK_FALSE(pair.client.messages.take(0ms));
    CHECK(pair.client.subscribe("/axis"));
    const vsoa_url_t u = url("/axis");
    CHECK(vsoa_server_is_subscribed(pair.server.handle, &u));
    constexpr int kEach = 2000;
    std::latch begin(2);
    std::atomic<int> failed{0};
    const auto run = [&](const char* who) {
        begin.arrive_and_wait();
        for (int i = 0; i < kEach; ++i) {
            if (!pair.publish("/axis", who, std::to_string(i)) || !pair.publish("/other", who)) ++failed;
        }
    };
    std::thread a(run, "a"), b(run, "b");
    int next_a = 0, next_b = 0;
    for (int i = 0; i < 2 * kEach; ++i) {
        const auto message = pair.client.messages.take();
        if (!message) break;
        int& next = message->param == "a" ? next_a : next_b;
        if (message->data != std::to_string(next++) || message->url != "/axis") break;
    }
    a.join();
    b.join();
    CHECK(failed == 0);
    CHECK(next_a == kEach);
    CHECK(next_b == kEach);
}

TEST_CASE("several urls are subscribed with one packet, and taken back") {
    Pair pair;
    char a[] = "/a", b[] = "/b/", c[] = "c";
    char* const urls[] = {a, b, c};
    REQUIRE(vsoa_client_multi_subscribe(pair.client.handle, urls, 2, RunningClient::on_result, &pair.client, nullptr));
    CHECK(pair.client.results.take() == true);
    CHECK_FALSE(vsoa_client_multi_subscribe(pair.client.handle, urls, 3, nullptr, nullptr, nullptr));
    CHECK(pair.publish("/b/x"));
    CHECK(pair.client.messages.take().value().url == "/b/x");
    REQUIRE(
        vsoa_client_multi_unsubscribe(pair.client.handle, urls, 1, RunningClient::on_result, &pair.client, nullptr));
    CHECK(pair.client.results.take() == true);
    const vsoa_url_t rest = url("/b/");
    REQUIRE(vsoa_client_unsubscribe(pair.client.handle, &rest, RunningClient::on_result, &pair.client, nullptr));
    CHECK(pair.client.results.take() == true);
    CHECK(pair.publish("/a"));
    CHECK(pair.publish("/b"));
    CHECK(pair.client.subscribe("/end"));
    CHECK(pair.publish("/end"));
    CHECK(pair.client.messages.take().value().url == "/end");
}

TEST_CASE("who is not authed gets no publishes") {
    Pair pair;
    CHECK(pair.client.subscribe("/"));
    CHECK(vsoa_server_cli_authed(pair.server.handle, 1));
    CHECK(vsoa_server_cli_set_authed(pair.server.handle, 1, false));
    CHECK(pair.publish("/hidden"));
    CHECK(vsoa_server_cli_set_authed(pair.server.handle, 1, true));
    CHECK(pair.publish("/seen"));
    CHECK(pair.client.messages.take().value().url == "/seen");
}

TEST_CASE("datagrams go both ways, over TCP and UDP, on IPv4 and IPv6") {
    const char* host = GENERATE("127.0.0.1", "::1");
    CAPTURE(host);
    Pair pair(*vsoa::Address::make(host, 0));
    const vsoa_url_t u = url("/d");
    const std::string p = "{}", d = "bytes";
    const vsoa_payload_t both = payload(p, d);
    for (const bool quick : {false, true}) {
        CAPTURE(quick);
        const auto to_server = quick ? vsoa_client_quick_datagram : vsoa_client_datagram;
        const auto to_client = quick ? vsoa_server_cli_quick_datagram : vsoa_server_cli_datagram;
        REQUIRE(to_server(pair.client.handle, &u, &both));
        const Message up = pair.datagrams.take().value();
        CHECK(up.url == "/d");
        CHECK(up.data == d);
        CHECK(up.quick == quick);
        REQUIRE(to_client(pair.server.handle, 1, &u, &both));
        const Message down = pair.client.datagrams.take().value();
        CHECK(down.param == p);
        CHECK(down.quick == quick);
    }
    CHECK(pair.client.subscribe("/q"));
    CHECK(pair.publish("/q", "fast", "", true));
    const Message message = pair.client.messages.take().value();
    CHECK(message.param == "fast");
    CHECK(message.quick);
}

TEST_CASE("a synchronous call waits for its answer, its time limit or the loss") {
    Pair pair;
    vsoa_client_sync_call_t* sync = vsoa_client_sync_create(GENERATE(true, false));
    REQUIRE(sync != nullptr);
    vsoa_header_t* reply = nullptr;
    const vsoa_url_t u = url("/x"), silent = url("/silent");
    const timespec limit = span(60ms);
    for (int i = 0; i < 50; ++i) {
        REQUIRE(vsoa_client_sync_call(pair.client.handle, 0, &u, nullptr, sync, &reply, nullptr));
        REQUIRE(reply != nullptr);
        vsoa_payload_t p;
        REQUIRE(vsoa_parser_get_payload(reply, &p));
        REQUIRE(param(&p) == "GET /x ");
    }
    CHECK(vsoa_client_sync_call(pair.client.handle, 0, &silent, nullptr, sync, &reply, &limit));
    CHECK(reply == nullptr);
    std::thread closer([&] { pair.server.close(); });
    const bool sent = vsoa_client_sync_call(pair.client.handle, 0, &silent, nullptr, sync, &reply, nullptr);
    CHECK((!sent || reply == nullptr));
    closer.join();
    CHECK(vsoa_client_sync_delete(sync));
}

TEST_CASE("a call that ran into its time limit takes away nobody else's") {
    // Nobody turns the client's loop, so the lost connection does not end the call, and its number comes again.
    Inbox<Answer> answers;
    Pair pair;
    pair.client.loop.stop();
    vsoa_client_t* client = pair.client.handle;
    const vsoa_url_t u = url("/x"), silent = url("/silent");
    const timespec limit = span(300ms), plenty = span(kDeadline);
    vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
    vsoa_header_t* reply = nullptr;
    std::thread waits([&] { vsoa_client_sync_call(client, 0, &silent, nullptr, sync, &reply, &limit); });
    const bool sent = eventually([&] { return client->core.awaits_rpc(); });
    CHECK(vsoa_client_disconnect(client));
    const vsoa::Address& to = pair.server.address;
    CHECK(vsoa_client_connect(client, to.raw(), to.length, &plenty, "secret", nullptr, 0));
    CHECK(vsoa_client_call(client, 0, &u, nullptr, on_reply, &answers, nullptr));
    waits.join();
    REQUIRE(sent);
    CHECK(reply == nullptr);
    REQUIRE(eventually([&] { return vsoa_client_input_fds(client, nullptr) && answers.size() == 1; }));
    CHECK(answers.take().value().param == "GET /x ");
    vsoa_client_sync_delete(sync);
}

TEST_CASE("quick messages of a server for all addresses come from the one that its client knows") {
    const char* any = GENERATE("0.0.0.0", "::");
    CAPTURE(any);
    RunningServer server;
    server.start(*vsoa::Address::make(any, 0));
    RunningClient client;
    REQUIRE(client.connect(*vsoa::Address::make("127.0.0.5", server.address.port())));
    REQUIRE(client.subscribe("/q"));
    const vsoa_url_t u = url("/q");
    REQUIRE(vsoa_server_quick_publish(server.handle, &u, nullptr));
    const auto message = client.messages.take();
    REQUIRE(message);
    CHECK(message->quick);
    REQUIRE(vsoa_server_cli_quick_datagram(server.handle, 1, &u, nullptr));
    CHECK(client.datagrams.take().value().quick);
}

TEST_CASE("a stream carries bytes beside the packets") {
    Pair pair;
    vsoa_server_stream_t* stream = vsoa_server_stream_create(pair.server.handle);
    REQUIRE(stream != nullptr);
    const int fd = vsoa_client_stream_create(pair.client.handle, vsoa_server_stream_tunid(stream), nullptr, 10);
    REQUIRE(fd >= 0);
    REQUIRE(vsoa_server_stream_accept(stream, nullptr, nullptr, 10) >= 0);
    CHECK(vsoa_server_stream_lfd(stream) == -1);
    char text[8] = {};
    CHECK(write(fd, "up", 2) == 2);
    CHECK(read(vsoa_server_stream_fd(stream), text, sizeof text) == 2);
    CHECK(std::string(text) == "up");
    vsoa_server_stream_close(stream);
    CHECK(read(fd, text, sizeof text) == 0);
    vsoa_client_stream_close(fd);
}

TEST_CASE("callbacks may call what any thread may call") {
    // Replies, publishes and closes the client inside the RPC callback.
    Inbox<Answer> answers;
    RunningServer server;
    const vsoa_url_t u = url("/close");
    const auto close_it = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t* topic,
                             vsoa_payload_t*) {
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, nullptr);
        vsoa_server_publish(s, topic, nullptr);
        vsoa_server_cli_close(s, id);
    };
    REQUIRE(vsoa_server_add_listener(server.handle, &u, close_it, nullptr));
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    CHECK(client.subscribe("/close"));
    REQUIRE(vsoa_client_call(client.handle, 0, &u, nullptr, on_reply, &answers, nullptr));
    CHECK(answers.take().value().came);
    CHECK(client.messages.take().value().url == "/close");
    CHECK(client.lost.take() == true);
}

TEST_CASE("a url is cut into its components") {
    vsoa_url_t u = url("/a//bc/d/");
    size_t length = 0;
    std::string parts;
    while (const char* part = vsoa_client_path_token(nullptr, &u, &length)) parts += std::string(part, length) + '|';
    CHECK(parts == "a|bc|d|");
}

TEST_CASE("a client survives any bytes of a server") {
    const vsoa::Fd listening = vsoa::open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(bind(listening.get(), loopback().raw(), loopback().length) == 0);
    REQUIRE(listen(listening.get(), 1) == 0);
    const vsoa::Address address = *vsoa::Address::local(listening.get());
    const Bytes login = packet(VSOA_TYPE_SERVINFO, 0, "", "{}", std::string("\0\0\0\1", 4), VSOA_FLAG_REPLY);
    Bytes huge = packet(VSOA_TYPE_PUBLISH, 0, "/x");
    std::memset(huge.data() + 16, 0xff, 4);
    struct Case {
        Bytes bytes;
        bool connects;
        int error;
    };
    const Case cases[] = {
        {{'H', 'T', 'T', 'P'}, false, EPROTO},
        {huge, false, EPROTO},
        {packet(VSOA_TYPE_SERVINFO, 0, "", "{}"), false, EACCES},  // as the vendor's Go server refuses
        {login + Bytes{1, 2, 3}, true, 0},
        {login + huge, true, 0},
        {packet(VSOA_TYPE_PUBLISH, 0, "/early") + login + packet(VSOA_TYPE_RPC, 5, "", "", "", VSOA_FLAG_REPLY) +
             Bytes{0},
         true, 0},
    };
    for (const Case& c : cases) {
        std::thread server([&] {
            vsoa::wait_for(listening.get(), POLLIN, vsoa::now_ns() + 5000 * vsoa::kNanosPerMs);
            const vsoa::Fd peer(accept(listening.get(), nullptr, nullptr));
            uint8_t request[64];
            if (recv(peer.get(), request, sizeof request, 0) > 0)
                send(peer.get(), c.bytes.data(), c.bytes.size(), MSG_NOSIGNAL);
            while (recv(peer.get(), request, sizeof request, 0) > 0) continue;
        });
        RunningClient client;
        const bool connected = client.connect(address);
        const int error = errno;
        CHECK(connected == c.connects);
        if (!c.connects) CHECK(error == c.error);
        if (c.connects) CHECK(client.lost.take() == true);
        client.close();
        server.join();
    }
}
